"""Prints what `fathom generate --json` measured under several policies as one table; the first run is full depth.
Called by cmake/dev/demo.sh; the fields are those of docs/json.md."""

import json
import sys


def same_until(tokens, reference):
    """Number of leading tokens equal to those of full depth."""
    for i, (a, b) in enumerate(zip(tokens, reference)):
        if a != b:
            return i
    return min(len(tokens), len(reference))


def main(paths):
    runs = [json.load(open(path, encoding="utf-8")) for path in paths]
    full = runs[0]
    width = max(len(run["policy"]) for run in runs)
    print(f"\n{'policy':<{width}}  tokens/s  speed  mean depth  work  same tokens as full depth")
    for run in runs:
        same = same_until(run["tokens"], full["tokens"])
        n = len(full["tokens"])
        alike = "(the reference)" if run is full else "all" if run["tokens"] == full["tokens"] else f"the first {same} of {n}"
        speed = run["tokens_per_second"] / full["tokens_per_second"]
        print(
            f"{run['policy']:<{width}}  {run['tokens_per_second']:8.1f}  {speed:4.2f}x"
            f"  {run['mean_depth']:4.1f} of {run['n_layers']:<2}  {run['work']:5.2f}  {alike}"
        )
    changed = [run for run in runs if run["tokens"] != full["tokens"]]
    if changed:
        print(
            f"\n{len(changed)} of {len(runs) - 1} exits changed the text. This is a stock model without calibration: its layers\n"
            "were never taught to answer early, so what an early exit saves it pays for in words. Shown as it is."
        )
    slower = [run for run in runs if run["tokens_per_second"] < full["tokens_per_second"]]
    for run in slower:
        print(f"{run['policy']} ran slower than full depth: its exit checks, an LM head each, cost more than the layers saved.")


main(sys.argv[1:])
