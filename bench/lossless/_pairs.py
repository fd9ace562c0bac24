"""Both sides of a pair in one process, and what their slices say: ratios, intervals, bytes, roofs. Next: speed.py."""

import math
import statistics

import _common as common
from _side import Side

PROGRAM = common.ROOT / "build" / "release" / "bench" / "bench_pairs"
CONTEXT = 1024
HOT = 4096  # tokens of defer_head's shortlist where the policy's text names no other


class Pairs(Side):
    """bench_pairs with one model: a session at full depth and one under a policy."""

    def __init__(self, model, options, numerics):
        if not PROGRAM.exists():
            common.die(f"{PROGRAM} is not built: run ./dev bench lossless")
        extra = ["--target", "cpu/avx2"] if options.isa == "avx2" else []
        extra += ["--numerics", numerics] if numerics else []
        extra += ["--screen-head", "yes"] if "screen_head" in (options.policy or "") else []
        super().__init__([PROGRAM, model.path, options.threads, CONTEXT, *extra])
        self.begin = model.begin
        self.has_chat = model.info["tokenizer"]["chat_template"]
        self.numerics = self.hello["numerics"]

    def encode(self, text, **how):
        return self.ask(work="encode", text=text, **how)["ids"]


class Weights:
    """Bytes of a model's matrices, as its file has them."""

    def __init__(self, model):
        matrices = list(model.matrices())
        self.body = sum(t["bytes"] for layer, t in matrices if layer is not None)
        head = next(t for layer, t in matrices if layer is None)
        self.head, self.head_row = head["bytes"], head["bytes"] / head["rows"]

    def at_full_depth(self):
        return self.body + self.head

    def read(self, counts, hot):
        return counts["body"] * self.body + counts["head"] * self.head + counts["shortlist"] * hot * self.head_row


def student(degrees):
    """The 97.5 % quantile of Student's distribution (Cornish and Fisher 1937; below 4 degrees a table)."""
    if degrees < 4:
        return {0: math.inf, 1: 12.706, 2: 4.303, 3: 3.182}[degrees]
    z = 1.959964
    return (z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3))


def sums(slices):
    """(tokens, seconds) of the first side and of the second."""
    return tuple(sum(part[i] for part in slices) for i in range(4))


def ratio(strata):
    """The second side's tokens a second over the first side's, and half of the 95 % interval.

    strata: for each thing that was measured several times, the sums of each time. Only what differs between the times of
    one stratum is uncertain (the delta method within strata): prompts are given, and not drawn.
    """
    base_n, base_s, n, s = total = sums([unit for units in strata for unit in units])
    value = n / s / (base_n / base_s)
    variance = 0.0
    for units in strata:
        if len(units) > 1:
            shares = [[part / whole for part, whole in zip(unit, total)] for unit in units]
            variance += len(units) * statistics.variance(c + b - a - d for a, b, c, d in shares)
    degrees = sum(len(units) - 1 for units in strata)
    return value, value * student(degrees) * math.sqrt(variance) if degrees else math.inf


class Figure:
    """What was measured of some prompts: the answers to each, round by round."""

    def __init__(self, runs):
        # The others ended with their first token.
        self.runs = [answers for answers in runs if sums(answers[0]["slices"])[2] > 0]
        self.answers = [answer for answers in runs for answer in answers]

    def strata(self):
        """By prompt, each round a unit; of a single prompt its slices are the units, which differ by their text too."""
        if len(self.runs) == 1:
            return [[tuple(part) for answer in self.runs[0] for part in answer["slices"]]]
        return [[sums(answer["slices"]) for answer in answers] for answers in self.runs]

    def ratio(self):
        return ratio(self.strata())

    def width(self):
        value, half = self.ratio()
        return 2 * half / value

    def sums(self):
        return sums([part for answer in self.answers for part in answer["slices"]])

    def sum(self, key):
        return sum(answer[key] for answer in self.answers)

    def line(self, weights, roof, hot):
        """The figure's fields; roof: bytes a second that the memory gave meanwhile."""
        value, half = self.ratio()
        base_n, base_s, n, s = self.sums()
        counts = {key: self.sum(key) for key in ("body", "head", "shortlist")}
        read = weights.read(counts, hot) / n
        by_prompt = [ratio([[sums(answer["slices"]) for answer in answers]])[0] for answers in self.runs]
        proposed = self.sum("proposed")
        finite = math.isfinite(half)
        return {"ratio": round(value, 4), "low": round(value - half, 4) if finite else None,
                "high": round(value + half, 4) if finite else None,
                "least": round(min(by_prompt), 4), "most": round(max(by_prompt), 4), "prompts": len(self.runs),
                "rounds": max(len(answers) for answers in self.runs),
                "tokens_per_s": significant(n / s), "base_tokens_per_s": significant(base_n / base_s),
                "tokens": self.sum("tokens"), "differing": self.sum("differing"),
                "tokens_per_pass": round(n / self.sum("passes"), 3), "proposed": proposed,
                "accepted": self.sum("accepted"),
                "acceptance": round(self.sum("accepted") / proposed, 3) if proposed else None,
                "own_rows": self.sum("own_rows"), "settles": self.sum("settles"),
                **{f"{key}_per_token": round(count / n, 3) for key, count in counts.items()},
                "bytes_per_token": round(read), "base_bytes_per_token": weights.at_full_depth(),
                "roof_share": round(read * n / s / roof, 3),
                "base_roof_share": round(weights.at_full_depth() * base_n / base_s / roof, 3),
                "roof_gb_per_s": round(roof / 1e9, 1)}


def significant(x):
    return float(f"{x:.4g}")
