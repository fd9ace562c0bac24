"""What every bench script needs: models, machine, our command, pairs and their statistics. Next: peers/_llama.py."""

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fathom"
FATHOM = ROOT / "build" / "release" / "fathom"
TEXTS = ROOT / "bench" / "quality" / "texts"
MODELS = ("gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")


def die(message):
    sys.exit(f"bench: {message}")


def say(message):
    print(message, file=sys.stderr, flush=True)


def arguments(description):
    """The parser of a bench, with the options that all of them share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", nargs="+", default=None, metavar="NAME", help="default: every model that is here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON line for each figure, no table")
    return parser


def model_path(name):
    return CACHE / "models" / name / f"{name}.gguf"


def chosen_models(names):
    if not FATHOM.exists():
        die(f"{FATHOM} is not built: run ./dev build")
    for name in names or ():
        if name not in MODELS:
            die(f"'{name}' is not a model of the benches: choose from {' '.join(MODELS)}")
        if not model_path(name).exists():
            die(f"{name} is not here: run ./dev model {name}")
    present = [name for name in names or MODELS if model_path(name).exists()]
    if not present:
        die("no model is here: run ./dev model gemma3-270m")
    return present


def cpu_flags():
    match = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return set(match.group(1).split()) if match else set()


def isa():
    """The widest of the instruction sets for which a peer is built."""
    flags = cpu_flags()
    if "avx512_vnni" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags else platform.machine()


def machine():
    """CPU, the flags that matter for the kernels, processors and memory."""
    info = Path("/proc/cpuinfo").read_text()
    field = lambda key: (re.search(rf"^{key}\s*:\s*(.*)$", info, re.M) or [None, "?"])[1]
    named = {"24": "Zen 4 or older", "25": "Zen 3 or 4", "26": "Zen 5"} if "AMD" in info else {}
    generation = named.get(field("cpu family"))
    model = field("model name") + (f" ({generation})" if generation else "")
    flags = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8") if f in cpu_flags()]
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": model, "flags": flags, "isa": isa(), "cpus": os.cpu_count(), "memory_gib": round(gib)}


def machine_line():
    m = machine()
    return f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_gib']} GiB, {' '.join(m['flags'])}"


def fathom(*args):
    """Runs our command and returns the object that it prints."""
    command = [str(FATHOM), *map(str, args), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        die(f"{' '.join(command)} exits with {done.returncode}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


def memory_roof(threads):
    """GB/s that the memory gives to this many threads now, or None where the bench is not built."""
    program = ROOT / "build" / "release" / "bench" / "bench_roof"
    if not program.exists():
        return None
    done = subprocess.run([program, f"--threads={threads}"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["gb_per_s"]


@contextlib.contextmanager
def scratch_file():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "text.txt"


def tokenized(model, text):
    """The ids and pieces of a text without a beginning-of-text token."""
    with scratch_file() as file:
        file.write_text(text)
        return fathom("tokenize", "-m", model, "-f", file, "--no-bos")


def tokenize(model, text):
    return tokenized(model, text)["ids"]


def text_of_tokens(model, text, n):
    """A long beginning of `text` with at most n tokens, and its ids."""
    whole = tokenized(model, text)
    if len(whole["ids"]) < n:
        die(f"the text of {len(text)} characters has fewer than {n} tokens for {model}")
    start = "".join(whole["pieces"][:n])
    if text.startswith(start) and len(ids := tokenize(model, start)) <= n:
        return start, ids
    return bisect_text(model, text, n)


def bisect_text(model, text, n):
    """The same where pieces cut characters or merge otherwise at the new end."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(tokenize(model, text[:middle])) <= n:
            low = middle
        else:
            high = middle - 1
    return text[:low], tokenize(model, text[:low])


def summary(pairs):
    """Medians of (a, b) pairs, the median of a / b and its range."""
    ratios = sorted(a / b for a, b in pairs)
    return {"a": statistics.median(a for a, _ in pairs), "b": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1], "pairs": len(pairs)}


def table(header, rows):
    """A Markdown table with aligned columns."""
    rows = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
