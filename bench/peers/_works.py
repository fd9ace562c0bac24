"""What is measured of both sides, each work one function. Next: _side.py, what answers.

A work returns pairs of (amount, ours in seconds, theirs in seconds, the roofs of that minute): `interleave` takes them
in the order A B B A A B, lets each side fall asleep before the other runs, and measures the roofs between.
"""

import statistics

import _common as common
from _llama import Llama
from _side import Ours

CONTEXT = 4096  # cells before the steps of decode4k
ROWS_CONTEXT = 64
REPEATS = 12  # steps of one measurement of rows


class Models:
    """What is known of a model: where it lies, its matrices, its ids of a text."""

    def __init__(self, name):
        self.name, self.path = name, common.model_path(name)
        self.info = common.fathom("info", "-m", self.path)
        tokenizer = self.info["tokenizer"]
        self.begin = [tokenizer["bos"]] if tokenizer["adds_bos"] else []
        text = (common.TEXTS / "prose.txt").read_text() + (common.TEXTS / "docs.txt").read_text()
        ids = common.tokenize(self.path, text)
        self.text = self.begin + ids * (2 * CONTEXT // len(ids) + 1)

    def matrices(self):
        """(layer or None for the head, tensor) of each matrix that products read."""
        names = {t["name"] for t in self.info["tensors"]}
        head = "output.weight" if "output.weight" in names else "token_embd.weight"
        for tensor in self.info["tensors"]:
            if tensor["name"].startswith("blk.") and tensor["rows"] > 1:
                yield int(tensor["name"].split(".")[1]), tensor
            elif tensor["name"] == head:
                yield None, tensor

    def bytes_read(self, exit_after=None):
        """Bytes of weights that a token reads when it leaves after a layer: layers, K and V of the rest, head."""
        total = 0
        for layer, tensor in self.matrices():
            fills_kv = any(part in tensor["name"] for part in (".attn_k.", ".attn_v."))
            runs = layer is None or exit_after is None or layer < exit_after
            total += tensor["bytes"] if runs or fills_kv else 0
        return total

    def kv_bytes(self, cells):
        """Bytes of keys and values (f16) that a token reads after `cells` cells; a window bounds its layer."""
        total = 0
        for group in self.info["layers"]:
            seen = min(cells, group["window"] or cells)
            total += len(layers_of(group["layers"])) * seen * 2 * group["kv_heads"] * group["head_dim"] * 2
        return total

    def operations(self, rows, rows_with_logits):
        """Two for each multiply-add of the matrices; attention is not counted."""
        return sum(2 * t["rows"] * t["cols"] * (rows_with_logits if layer is None else rows)
                   for layer, t in self.matrices())


def layers_of(text):
    """The numbers of a list such as "1-5,7"."""
    numbers = []
    for part in str(text).split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


class Sides:
    """Both sides of one model, and the settings of the run."""

    def __init__(self, model, options):
        self.model, self.options = model, options
        self._running = None

    def start(self):
        """Fresh processes of both; their first lines tell how long loading took."""
        return self.start_ours(), self.start_theirs()

    def start_ours(self):
        options = self.options
        return Ours(self.model.path, options.threads, options.isa, options.numerics, CONTEXT + 128, self.model.text[0])

    def start_theirs(self):
        options = self.options
        return Llama(self.model.path, options.threads, options.isa, CONTEXT + 128, self.model.text[0])

    def running(self):
        """The two processes that answer every work but loading."""
        if self._running is None:
            self._running = self.start()
        return self._running

    def ask(self, **request):
        """(ours, theirs): functions that ask for the same, and wait until the answer's threads sleep."""
        return tuple(lambda side=side: asked(side, request) for side in self.running())

    def close(self):
        for side in self._running or ():
            side.close()
        self._running = None

    def roofs(self):
        return common.roofs(self.options.threads, self.options.isa)


def asked(side, request):
    answer = side.ask(**request)
    side.await_sleep()
    return answer


def interleave(n, first, second, roofs):
    """n measurements of both, and the mean of the roofs before and after each pair; one of each is not counted."""
    first(), second()
    pairs, before = [], roofs()
    for i in range(n):
        if i % 2 == 0:
            a, b = first(), second()
        else:
            b, a = second(), first()
        after = roofs()
        pairs.append((a, b, tuple((x + y) / 2 for x, y in zip(before, after))))
        before = after
    return pairs


def figure(pairs, amount, unit, roof=None, work_of_amount=0):
    """Medians of the rates, of their ratio with its range, and of the shares of a roof (0: memory, 1: operations).

    work_of_amount: the bytes or operations that stand behind `amount`.
    """
    ratios = sorted(b["seconds"] / a["seconds"] for a, b, _ in pairs)
    rate = lambda side: statistics.median(amount / pair[side]["seconds"] for pair in pairs)
    line = {"ours": significant(rate(0)), "theirs": significant(rate(1)), "unit": unit,
            "ratio": round(statistics.median(ratios), 3)}
    if roof is not None:
        share = lambda side: round(statistics.median(work_of_amount / p[side]["seconds"] / p[2][roof] for p in pairs), 3)
        line |= {"roof_share": share(0), "theirs_roof_share": share(1)}
    line |= {"least": round(ratios[0], 3), "most": round(ratios[-1], 3), "pairs": len(pairs),
             "roof_gb_per_s": round(statistics.median(p[2][0] for p in pairs) / 1e9, 1),
             "roof_int8_gop_per_s": round(statistics.median(p[2][1] for p in pairs) / 1e9, 1)}
    return line


def significant(x):
    return float(f"{x:.4g}")


def decode(sides):
    n, prompt, model = 64, 20, sides.model
    ask = sides.ask(work="decode", prompt=model.text[:prompt], ids=model.text[prompt:prompt + n])
    return figure(interleave(sides.options.pairs, *ask, sides.roofs), n, "tokens/s", 0, n * model.bytes_read())


def decode4k(sides):
    n, model = 32, sides.model
    for fill in sides.ask(work="prefill", ids=model.text[:CONTEXT]):
        fill()
    ask = sides.ask(work="resume", ids=model.text[CONTEXT:CONTEXT + n])
    read = model.bytes_read() + model.kv_bytes(CONTEXT + n // 2)
    return figure(interleave(sides.options.pairs, *ask, sides.roofs), n, "tokens/s", 0, n * read)


def prefill(sides):
    n, model = 512, sides.model
    ask = sides.ask(work="prefill", ids=model.text[:n])
    return figure(interleave(sides.options.pairs, *ask, sides.roofs), n, "tokens/s", 1, model.operations(n, 1))


def rows(n):
    def work(sides):
        model = sides.model
        for fill in sides.ask(work="prefill", ids=model.text[:ROWS_CONTEXT]):
            fill()
        ask = sides.ask(work="rows", ids=model.text[ROWS_CONTEXT:ROWS_CONTEXT + n], repeats=REPEATS)
        pairs = interleave(sides.options.pairs, *ask, sides.roofs)
        over_one = lambda side: round(statistics.median(p[side]["seconds"] / p[side]["one"] for p in pairs), 3)
        return figure(pairs, n, "rows/s", 1, model.operations(n, n)) | {"over_one": over_one(0),
                                                                        "theirs_over_one": over_one(1)}
    return work


def load(sides):
    sides.close()  # their memory is given back

    def fresh(start):
        side = start()
        side.close()
        return {"seconds": side.hello["load_seconds"]}

    pairs = interleave(sides.options.pairs, lambda: fresh(sides.start_ours), lambda: fresh(sides.start_theirs),
                       sides.roofs)
    line = figure(pairs, 1, "s")
    seconds = lambda side: significant(statistics.median(p[side]["seconds"] for p in pairs))
    return line | {"ours": seconds(0), "theirs": seconds(1), "ours_over_theirs": round(1 / line["ratio"], 3)}


def depth(sides, layer):
    """Ours against ours: a fixed exit against full depth, beside the ratio of the bytes that both read."""
    n, prompt, model = 64, 20, sides.model
    request = {"work": "decode", "prompt": model.text[:prompt], "ids": model.text[prompt:prompt + n]}
    exits, _ = sides.ask(**request, policy=f"exit_at(layer={layer})")
    full, _ = sides.ask(**request)
    line = figure(interleave(sides.options.pairs, exits, full, sides.roofs), n, "tokens/s")
    return line | {"policy": f"exit_at(layer={layer})", "against": "full_depth",
                   "byte_limit": round(model.bytes_read() / model.bytes_read(layer), 3)}


WORKS = {"decode": decode, "decode4k": decode4k, "prefill": prefill, "rows4": rows(4), "rows8": rows(8), "load": load}
