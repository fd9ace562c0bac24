"""Prints what `fathom generate --json` measured under several policies as one table. The first run is full depth; runs of
one policy are gathered, and the median of their speeds counts. Called by demo.sh; the fields are those of docs/json.md."""

import json
import statistics
import sys


def same_until(tokens, reference):
    """Number of leading tokens equal to those of full depth."""
    pairs = enumerate(zip(tokens, reference))
    return next((i for i, (a, b) in pairs if a != b), min(len(tokens), len(reference)))


def main(paths):
    runs, speeds = {}, {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
        runs.setdefault(run["policy"], run)
        speeds.setdefault(run["policy"], []).append(run["tokens_per_second"])
    speed = {policy: statistics.median(values) for policy, values in speeds.items()}
    full = next(iter(runs.values()))

    width = max(map(len, runs))
    print(f"\n{'policy':<{width}}  tokens/s  speed  mean depth  work  same tokens as full depth")
    for policy, run in runs.items():
        if run is full:
            alike = "(the reference)"
        elif run["tokens"] == full["tokens"]:
            alike = "all"
        else:
            alike = f"the first {same_until(run['tokens'], full['tokens'])} of {len(full['tokens'])}"
        print(
            f"{policy:<{width}}  {speed[policy]:8.1f}  {speed[policy] / speed[full['policy']]:4.2f}x"
            f"  {run['mean_depth']:4.1f} of {run['n_layers']:<2}  {run['work']:5.2f}  {alike}"
        )

    print()
    changed = [run for run in runs.values() if run["tokens"] != full["tokens"]]
    if changed:
        print(
            f"{len(changed)} of {len(runs) - 1} exits changed the text. This is a stock model without calibration: its layers were"
            " never\ntaught to answer early, and what an early exit saves, it pays for in words. Shown as it is."
        )
    for policy, run in runs.items():
        if run["work"] > 1:
            print(
                f"{policy} did {run['work']:.1f} times the work of full depth:\neach check of an exit runs the LM head,"
                " and in this model that costs more than the layers saved."
            )


main(sys.argv[1:])
