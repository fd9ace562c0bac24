"""What is measured of all sides: the texts of each work, and the rounds in which they run. Next: _peers.py, what answers."""

import ast
import random
import statistics
import sysconfig
from pathlib import Path

import _common as common

MIXED = 256  # texts
CHECKED = {"mixed": 16}  # texts whose vectors are set beside the yardstick's; of the others 4


def docstrings(n, seed=1):
    """Texts of real lengths, one line to pages, from what any machine with Python has."""
    found = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        nodes = [x for x in ast.walk(tree) if isinstance(x, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        found += [text for x in nodes if (text := ast.get_docstring(x)) and len(text) >= 20]
    return random.Random(seed).sample(found, n)


class Work:
    """Texts, how many of them stand in one call (0: all of ours, batches of theirs), how theirs are ordered."""

    def __init__(self, name, texts, batch, sort=False):
        self.name, self.texts, self.batch, self.sort = name, texts, batch, sort

    def run(self, side, is_ours):
        request = {"work": "run", "name": self.name, "batch": self.batch}
        answer = side.ask(**request) if is_ours else side.ask(**request, sort=self.sort)
        side.await_sleep()
        return answer["seconds"]


FIXED = {f"b{batch}x{tokens}": (batch, tokens) for batch in (1, 32) for tokens in (32, 128, 512)}
NAMES = (*FIXED, "mixed", "mixed-unsorted")


def make(name, cut):
    """The work of a name; cut(tokens, n) gives n texts of so many tokens."""
    if name not in FIXED:
        return Work(name, docstrings(MIXED), 0, sort=name == "mixed")
    batch, tokens = FIXED[name]
    n = 32 if batch == 32 else max(8, 1024 // tokens)
    return Work(name, cut(tokens, n), batch)


def operations(config, lengths):
    """Two for each multiply-add of products and of attention."""
    width, inner, layers = config["d_model"], config["feed_forward"], config["n_layers"]
    return sum(2 * n * layers * (4 * width * width + 2 * width * inner + 2 * n * width) for n in lengths)


def rounds(work, ours, peers, n, roof):
    """n rounds of seconds by side, each side first in turns, and the mean of the roofs around each; one is not counted."""
    sides = [(name, side, True) for name, side in ours.items()] + [(name, side, False) for name, side in peers.items()]
    for _, side, is_ours in sides:
        work.run(side, is_ours)
    found, before = [], roof()
    for i in range(n):
        order = sides if i % 2 == 0 else sides[::-1]
        seconds = {name: work.run(side, is_ours) for name, side, is_ours in order}
        after = roof()
        found.append((seconds, (before + after) / 2))
        before = after
    return found


def cosines(vectors, yardstick):
    """The least and the mean cosine."""
    def cosine(a, b):
        dot = lambda x, y: sum(p * q for p, q in zip(x, y))
        return dot(a, b) / (dot(a, a) * dot(b, b)) ** 0.5
    each = [cosine(a, b) for a, b in zip(vectors, yardstick)]
    return {"least": round(min(each), 6), "mean": round(statistics.mean(each), 6)}


def significant(x):
    return float(f"{x:.4g}")


def ratio(found, ours, theirs):
    """The median of the rounds' ratios of speeds, and their range."""
    each = sorted(seconds[theirs] / seconds[ours] for seconds, _ in found)
    return {"ratio": round(statistics.median(each), 3), "least": round(each[0], 3), "most": round(each[-1], 3)}


def rate(found, side, texts):
    return significant(statistics.median(texts / seconds[side] for seconds, _ in found))


def f32_roof(options):
    return lambda: common.measured_roofs(options.threads, options.isa)["f32_gop_per_s"] * 1e9
