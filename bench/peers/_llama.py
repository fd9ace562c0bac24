"""llama.cpp as a peer: its environment, and a process that evaluates ids. Next: _worker.py, the process itself."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

from _common import CACHE, die, say
from _side import Side

PACKAGES = ("llama-cpp-python==0.3.36", "gguf==0.19.0", "numpy")
# How each build is made, what must stand in its machine code and what must not.
BUILDS = {
    "vnni": ("-DGGML_NATIVE=ON", r"vpdpbusd.*%zmm", None),
    "avx2": ("-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON "
             "-DGGML_BMI2=ON -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF -DGGML_AVX512_VBMI=OFF -DGGML_AVX512_VNNI=OFF "
             "-DGGML_AVX512_BF16=OFF", r"vpmaddubsw.*%ymm", r"%zmm|vpdpbusd"),
}


def environment(isa):
    """The Python of the peers' environment for an instruction set, made where it is missing.

    pip's wheel cache ignores CMAKE_ARGS, so it is off, and the machine code is looked at before the build is believed.
    """
    home = CACHE / "peers" / isa
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
        variables = dict(os.environ, CMAKE_ARGS=BUILDS[isa][0])
        install = [python, "-m", "pip", "install", "--no-cache-dir", "--no-binary", "llama-cpp-python", *PACKAGES]
        if subprocess.run(install, stdout=log, stderr=log, env=variables, check=False).returncode != 0:
            die(f"llama.cpp could not be built: the end of {home}.log says why")
    prove(home, isa)
    (home / "ready").touch()
    return python


def prove(home, isa):
    """Refuses a build that lacks the instructions for which it is named, or has those of another."""
    _, wanted, unwanted = BUILDS[isa]
    libraries = sorted(home.glob("lib/python3*/site-packages/**/libggml-cpu*.so*"))
    if not libraries:
        die(f"no libggml-cpu under {home}: remove that folder and run again")
    if shutil.which("objdump") is None:
        die("a build is not believed unseen, and objdump is missing: apt-get install binutils")
    for pattern, expected in ((wanted, True), (unwanted, False)):
        if pattern and contains(libraries[0], pattern) != expected:
            die(f"{libraries[0]} has {'no ' if expected else ''}'{pattern}': it was not built for {isa}; "
                f"remove {home} and run again")


def contains(library, pattern):
    code = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", library], stdout=subprocess.PIPE)
    found = subprocess.run(["grep", "-E", "-m", "1", "-q", pattern], stdin=code.stdout, check=False).returncode == 0
    code.kill()
    code.wait()
    return found


class Llama(Side):
    """llama.cpp with one model: flash attention on, its default cache of f16, batches of 512."""

    def __init__(self, model, threads, isa, context=1024, first_token=0):
        worker = Path(__file__).with_name("_worker.py")
        super().__init__([environment(isa), worker, model, threads, context, first_token])
