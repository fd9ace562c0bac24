"""Engines that run encoders, as peers: their environment, and a process for each. Next: _worker.py, the process itself."""

import shutil
import subprocess
import venv
from pathlib import Path

from _common import CACHE, ROOT, die, say
from _side import Side

PACKAGES = ("onnxruntime==1.32.0", "onnx==1.23.2", "sympy", "ctranslate2==4.8.5", "openvino==2026.4.1", "tokenizers", "numpy")
ENGINES = ("onnxruntime", "ctranslate2", "openvino", "onnxruntime-int8", "ctranslate2-int8")
TEXTS = ROOT / "build" / "release" / "bench" / "bench_texts"


def environment():
    """The Python of the peers' environment, made where it is missing: wheels, nothing is compiled."""
    home = CACHE / "peers" / "encoders"
    python = home / "bin" / "python"
    if (home / "ready").exists():
        return python
    say(f"encoders: making {home}: 150 MB are fetched; log: {home}.log")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.log", "w") as log:
        try:
            venv.create(home, with_pip=True)
        except subprocess.CalledProcessError:
            die("no virtual environment could be made: apt-get install python3-venv")
        install = [python, "-m", "pip", "install", "--only-binary", ":all:", *PACKAGES]
        if subprocess.run(install, stdout=log, stderr=log, check=False).returncode != 0:
            die(f"the peers could not be installed: the end of {home}.log says why")
    (home / "ready").touch()
    return python


class Peer(Side):
    """One engine with the model's folder; a name that ends in -int8 is that engine's own way to eight bits."""

    def __init__(self, engine, folder, threads, max_tokens):
        super().__init__([environment(), Path(__file__).with_name("_worker.py"), engine, folder, threads, max_tokens])


class OurTexts(Side):
    """Our encoder at one precision, of which `path` are the options."""

    def __init__(self, folder, threads, max_tokens, path):
        if not TEXTS.exists():
            die(f"{TEXTS} is not built: run ./dev bench encoders")
        super().__init__([TEXTS, folder, threads, max_tokens, *path])
