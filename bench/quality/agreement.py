"""Top-1 agreement with f32 and perplexity of ours and of llama.cpp, on the same token windows.

    ./dev bench quality [--model NAME...] [--windows N] [--numerics NAME] [--isa avx2] [--fresh] [--check-f32] [--json]

Four committed texts; windows of 512 cells; where the model wants a beginning-of-text token it is the first cell of each
window, and llama.cpp is fed the very same ids (docs/decisions/0001-perplexity-windows.md). Agreement covers every
predicted token; perplexity the cells after the middle of whole windows, as llama.cpp's own tool does.
f32 is our path with --numerics exact --kv f32; --check-f32 compares that with numpy on one window of each text. Its
results are kept in the cache folder by model, text, windows and F32_VERSION; --fresh makes them again.
Exits with 1 where agreement is more than 0.5 points below llama.cpp's or perplexity more than 0.5 % away from it.
Next: _f32.py, the numpy side of the check.
"""

import hashlib
import json
import math
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "peers")]

import _common as common
from _llama import Llama, environment
from _side import Side

WINDOW = 512
F32_VERSION = 1  # of what the exact path computes; raise it whenever a change may move its numbers
POINTS, PERCENT = 0.5, 0.5


class Scored:
    """What one side predicted for each token of a text: argmax, nll, and which of them count for perplexity."""

    def __init__(self, argmax, nll, counts):
        self.argmax, self.nll, self.counts = argmax, nll, counts

    def perplexity(self):
        counted = [nll for nll, counts in zip(self.nll, self.counts) if counts]
        return math.exp(sum(counted) / len(counted)) if counted else math.nan

    def agreement(self, other):
        return sum(a == b for a, b in zip(self.argmax, other.argmax)) / len(self.argmax)


def ours(model, text_file, scratch, options, numerics=None):
    """Our side of one text, and its ids."""
    out = scratch.with_suffix(".jsonl")
    arguments = ["--numerics", numerics] if numerics else []
    if numerics == "exact":
        arguments += ["--kv", "f32"]
    elif options.isa == "avx2":
        arguments += ["--target", "cpu/avx2"]
    common.fathom("perplexity", "-m", model, "-f", text_file, "--ctx", WINDOW, "--per-token", out,
                  "--threads", options.threads, *arguments)
    tokens = [json.loads(line) for line in out.read_text().splitlines()]
    predicted = [t for t in tokens if t["argmax"] is not None]
    return Scored([t["argmax"] for t in predicted], [t["nll"] for t in predicted],
                  [t["scored"] for t in predicted]), [t["id"] for t in tokens]


def sha256(file):
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def f32(model, model_sha256, text_file, scratch, options):
    """Our exact side of one text, from the cache folder where it was made before."""
    key = f"{F32_VERSION} {model_sha256} {sha256(text_file)} {WINDOW}"
    kept = common.CACHE / "f32" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if kept.exists() and not options.fresh:
        return Scored(**json.loads(kept.read_text()))
    exact, _ = ours(model, text_file, scratch, options, "exact")
    kept.parent.mkdir(parents=True, exist_ok=True)
    whole = kept.with_suffix(f".{os.getpid()}")
    whole.write_text(json.dumps(vars(exact)))
    whole.rename(kept)
    return exact


def windows_of(ids, begin):
    stride = WINDOW - len(begin)
    return [begin + ids[at:at + stride] for at in range(0, len(ids), stride)]


