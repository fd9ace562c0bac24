"""Tokens per second of ours and of llama.cpp on the same file, ids and threads, in interleaved pairs.

    ./dev bench peers [--model NAME...] [--work decode,prefill,depth] [--threads 2] [--pairs 5] [--quick] [--json]

decode   64 tokens after a short prompt, greedy; llama.cpp is fed the ids that ours chose, so it pays for no sampling
prefill  512 tokens from an empty cache
depth    ours against ours: a fixed exit against full depth, beside the ratio of the bytes that both read

Neither side's loading is counted: ours reports the rates of its own decode and prefill, llama.cpp is loaded once.
Next: ../quality/agreement.py.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _common as common
from _llama import Llama

EXITS = {"gemma3-270m": 13, "qwen2.5-coder-0.5b": 16, "qwen2.5-coder-1.5b": 19}
PROMPT_CHARACTERS = 96


class Ours:
    def __init__(self, name, threads):
        self.path, self.threads = common.model_path(name), threads

    def generate(self, text_file, n, policy="full_depth"):
        return common.fathom("generate", "-m", self.path, "-f", text_file, "-n", n, "--policy", policy,
                             "--temperature", 0, "--threads", self.threads)

    def info(self):
        return common.fathom("info", "-m", self.path)


def begin_of_text(info):
    tokenizer = info["tokenizer"]
    return [tokenizer["bos"]] if tokenizer["adds_bos"] else []


def interleave(pairs, first, second):
    """`pairs` measurements of both sides, A B B A A B ..., after one of each that is not counted."""
    first(), second()
    measured = []
    for i in range(pairs):
        if i % 2 == 0:
            a, b = first(), second()
        else:
            b, a = second(), first()
        measured.append((a, b))
    return measured


def decode(ours, info, options, scratch):
    prompt = (common.TEXTS / "prose.txt").read_text()[:PROMPT_CHARACTERS].rsplit(" ", 1)[0]
    scratch.write_text(prompt)
    ids = begin_of_text(info) + common.tokenize(ours.path, prompt)
    n = 32 if options.quick else 64
    chosen = ours.generate(scratch, n)["tokens"]
    theirs = Llama(ours.path, options.threads)
    pairs = interleave(options.pairs,
                       lambda: ours.generate(scratch, n)["tokens_per_second"],
                       lambda: (len(chosen) - 1) / theirs.decode(ids, chosen[:-1]))
    theirs.close()
    return pairs


def prefill(ours, info, options, scratch):
    begin = begin_of_text(info)
    n = 128 if options.quick else 512
    text, ids = common.text_of_tokens(ours.path, (common.TEXTS / "prose.txt").read_text(), n - len(begin))
    scratch.write_text(text)
    ids = begin + ids
    theirs = Llama(ours.path, options.threads)
    pairs = interleave(options.pairs,
                       lambda: ours.generate(scratch, 1)["prefill_tokens_per_second"],
                       lambda: len(ids) / theirs.prefill(ids))
    theirs.close()
    return pairs


def depth(ours, info, options, scratch, layer):
    scratch.write_text((common.TEXTS / "prose.txt").read_text()[:PROMPT_CHARACTERS].rsplit(" ", 1)[0])
    n = 32 if options.quick else 64
    rate = lambda policy: ours.generate(scratch, n, policy)["tokens_per_second"]
    return interleave(options.pairs, lambda: rate(f"exit_at(layer={layer})"), lambda: rate("full_depth"))


def bytes_read(info, layer):
    """Bytes of weights that one token reads when it leaves after `layer`: layers, K and V of the rest, head."""
    names = {t["name"] for t in info["tensors"]}
    total = 0
    for tensor in info["tensors"]:
        name = tensor["name"]
        if name.startswith("blk."):
            fills_kv = any(part in name for part in (".attn_k", ".attn_v", ".attn_norm"))
            total += tensor["bytes"] if int(name.split(".")[1]) < layer or fills_kv else 0
        elif name == "output.weight" or (name == "token_embd.weight" and "output.weight" not in names):
            total += tensor["bytes"]
    return total


def figures(name, options, scratch):
    ours = Ours(name, options.threads)
    info = ours.info()
    roof = common.memory_roof(options.threads)
    for work in options.work.split(","):
        extra = {}
        if work == "depth":
            layer = EXITS[name]
            pairs = depth(ours, info, options, scratch, layer)
            extra = {"policy": f"exit_at(layer={layer})", "against": "full_depth",
                     "byte_limit": round(bytes_read(info, info["n_layers"]) / bytes_read(info, layer), 3)}
        elif work in ("decode", "prefill"):
            pairs = {"decode": decode, "prefill": prefill}[work](ours, info, options, scratch)
        else:
            common.die(f"'{work}' is no work: choose from decode,prefill,depth")
        s = common.summary(pairs)
        if work == "decode" and roof:
            extra = {"roof_gb_per_s": roof,
                     "share_of_roof": round(s["a"] * bytes_read(info, info["n_layers"]) / 1e9 / roof, 2)}
        yield {"model": name, "work": work, "ours": round(s["a"], 2), "theirs": round(s["b"], 2),
               "unit": "tokens/s", "ratio": round(s["ratio"], 3), "least": round(s["least"], 3),
               "most": round(s["most"], 3), "pairs": s["pairs"], "threads": options.threads,
               "cpu": common.machine()["cpu"], "isa": common.isa(), **extra}


def show(lines):
    against = [line for line in lines if line["work"] != "depth"]
    if against:
        print(common.table(["model", "work", "ours, tokens/s", "llama.cpp, tokens/s", "ratio", "range of the pairs",
                            "ours, share of the memory's roof"],
                           [[f["model"], f["work"], f["ours"], f["theirs"], f"{f['ratio']:.2f}",
                             f"{f['least']:.2f} to {f['most']:.2f}", f.get("share_of_roof", "")] for f in against]))
    exits = [line for line in lines if line["work"] == "depth"]
    if against and exits:
        print()
    if exits:
        print(common.table(["model", "policy", "tokens/s", "full depth, tokens/s", "ratio", "range", "limit by bytes"],
                           [[f["model"], f["policy"], f["ours"], f["theirs"], f"{f['ratio']:.2f}",
                             f"{f['least']:.2f} to {f['most']:.2f}", f"{f['byte_limit']:.2f}"] for f in exits]))


def main():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--work", default="decode,prefill,depth", help="a comma-separated list")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2 pairs, half the tokens: to see that it works")
    options = parser.parse_args()
    options.pairs = 2 if options.quick else options.pairs
    if options.pairs < 1:
        common.die(f"--pairs {options.pairs}: at least 1")
    lines = []
    with common.scratch_file() as scratch:
        for name in common.chosen_models(options.model):
            for figure in figures(name, options, scratch):
                lines.append(figure)
                if options.json:
                    print(json.dumps(figure), flush=True)
    if not options.json:
        print(f"{common.machine_line()}; {options.threads} threads; {options.pairs} pairs\n")
        show(lines)


if __name__ == "__main__":
    main()
