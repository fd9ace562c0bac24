"""A process that holds one model and answers requests about it: ours and each peer's have the same. Next: _llama.py."""

import json
import subprocess
import time
from pathlib import Path

from _common import ROOT, die

STEPS = ROOT / "build" / "release" / "bench" / "bench_steps"


class Side:
    """Answers JSON lines, one at a time; sleeps between them."""

    def __init__(self, command):
        self._process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = self._read()

    def ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def score(self, windows):
        """For each window of ids: (argmax, nll) of each cell after the first."""
        return self.ask(work="score", windows=windows)["windows"]

    def busy_seconds(self):
        """Time on a processor of all threads until now."""
        total = 0
        for thread in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            total += int(thread.read_text().split()[0])
        return total / 1e9

    def await_sleep(self):
        """Returns when no thread runs any more: pools spin for a moment after their work."""
        for _ in range(100):
            before = self.busy_seconds()
            time.sleep(0.005)
            if self.busy_seconds() - before < 0.0001:
                return
        die("a side still runs half a second after its answer: its threads do not sleep, so no pair would be fair")

    def close(self):
        self._process.stdin.close()
        self._process.wait()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            die("a side's process has ended; its own message stands above")
        return json.loads(line)


class Ours(Side):
    """Our library with one model, its defaults where nothing is asked for."""

    def __init__(self, model, threads, isa, numerics=None, context=1024, first_token=0):
        if not STEPS.exists():
            die(f"{STEPS} is not built: run ./dev bench peers")
        options = ["--target", "cpu/avx2"] if isa == "avx2" else []
        options += ["--numerics", numerics] if numerics else []
        super().__init__([STEPS, model, threads, context, first_token, *options])
