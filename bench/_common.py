"""What every bench script needs: models, machine, our command, pairs and their statistics. Next: peers/_side.py."""

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
    """The byte products that this machine is best at: the name under which peers are built and figures stand."""
    flags = cpu_flags()
    if "avx512_vnni" in flags:
        return "vnni"
    return "avx2" if "avx2" in flags else platform.machine()


def chosen_isa(named):
    """The instruction set of --isa, or the machine's best."""
    if named in (None, isa()) or (named == "avx2" and "avx2" in cpu_flags()):
        return named or isa()
    return die(f"--isa {named}: this machine has {isa()}")


# Families and models of processors whose names do not tell their generation (Genoa and Milan both say "AMD EPYC").
GENERATIONS = (
    ("AuthenticAMD", 23, range(0x00, 0x30), "zen1"), ("AuthenticAMD", 23, range(0x30, 0x100), "zen2"),
    ("AuthenticAMD", 25, range(0x10, 0x20), "zen4"), ("AuthenticAMD", 25, range(0x60, 0x80), "zen4"),
    ("AuthenticAMD", 25, range(0xA0, 0xB0), "zen4"), ("AuthenticAMD", 25, range(0x00, 0x100), "zen3"),
    ("AuthenticAMD", 26, range(0x00, 0x100), "zen5"),
    ("GenuineIntel", 6, (79,), "broadwell"), ("GenuineIntel", 6, (85,), "skylake"),
    ("GenuineIntel", 6, (106, 108), "icelake"), ("GenuineIntel", 6, (143, 207), "sapphirerapids"),
    ("GenuineIntel", 6, (173, 174), "graniterapids"),
)


def cpuinfo(key, default="?"):
    match = re.search(rf"^{key}\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return match[1] if match else default


def machine_type():
    """One word for machines whose figures may stand in one table: the generation of the processor."""
    vendor, family, model = cpuinfo("vendor_id"), int(cpuinfo("cpu family", "0")), int(cpuinfo("model", "0"))
    for known_vendor, known_family, models, generation in GENERATIONS:
        if vendor == known_vendor and family == known_family and model in models:
            return generation
    return platform.machine()


def machine():
    """CPU, the flags that matter for the kernels, processors and memory."""
    flags = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8") if f in cpu_flags()]
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {"cpu": f"{cpuinfo('model name')} ({machine_type()})", "flags": flags, "isa": isa(), "cpus": os.cpu_count(),
            "memory_gib": round(gib)}


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


def measured_roofs(threads, isa_name):
    """What bench_roof says for this many threads, now."""
    program = ROOT / "build" / "release" / "bench" / "bench_roof"
    if not program.exists():
        die(f"{program} is not built: run the bench through ./dev bench")
    command = [program, "--threads", str(threads), "--isa", isa_name]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def roofs(threads, isa_name):
    """(bytes a second that the memory gives, byte operations a second) to this many threads, now."""
    line = measured_roofs(threads, isa_name)
    return line["gb_per_s"] * 1e9, line["int8_gop_per_s"] * 1e9


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


def table(header, rows):
    """A Markdown table with aligned columns."""
    rows = [list(map(str, row)) for row in [header, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
