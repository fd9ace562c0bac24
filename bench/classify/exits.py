"""Certified exits of classification beside full depth of the same task: accuracy, disagreement, depth and time, in turns.

    ./dev bench classify [--sets NAMES] [--risk 0.02] [--precision f32] [--pairs 7] [--keep FOLDER] [--json]

Texts of a set (_labelled.py) that a hash of their name picks, one in five, are held out from training altogether; the
rest go to `fathom classify train`. All figures are of `fathom classify run` over the held-out texts, each under three
policies of one task: words alone, full depth, and the certified one. counts says whether words alone are right at least
5 points less often than full depth: where they are not, a count of words does the work and layers are not needed.

ratio is the median over the pairs of full depth's time over the certified policy's, least and most its range; a pair runs
both, either first in turns, from text to label, without loading. Two processes never run at once. The held-out texts are
given several times over in one run, so that it takes long enough to time: no answer is kept from one to the next.
Next: _labelled.py.
"""

import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _common as common
import _labelled

MODEL = "minilm-l6"
HELD_OUT = 5       # one document of so many
ROWS = 1500        # texts of a run that is timed, at least
POINTS = 5         # that words alone have to be below full depth
WORDS = "word_exit(agreement_at_least=0)"
FULL = "full_depth"
GOAL = {"floor": 1.1, "aim": 1.8, "accuracy_lost": 0.5}


def is_held_out(line):
    name = hashlib.sha256(f"held out/{json.loads(line)['id']}".encode()).digest()
    return int.from_bytes(name[:8], "big") % HELD_OUT == 0


def labels_of(line):
    return line["labels"] if "labels" in line else [line["label"]]


