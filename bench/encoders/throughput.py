"""Our encoder beside ONNX Runtime, CTranslate2 and OpenVINO: texts a second and cosine, all sides in turns.

    ./dev bench encoders [--work NAMES] [--peers NAMES] [--precision f32,bf16,int8] [--max-tokens 512] [--pairs 5] [--quick] [--json]

b1x32 .. b32x512   1 or 32 texts a call, each of so many tokens
mixed              256 texts of real lengths (docstrings of Python's library): ours in one call, theirs sorted by length,
                   padded in batches of 32
mixed-unsorted     the same, theirs in the caller's order

A round runs every side once, each with all threads while the others sleep; the f32 roof is measured between rounds. ratio is
the median over the rounds of our speed over the best f32 peer's (that with the highest median in this run), least and most
its range; `ratios` has every peer. Tokenization is in our time and not in theirs; padding and pooling are in theirs.
roof_share counts two operations for each multiply-add of products and attention. cosine is to vectors in double precision
(_reference.py). A precision bf16 or int8 stands beside the best f32 peer too, and with its own cosine. Peers whose name ends
in -int8 are those engines' own eight bits, and never the best f32 peer. --quick: 3 rounds of b1x128, b32x128 and mixed.
Next: _rounds.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent / "peers")]

import _common as common
import _peers
import _rounds

MODEL = "minilm-l6"
PATHS = {"f32": ("--numerics", "exact"), "bf16": ("--numerics", "bf16"),
         "int8": ("--numerics", "fast", "--quantise", "q8_0")}
QUICK = ("b1x128", "b32x128", "mixed")


def yardstick(folder, texts, max_tokens):
    request = json.dumps({"folder": str(folder), "texts": texts, "max_tokens": max_tokens})
    command = [_peers.environment(), Path(__file__).with_name("_reference.py")]
    return json.loads(subprocess.run(command, input=request, capture_output=True, text=True, check=True).stdout)


def sizes(folder):
    info = common.fathom("info", "-m", folder)
    return {"d_model": info["d_model"], "n_layers": info["n_layers"], "feed_forward": info["layers"][0]["feed_forward"]}


def one(peers):
    """Any of them, for what all answer alike."""
    return next(iter(peers.values()))


def figures(work, ours, peers, options, config):
    """A line for each precision of ours."""
    sides = {**ours, **peers}
    tokens = {name: side.ask(work="keep", name=work.name, texts=work.texts)["tokens"] for name, side in sides.items()}
    if len(set(tokens.values())) > 1:
        common.die(f"{work.name}: the sides read different tokens: {tokens}")
    found = _rounds.rounds(work, ours, peers, options.pairs, _rounds.f32_roof(options))
    n = _rounds.CHECKED.get(work.name.partition("-")[0], 4)
    exact = yardstick(options.folder, work.texts[:n], options.max_tokens)
    vectors = lambda side: side.ask(work="embeddings", name=work.name, first=n)["embeddings"]
    cosine = {name: _rounds.cosines(vectors(side), exact) for name, side in sides.items()}
    rates = {name: _rounds.rate(found, name, len(work.texts)) for name in sides}
    f32_peers = [name for name in peers if not name.endswith("-int8")]
    best = max(f32_peers, key=lambda name: rates[name], default=None)
    lengths = one(peers).ask(work="lengths", name=work.name)["lengths"]
    for precision in ours:
        shares = sorted(_rounds.operations(config, lengths) / seconds[precision] / roof for seconds, roof in found)
        yield {"work": work.name, "precision": precision, "texts": len(work.texts), "tokens": tokens[precision],
               "ours": rates[precision], "unit": "texts/s", "cosine": cosine[precision],
               "roof_share": round(shares[len(shares) // 2], 3),
               "best_peer": best, **(_rounds.ratio(found, precision, best) if best else {}),
               "peers": {name: rates[name] for name in peers}, "peers_cosine": {name: cosine[name] for name in peers},
               "ratios": {name: _rounds.ratio(found, precision, name) for name in peers}, "rounds": len(found),
               "threads": options.threads, "cpu": common.machine()["cpu"], "isa": options.isa}


def row(f):
    others = ", ".join(f"{name} {rate:g}" for name, rate in f["peers"].items())
    return [f["work"], f["precision"], f"{f['ours']:g}", others, f.get("best_peer") or "",
            f"{f['ratio']:.2f}" if "ratio" in f else "", f"{f['least']:.2f} to {f['most']:.2f}" if "ratio" in f else "",
            f"{100 * f['roof_share']:.0f} %", f"{f['cosine']['least']:.6f}"]


def show(lines, options):
    print(f"{common.machine_line()}; {options.threads} threads; {options.isa}; {options.pairs} rounds; "
          f"texts cut at {options.max_tokens} tokens")
    least = {name: c["least"] for line in lines for name, c in line["peers_cosine"].items()}
    print("least cosine of the peers: " + ", ".join(f"{name} {c:.6f}" for name, c in least.items()) + "\n")
    print(common.table(["work", "precision", "texts/s", "peers", "best f32 peer", "ratio", "range of the rounds",
                        "of the f32 roof", "least cosine"], [row(line) for line in lines]))


def listed(text, known, what):
    names = text.split(",")
    for name in names:
        if name not in known:
            common.die(f"'{name}' is no {what}: choose from {','.join(known)}")
    return names


def parse():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--work", default=None, help=f"default: {','.join(_rounds.NAMES)}")
    parser.add_argument("--peers", default="onnxruntime,ctranslate2,openvino", help="and -int8 of the first two")
    parser.add_argument("--precision", default="f32,bf16,int8", help=f"ours: of {','.join(PATHS)}")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=5, help="rounds, at least 5")
    parser.add_argument("--quick", action="store_true", help=f"3 rounds, {','.join(QUICK)} where --work names no other")
    options = parser.parse_args()
    options.isa = common.isa()
    chosen = options.work or ",".join(QUICK if options.quick else _rounds.NAMES)
    options.work = listed(chosen, _rounds.NAMES, "work")
    options.peers = listed(options.peers, _peers.ENGINES, "peer")
    options.precision = listed(options.precision, PATHS, "precision")
    if options.quick:
        options.pairs = 3
    elif options.pairs < 5:
        common.die(f"--pairs {options.pairs}: at least 5, or --quick for 3")
    options.folder = common.CACHE / "models" / MODEL
    if not (options.folder / "config.json").exists():
        common.die(f"{MODEL} is not here: run ./dev model {MODEL}")
    return options


def main():
    options = parse()
    load = os.getloadavg()[0]  # before this bench adds its own
    if load > 0.5:
        common.say(f"encoders: other programs are running (load {load:.1f}): ratios of this run mean little")
    config = sizes(options.folder)
    ours = {p: _peers.OurTexts(options.folder, options.threads, options.max_tokens, PATHS[p]) for p in options.precision}
    peers = {e: _peers.Peer(e, options.folder, options.threads, options.max_tokens) for e in options.peers}
    text = " ".join(_rounds.docstrings(2 * _rounds.MIXED))
    cut = lambda tokens, n: one(peers).ask(work="cut", text=text, tokens=tokens, count=n)["texts"]
    lines = []
    for name in options.work:
        common.say(f"encoders: {name}")
        for line in figures(_rounds.make(name, cut), ours, peers, options, config):
            line["load_before"] = round(load, 2)
            lines.append(line)
            if options.json:
                print(json.dumps(line), flush=True)
    for side in (*ours.values(), *peers.values()):
        side.close()
    if not options.json:
        show(lines, options)


if __name__ == "__main__":
    main()
