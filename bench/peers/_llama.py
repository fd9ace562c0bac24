"""llama.cpp as a peer: its environment, and a process that evaluates ids. Next: _worker.py, the process itself."""

import json
import os
import platform
import shutil
import subprocess
import venv
from pathlib import Path

from _common import CACHE, die, isa, say

PACKAGES = ("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy")
# What must stand in the machine code of a build for an instruction set.
PROOF = {"avx512": r"vpdpbusd.*%zmm", "avx2": r"vpmaddubsw.*%ymm"}


def environment():
    """The Python of the peers' environment, made where it is missing.

    pip's wheel cache ignores CMAKE_ARGS, so it is off, and the machine code is looked at before the build is believed.
    """
    home = CACHE / "peers" / isa()
    python = home / "bin" / "python"
    if (home / "ready").exists():
        return python
    say(f"peers: making {home}: llama.cpp is compiled, 4 to 8 minutes on two cores; log: {home}.log")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.log", "w") as log:
        try:
            venv.create(home, with_pip=True)
        except subprocess.CalledProcessError:
            die("no virtual environment could be made: apt-get install python3-venv")
        variables = dict(os.environ, CMAKE_ARGS="-DGGML_NATIVE=ON")
        install = [python, "-m", "pip", "install", "--no-cache-dir", "--no-binary", "llama-cpp-python", *PACKAGES]
        if subprocess.run(install, stdout=log, stderr=log, env=variables, check=False).returncode != 0:
            die(f"llama.cpp could not be built: the end of {home}.log says why")
    prove(home)
    (home / "ready").touch()
    return python


def prove(home):
    """Refuses a build without the instructions for which it is named."""
    pattern = PROOF.get(isa())
    libraries = sorted(home.glob("lib/python3*/site-packages/llama_cpp/lib/libggml-cpu*.so"))
    if pattern is None or shutil.which("objdump") is None:
        say(f"peers: the instructions of this build are not checked ({platform.machine()}, objdump may be missing)")
        return
    if not libraries:
        die(f"no libggml-cpu under {home}: remove that folder and run again")
    code = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", libraries[0]], stdout=subprocess.PIPE)
    found = subprocess.run(["grep", "-m", "1", "-q", pattern], stdin=code.stdout, check=False).returncode == 0
    code.kill()
    if not found:
        die(f"{libraries[0]} has no '{pattern}': it was not built for {isa()}; remove {home} and run again")


class Peer:
    """A script of the peers' environment that answers JSON lines: it loads its model once and sleeps between them."""

    def __init__(self, script, *args):
        command = [environment(), script, *map(str, args)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.system = self._read()["system"]

    def score(self, windows):
        """For each window of ids: (argmax, nll) of each cell after the first."""
        return self._ask(work="score", windows=windows)["windows"]

    def close(self):
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            die("the peer's process has ended; its own message stands above")
        return json.loads(line)


class Llama(Peer):
    """llama.cpp with one model, flash attention on."""

    def __init__(self, model, threads, context=1024):
        super().__init__(Path(__file__).with_name("_worker.py"), model, threads, context)

    def decode(self, prompt, ids):
        """Seconds to feed `ids` one by one after `prompt`."""
        return self._ask(work="decode", prompt=prompt, ids=ids)["seconds"]

    def prefill(self, ids):
        """Seconds to evaluate `ids` from an empty cache, logits of the last one."""
        return self._ask(work="prefill", ids=ids)["seconds"]