def peer(side, ids, begin):
    """The same windows on another side. The first cell of a window is predicted by nobody."""
    windows = windows_of(ids, begin)
    argmax, nll, counts = [], [], []
    for window, cells in zip(windows, side.score(windows)):
        for row, (top, loss) in enumerate(cells):
            argmax.append(top)
            nll.append(loss)
            counts.append(len(window) == WINDOW and row >= WINDOW // 2)
    return Scored(argmax, nll, counts)


def same_places(text, a, b):
    if a.counts != b.counts:
        common.die(f"{text}: ours and the peer do not score the same places ({sum(a.counts)} and {sum(b.counts)})")


def texts(model, scratch, n_windows):
    """(name, file) of each text, cut to a number of windows where one is asked for."""
    for file in sorted(common.TEXTS.glob("*.txt")):
        if n_windows:
            text, _ = common.text_of_tokens(model, file.read_text(), n_windows * (WINDOW - 1))
            file = scratch.with_name(file.name)
            file.write_text(text)
        yield file.stem, file


def compare(name, options, scratch):
    """One line of figures for each text of a model."""
    model = common.model_path(name)
    tokenizer = common.fathom("info", "-m", model)["tokenizer"]
    begin = [tokenizer["bos"]] if tokenizer["adds_bos"] else []
    llama, model_sha256 = Llama(model, options.threads, options.isa), sha256(model)
    for text, file in texts(model, scratch, options.windows):
        fast, ids = ours(model, file, scratch, options, options.numerics)
        exact = f32(model, model_sha256, file, scratch, options)
        theirs = peer(llama, ids, begin)
        same_places(text, fast, theirs)
        yield {"model": name, "text": text, "positions": len(fast.argmax), "scored": sum(fast.counts),
               "agreement": fast.agreement(exact), "agreement_llama_cpp": theirs.agreement(exact),
               "perplexity": fast.perplexity(), "perplexity_llama_cpp": theirs.perplexity(),
               "perplexity_f32": exact.perplexity()}
    llama.close()


def check_f32(name, options, scratch):
    """Our exact path against numpy on the first window of each text: agreement and the largest difference of a nll."""
    model = common.model_path(name)
    tokenizer = common.fathom("info", "-m", model)["tokenizer"]
    begin = [tokenizer["bos"]] if tokenizer["adds_bos"] else []
    side = Side([environment(options.isa), Path(__file__).with_name("_f32.py"), model])
    for text, file in texts(model, scratch, 1):
        exact, ids = ours(model, file, scratch, options, "exact")
        numpy = peer(side, ids, begin)
        largest = max(abs(a - b) for a, b in zip(exact.nll, numpy.nll))
        yield {"model": name, "text": text, "check": "f32", "positions": len(exact.argmax),
               "agreement_numpy": exact.agreement(numpy), "largest_nll_difference": largest,
               "perplexity_f32": exact.perplexity(), "perplexity_numpy": numpy.perplexity()}
    side.close()


def mean(lines):
    """The line of all texts: mean agreement, perplexity over all scored cells."""
    total = sum(line["scored"] for line in lines)
    merged = {"model": lines[0]["model"], "text": "mean", "positions": sum(line["positions"] for line in lines),
              "scored": total}
    for key in ("agreement", "agreement_llama_cpp"):
        merged[key] = sum(line[key] for line in lines) / len(lines)
    for key in ("perplexity", "perplexity_llama_cpp", "perplexity_f32"):
        nll = sum(math.log(line[key]) * line["scored"] for line in lines if line["scored"])
        merged[key] = math.exp(nll / total) if total else math.nan
    return merged


def away(line):
    return 100 * (line["perplexity"] / line["perplexity_llama_cpp"] - 1)


def verdict(line):
    """Whether the mean line reaches both targets, and the sentence that says so."""
    points = 100 * (line["agreement"] - line["agreement_llama_cpp"])
    good = points >= -POINTS and abs(away(line)) <= PERCENT
    return good, (f"{line['model']}: agreement {points:+.2f} points against llama.cpp (at least -{POINTS}), "
                  f"perplexity {away(line):+.2f} % (within {PERCENT} %): {'reached' if good else 'MISSED'}")


def show(lines):
    print(common.table(
        ["model", "text", "positions", "agreement", "llama.cpp's", "perplexity", "llama.cpp's", "f32's", "difference"],
        [[f["model"], f["text"], f["positions"], f"{f['agreement']:.4f}", f"{f['agreement_llama_cpp']:.4f}",
          f"{f['perplexity']:.3f}", f"{f['perplexity_llama_cpp']:.3f}", f"{f['perplexity_f32']:.3f}",
          f"{away(f):+.2f} %"] for f in lines]) + "\n")


def show_check(lines):
    print(common.table(
        ["model", "text", "positions", "agreement with numpy", "largest difference of a nll", "perplexity", "numpy's"],
        [[f["model"], f["text"], f["positions"], f"{f['agreement_numpy']:.4f}", f"{f['largest_nll_difference']:.1e}",
          f"{f['perplexity_f32']:.4f}", f"{f['perplexity_numpy']:.4f}"] for f in lines]))


def add_options(parser):
    """What ../peers/throughput.py asks for too."""
    parser.add_argument("--isa", default=None, help="avx2: both sides without AVX-512 and VNNI; default: the machine's best")
    parser.add_argument("--numerics", default=None, help="of ours, as fathom --numerics; default: the library's own")
    parser.add_argument("--windows", type=int, default=0, help="windows of each text; default: the whole text")
    parser.add_argument("--fresh", action="store_true", help="compute f32 again instead of reading the cache folder")


def main():
    parser = common.arguments(__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--check-f32", action="store_true", help="compare the f32 path with numpy instead")
    options = parser.parse_args()
    options.isa = common.chosen_isa(options.isa)
    lines, means = [], []

    def add(line):
        lines.append(line)
        common.say(f"{line['model']} {line['text']}: done")
        if options.json:
            print(json.dumps(line), flush=True)

    with common.scratch_file() as scratch:
        for name in common.chosen_models(options.model):
            for line in (check_f32 if options.check_f32 else compare)(name, options, scratch):
                add(line)
            if not options.check_f32:
                means.append(mean([line for line in lines if line["model"] == name]))
                add(means[-1])
    if not options.json:
        print(common.machine_line() + "\n")
        (show_check if options.check_f32 else show)(lines)
    verdicts = [verdict(line) for line in means]
    for _, sentence in verdicts:
        print(f"- {sentence}", file=sys.stderr if options.json else sys.stdout)
    sys.exit(0 if all(good for good, _ in verdicts) else 1)


if __name__ == "__main__":
    main()
