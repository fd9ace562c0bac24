"""Prints what `fathom generate --json` measured under several policies as one table: compare_policies.py INFO RUN...

The first run is full depth; runs of one policy are gathered, and the median of their speeds counts. INFO is what
`fathom info --json` says of the model. Called by demo.sh; the fields are those of docs/schema.
"""

import json
import statistics
import sys

CHECKING = ("exit_when", "patience")  # stages that run the LM head to decide
DRAFTING = "kv(verify"  # what stands to its left changes no token


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def same_until(tokens, reference):
    """Number of leading tokens equal to those of full depth."""
    pairs = enumerate(zip(tokens, reference))
    return next((i for i, (a, b) in pairs if a != b), min(len(tokens), len(reference)))


class Weights:
    """Bytes of weights that a token reads: the layers it runs, keys and values of the rest, one head."""

    def __init__(self, info):
        sizes = {tensor["name"]: tensor["bytes"] for tensor in info["tensors"]}
        self.head = sizes.get("output.weight", sizes.get("token_embd.weight"))
        self.layers, self.fills = [0] * info["n_layers"], [0] * info["n_layers"]
        for name, size in sizes.items():
            if name.startswith("blk."):
                layer = int(name.split(".")[1])
                self.layers[layer] += size
                self.fills[layer] += size if any(part in name for part in (".attn_k", ".attn_v", ".attn_norm")) else 0

    def read(self, depth):
        layers = round(depth)
        return sum(self.layers[:layers]) + sum(self.fills[layers:]) + self.head

    def limit(self, depths):
        """The most speed over full depth that these depths can give while reading weights takes the time."""
        return self.read(len(self.layers)) * len(depths) / sum(map(self.read, depths))


def tokens_per_pass(run):
    """Of decoded tokens: the first one is predicted by the prompt's pass."""
    return (len(run["tokens"]) - 1) / run["passes"] if run["passes"] else 1.0


def closing(runs, speed, full, weights):
    """What the table does not say by itself, one sentence each."""
    share = weights.head / weights.read(full["n_layers"])
    yield (
        "by bytes: what these depths can give, from the bytes of weights that a token reads, without checks. The LM head is"
        f"\n{share:.0%} of them in this model, and no exit saves it. A speed above that is the spread of this machine's speed."
    )
    exits = {policy: run for policy, run in runs.items() if run is not full and DRAFTING not in policy}
    changed = [run for run in exits.values() if run["tokens"] != full["tokens"]]
    if changed:
        yield (
            f"{len(changed)} of {len(exits)} exits changed the text. This is a stock model without calibration: its"
            " layers were never\ntaught to answer early, and what an early exit saves, it pays for in words. Shown as it is."
        )
    for policy, run in runs.items():
        if DRAFTING in policy:
            yield of_drafts(policy, run, speed, full)
        elif any(stage in policy for stage in CHECKING) and run["work"] > 1:
            yield (
                f"{policy} did {run['work']:.1f} times the work of full depth:\neach check of an exit runs the LM head,"
                " and in this model that costs more than the layers saved."
            )
        elif run["work"] < 1 and speed[policy] < speed[full["policy"]]:
            yield (
                f"{policy} did {run['work']:.2f} of the work of full depth and took longer all the same:\n"
                "what it saves here is less than the spread of this machine's speed."
            )


def of_drafts(policy, run, speed, full):
    """What guesses cost and save."""
    slower = speed[policy] < speed[full["policy"]]
    return (
        f"{policy}: full depth confirmed {len(run['tokens']) - 1} tokens in {run['passes']} passes,"
        f" {run['accepted']} of {run['proposed']} guesses\nwere right. Tokens of one pass share the head, and copied ones the"
        " layers too. A wrong guess costs its row and changes no token."
        + ("\nHere guesses cost more than they saved, or less than the spread of this machine's speed." if slower else "")
    )


def main(info, paths):
    runs, speeds, passes = {}, {}, {}
    for run in map(load, paths):
        runs.setdefault(run["policy"], run)
        speeds.setdefault(run["policy"], []).append(run["tokens_per_second"])
        passes.setdefault(run["policy"], []).append(tokens_per_pass(run))
    speed = {policy: statistics.median(values) for policy, values in speeds.items()}
    full, weights = next(iter(runs.values())), Weights(load(info))

    width = max(map(len, runs))
    print(f"\n{'policy':<{width}}  tokens/s  speed  by bytes  tokens/pass  mean depth  work  same tokens as full depth")
    for policy, run in runs.items():
        if run is full:
            alike = "(the reference)"
        elif run["tokens"] == full["tokens"]:
            alike = "all"
        else:
            alike = f"the first {same_until(run['tokens'], full['tokens'])} of {len(full['tokens'])}"
        by_bytes = "-" if DRAFTING in policy else f"{weights.limit(run['depths']):.2f}x"
        print(
            f"{policy:<{width}}  {speed[policy]:8.1f}  {speed[policy] / speed[full['policy']]:4.2f}x  {by_bytes:>8}"
            f"  {statistics.median(passes[policy]):11.2f}  {run['mean_depth']:4.1f} of {run['n_layers']:<2}  {run['work']:5.2f}  {alike}"
        )
    for sentence in closing(runs, speed, full, weights):
        print(f"\n{sentence}")


main(sys.argv[1], sys.argv[2:])