class Task:
    """A set's task and its held-out texts."""

    def __init__(self, name, folder, options):
        lines = _labelled.write(folder, [name])[name].read_text(encoding="utf-8").splitlines()
        held_out = [json.loads(line) for line in lines if is_held_out(line)]
        self.right = [sorted(labels_of(line)) for line in held_out]
        texts = "".join(json.dumps({"id": line["id"], "text": line["text"]}) + "\n" for line in held_out)
        self.labels = {label for line in map(json.loads, lines) for label in labels_of(line)}
        self.n = len(lines)
        training, self.once, self.often = (folder / f"{name}-{part}.jsonl" for part in ("training", "once", "often"))
        training.write_text("".join(line + "\n" for line in lines if not is_held_out(line)), encoding="utf-8")
        self.repeats = -(-ROWS // len(held_out))
        self.once.write_text(texts)
        self.often.write_text(texts * self.repeats)
        self.file, self.out = folder / f"{name}.fathom", folder / f"{name}-out.jsonl"
        self.common = ["-m", common.CACHE / "models" / MODEL, "--threads", options.threads, "--precision", options.precision]
        self.report = common.fathom("classify", "train", *self.common, "-f", training, "-o", self.file, "--risk", options.risk)

    def run(self, file, policy):
        """The lines that it writes, and its seconds from text to label, by what it says of texts a second."""
        command = [common.FATHOM, "classify", "run", self.file, *self.common, "-f", file, "-o", self.out, "--policy", policy]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        told = re.search(r"(\d+) texts in .* ([\d.]+) texts/s", done.stderr)
        if done.returncode != 0 or not told:
            common.die(f"classify run exits with {done.returncode}: {done.stderr.strip()[-400:]}")
        return [json.loads(line) for line in self.out.read_text().splitlines()], int(told[1]) / float(told[2])

    def accuracy(self, said):
        """Per cent of texts with the labels that they came with, all of them and no other."""
        return 100 * statistics.mean(sorted(labels_of(line)) == right for line, right in zip(said, self.right))


def pairs(task, policy, n):
    """Seconds of full depth and of a policy, n times in turns; one of each is not counted."""
    found = []
    for i in range(n + 1):
        order = (FULL, policy) if i % 2 == 0 else (policy, FULL)
        seconds = {side: task.run(task.often, side)[1] for side in order}
        found.append((seconds[FULL], seconds[policy]))
    return found[1:]


def figures(name, folder, options):
    task = Task(name, folder, options)
    report = task.report
    policy = report["policy"] if report["certified"] else FULL
    words, full, early = (task.run(task.once, side)[0] for side in (WORDS, FULL, policy))
    differ = [labels_of(a) != labels_of(b) for a, b in zip(early, full)]
    line = {"set": name, "texts": task.n, "held_out": len(full), "labels": len(task.labels), "several": report["several"],
            "tokens": round(statistics.mean(x["tokens"] for x in full), 1), "precision": options.precision,
            "words": task.accuracy(words), "full": task.accuracy(full), "early": task.accuracy(early),
            "differ": 100 * statistics.mean(differ), "bound": 100 * report["passed"][0]["upper"] if report["passed"] else None,
            "depth": statistics.mean(x["depth"] for x in early), "layers": report["model"]["layers"],
            "left_by_words": 100 * statistics.mean(x["depth"] == 0 for x in early),
            "work": statistics.mean(x["work"] for x in early), "certified": report["certified"], "policy": policy}
    line["counts"] = line["full"] - line["words"] >= POINTS
    if report["certified"]:
        found = pairs(task, policy, options.pairs)
        ratios = sorted(full / early for full, early in found)
        line |= {"ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1], "pairs": len(found),
                 "texts_per_s": {side: task.repeats * len(full) / statistics.median(seconds)
                                 for side, seconds in zip(("full", "early"), zip(*found))}}
    return line | {"threads": options.threads, "cpu": common.machine()["cpu"], "load_before": round(options.load, 2)}


def row(f):
    timed = [f"{f['ratio']:.2f}", f"{f['least']:.2f} to {f['most']:.2f}"] if f["certified"] else ["not certified", ""]
    bound = f"{f['bound']:.2f} %" if f["bound"] is not None else ""
    return [f["set"], f["texts"], f["held_out"], f["labels"], f"{f['tokens']:.0f}", f"{f['words']:.1f} %", f"{f['full']:.1f} %",
            f"{f['early']:.1f} %", "yes" if f["counts"] else "no", f"{f['differ']:.2f} %", bound,
            f"{f['depth']:.2f} of {f['layers']}", f"{f['left_by_words']:.0f} %", *timed]


def verdict(f):
    if not f["certified"]:
        return f"{f['set']}: no setting is certified; full depth runs"
    lost = round(f["full"] - f["early"], 2)
    reached = [f"the {goal} of {GOAL[goal]} x is {'reached' if f['ratio'] >= GOAL[goal] else 'missed'}" for goal in ("floor", "aim")]
    kept = "within" if lost <= GOAL["accuracy_lost"] else "NOT within"
    return f"{f['set']}: {f['ratio']:.2f} x, {', '.join(reached)}; accuracy {0 - lost:+.2f} points ({kept} {GOAL['accuracy_lost']} lost)"


def show(lines, options):
    print(f"{common.machine_line()}; {options.threads} threads; {MODEL}, {options.precision}; {options.pairs} pairs; "
          f"load before {options.load:.1f}; risk {100 * options.risk:g} %, confidence 95 %\n")
    print(common.table(["set", "texts", "held out", "labels", "tokens", "words alone right", "full depth", "certified", "counts",
                        "differ", "their bound", "mean depth", "left by words", "ratio", "range of the pairs"],
                       [row(line) for line in lines]))
    print()
    print("\n".join(f"- {verdict(line)}" for line in lines if line["counts"]))


def parse():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--sets", default=",".join(_labelled.SOURCES), help=f"default: {','.join(_labelled.SOURCES)}")
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--precision", default="f32", choices=("f32", "bf16"), help="of both sides")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of sets and tasks; default: none are kept")
    options = parser.parse_args()
    options.sets = options.sets.split(",")
    _labelled.check_names(options.sets)
    if options.pairs < 3:
        common.die(f"--pairs {options.pairs}: at least 3")
    if not (common.CACHE / "models" / MODEL / "config.json").exists():
        common.die(f"{MODEL} is not here: run ./dev model {MODEL}")
    options.load = os.getloadavg()[0]  # before this bench adds its own
    return options


def main():
    options = parse()
    if options.load > 0.5:
        common.say(f"classify: other programs are running (load {options.load:.1f}): believe ratios, not rates")
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            common.say(f"classify: {name}")
            lines.append(figures(name, options.keep or Path(scratch), options))
            if options.json:
                print(json.dumps(lines[-1]), flush=True)
    if not options.json:
        show(lines, options)


if __name__ == "__main__":
    main()
