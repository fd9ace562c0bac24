"""What writing a trace costs in decode: generate with and without --trace, in interleaved pairs.

    ./dev bench trace [--model NAME...] [--pairs 15] [--json]

The limit is 2 %. Single runs differ by more than that on a shared machine: the median of the pairs has their noise, the
fastest run of each side has the least of it.
Next: memory.py.
"""

import json

import _common as common

POLICIES = ("full_depth", "exit_when(confidence_at_least=0.9)")
LIMIT_PERCENT = 2.0


def cost(model, policy, options, scratch):
    """What the trace adds to the time of decode, in percent: by the fastest runs, and the quartiles of the pairs."""
    scratch.write_text((common.TEXTS / "prose.txt").read_text()[:96])

    def rate(*trace):
        return common.fathom("generate", "-m", model, "-f", scratch, "-n", options.tokens, "--temperature", 0,
                             "--policy", policy, "--threads", options.threads, *trace)["tokens_per_second"]

    file = scratch.with_suffix(".trace")
    rate(), rate("--trace", file)
    costs, fastest = [], [0.0, 0.0]
    for i in range(options.pairs):
        if i % 2 == 0:
            plain, traced = rate(), rate("--trace", file)
        else:
            traced, plain = rate("--trace", file), rate()
        costs.append(100 * (plain / traced - 1))
        fastest = [max(fastest[0], plain), max(fastest[1], traced)]
    costs.sort()
    return {"cost_percent_fastest": round(100 * (fastest[0] / fastest[1] - 1), 2),
            "cost_percent": round(costs[len(costs) // 2], 2), "lower_quartile": round(costs[len(costs) // 4], 2),
            "upper_quartile": round(costs[(3 * len(costs)) // 4], 2), "trace_bytes": file.stat().st_size}


def main():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    lines = []
    with common.scratch_file() as scratch:
        for name in common.chosen_models(options.model):
            for policy in POLICIES:
                line = {"model": name, "policy": policy, **cost(common.model_path(name), policy, options, scratch),
                        "pairs": options.pairs, "tokens": options.tokens, "limit_percent": LIMIT_PERCENT}
                lines.append(line)
                if options.json:
                    print(json.dumps(line), flush=True)
    if not options.json:
        print(f"{common.machine_line()}; {options.threads} threads; {options.pairs} pairs of {options.tokens} tokens\n")
        print(common.table(["model", "policy", "cost, fastest runs", "median", "middle half of the pairs", "bytes a token"],
                           [[f["model"], f["policy"],
                             f"{f['cost_percent_fastest']:+.2f} %", f"{f['cost_percent']:+.2f} %",
                             f"{f['lower_quartile']:+.2f} to {f['upper_quartile']:+.2f} %",
                             f["trace_bytes"] // f["tokens"]] for f in lines]))


if __name__ == "__main__":
    main()
