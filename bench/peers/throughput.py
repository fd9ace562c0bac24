"""Ours beside llama.cpp on the same file, ids and threads: speed, loading and quality, in interleaved pairs.

    ./dev bench peers [--model NAME...] [--work decode,decode4k,prefill,rows4,rows8,load,quality,depth] [--quick]
                      [--isa avx2] [--numerics NAME] [--threads 2] [--pairs 5] [--json]

decode    64 tokens one by one after a prompt of 20; both sides are fed the same ids, nobody samples
decode4k  32 tokens one by one after 4,096 cached ones
prefill   512 tokens from an empty cache, logits of the last
rows4, 8  a step of 4 or 8 rows of one sequence after 64 cached tokens, all with logits; over_one is its time over that of
          the same side's step of one row
load      seconds inside a fresh process from before the file is opened to the first token's logits, the file in the page
          cache; importing Python's packages is not in theirs
quality   mean agreement with f32 over four texts, and perplexity (../quality/agreement.py)
depth     ours against ours: a fixed exit against full depth, beside the ratio of the bytes that both read

ratio is a ratio of speeds and above 1 where ours is faster: for load it is their seconds over ours, and ours_over_theirs
its inverse. For quality it is our agreement over theirs. It is the median over the pairs, least and most their range.
roof_share is of what the memory gives, in decode (bytes of all matrices in the file, the head once) and decode4k (and keys
and values of every cell that is seen: 2 x 2 bytes x kv_heads x head_dim); of the byte operations in prefill and rows (two
for each multiply-add of the matrices, the head's only where logits are asked for; attention is not counted). Both roofs are
measured between the pairs. Both sides stay loaded and asleep while the other works. llama.cpp runs with flash attention;
both caches are f16. --isa avx2 forces ours to cpu/avx2 and builds a llama.cpp without AVX-512 and VNNI.
--quick is decode, decode4k and prefill with 3 pairs; with --work too, that work with 3 pairs and one window of each text.
Next: _works.py.
"""

import json
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "quality")]

import _common as common
import agreement
from _works import WORKS, Models, Sides, depth, significant

DEFAULT = (*WORKS, "quality")
QUICK = ("decode", "decode4k", "prefill")
EXITS = {"gemma3-270m": 13, "qwen2.5-coder-0.5b": 16, "qwen2.5-coder-1.5b": 19}


def quality(name, options, scratch):
    line = agreement.mean(list(agreement.compare(name, options, scratch)))
    reached, _ = agreement.verdict(line)
    ours, theirs = line["agreement"], line["agreement_llama_cpp"]
    return {"ours": round(ours, 4), "theirs": round(theirs, 4), "unit": "agreement with f32",
            "ratio": round(ours / theirs, 4), "perplexity": significant(line["perplexity"]),
            "theirs_perplexity": significant(line["perplexity_llama_cpp"]),
            "f32_perplexity": significant(line["perplexity_f32"]), "positions": line["positions"], "reached": reached}


def figures(name, options, scratch):
    sides = Sides(Models(name), options)
    numerics = options.numerics or sides.model.info["fingerprint"]["numeric_path"]
    for work in options.work:
        common.say(f"peers: {name} {work}")
        if work == "quality":
            sides.close()
            line = quality(name, options, scratch)
        elif work == "depth":
            line = depth(sides, EXITS[name])
        else:
            line = WORKS[work](sides)
        yield {"model": name, "work": work, **line, "numerics": numerics, "threads": options.threads,
               "cpu": common.machine()["cpu"], "isa": options.isa}
    sides.close()


def percent(share):
    return "" if share is None else f"{100 * share:.0f} %"


def speed_row(f):
    return [f["model"], f["work"], f"{f['ours']:g}", f"{f['theirs']:g}", f["unit"], f"{f['ratio']:.2f}",
            f"{f['least']:.2f} to {f['most']:.2f}", percent(f.get("roof_share")), percent(f.get("theirs_roof_share")),
            f"{f['over_one']:.2f} ({f['theirs_over_one']:.2f})" if "over_one" in f else ""]


def quality_row(f):
    away = 100 * (f["perplexity"] / f["theirs_perplexity"] - 1)
    return [f["model"], f["positions"], f"{f['ours']:.4f}", f"{f['theirs']:.4f}", f"{f['perplexity']:.3f}",
            f"{f['theirs_perplexity']:.3f}", f"{f['f32_perplexity']:.3f}", f"{away:+.2f} %"]


def depth_row(f):
    return [f["model"], f["policy"], f"{f['ours']:g}", f"{f['theirs']:g}", f"{f['ratio']:.2f}",
            f"{f['least']:.2f} to {f['most']:.2f}", f"{f['byte_limit']:.2f}"]


TABLES = (
    (lambda f: f["work"] in WORKS, speed_row,
     ["model", "work", "ours", "llama.cpp", "unit", "ratio", "range of the pairs", "ours, of the roof",
      "llama.cpp, of the roof", "over one row (llama.cpp's)"]),
    (lambda f: f["work"] == "quality", quality_row,
     ["model", "positions", "agreement with f32", "llama.cpp's", "perplexity", "llama.cpp's", "f32's", "difference"]),
    (lambda f: f["work"] == "depth", depth_row,
     ["model", "policy", "tokens/s", "full depth, tokens/s", "ratio", "range", "limit by bytes"]),
)


def show(lines, options):
    print(f"{common.machine_line()}; {options.threads} threads; {options.isa}; {options.pairs} pairs; "
          f"numerics {lines[0]['numerics']}")
    roofs = [(f["roof_gb_per_s"], f["roof_int8_gop_per_s"]) for f in lines if "roof_gb_per_s" in f]
    if roofs:
        spread = lambda values: f"{min(values):g} to {max(values):g}"
        print(f"roofs meanwhile: memory {spread([r[0] for r in roofs])} GB/s, bytes {spread([r[1] for r in roofs])} "
              "G operations/s")
    for chosen, row, header in TABLES:
        rows = [row(f) for f in lines if chosen(f)]
        if rows:
            print("\n" + common.table(header, rows))


def parse():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--work", default=None, help=f"a comma-separated list; default: {','.join(DEFAULT)}")
    parser.add_argument("--pairs", type=int, default=5, help="at least 5")
    parser.add_argument("--quick", action="store_true", help=f"3 pairs, {','.join(QUICK)} where --work names nothing else")
    agreement.add_options(parser)
    options = parser.parse_args()
    options.isa = common.chosen_isa(options.isa)
    options.work = options.work.split(",") if options.work else QUICK if options.quick else DEFAULT
    for work in options.work:
        if work not in (*DEFAULT, "depth"):
            common.die(f"'{work}' is no work: choose from {','.join(DEFAULT)},depth")
    if options.quick:
        options.pairs, options.windows = 3, options.windows or 1
    elif options.pairs < 5:
        common.die(f"--pairs {options.pairs}: at least 5, or --quick for 3")
    return options


def main():
    options = parse()
    load = os.getloadavg()[0]  # before this bench adds its own
    if load > 0.5:
        common.say(f"peers: other programs are running (load {load:.1f}): ratios of this run mean little, "
                   "for OpenMP's barriers suffer more from a core that is taken away than ours")
    lines = []
    with common.scratch_file() as scratch:
        for name in common.chosen_models(options.model):
            for figure in figures(name, options, scratch):
                figure["load_before"] = round(load, 2)
                lines.append(figure)
                if options.json:
                    print(json.dumps(figure), flush=True)
    if not options.json:
        show(lines, options)
    sys.exit(0 if all(f.get("reached", True) for f in lines) else 1)


if __name__ == "__main__":
    main()
