"""What lossless decoding gains over full depth, in one process, turn by turn, and that it changes no token.

    ./dev bench lossless [--model NAME...] [--kind natural editing mixed batch] [--policy TEXT] [--quick] [--isa avx2]
                         [--numerics NAME] [--threads 2] [--width 0.01] [--rounds 12] [--peer] [--json]

natural   128 tokens after each of several pieces of 100 tokens of four texts, greedy, and sampled at temperature 0.8
editing   256 tokens of answers to messages that ask for edits and copies (prompts/*.txt) in the model's chat template; a
          model without one continues the texts of the `continue` kind
mixed     64 tokens of each of 50 prompts of both; `worst` is the lowest ratio: the five lowest prompts are run again
          until its interval is narrow
batch     4 and 8 different natural prompts side by side against one of them alone, at full depth, on the fast path: ratio
          of tokens a second; prompts whose text ends early are replaced

The first side is full depth (in batch: one text alone), the second the policy. They write the same text in slices of 8
tokens in the order A B B A; where guesses held, the policy writes more, and full depth then catches up: both times are of
the same tokens. Prefill and the first token are not timed. ratio is a ratio of speeds, with its 95 % interval: of the
machine's noise on these prompts (rounds of a prompt are the units), for a single prompt and for batches of slices.
Rounds end when every interval is narrower than --width of its ratio, or with --rounds. least and most are over prompts.
Bytes are of matrices in the file that passes read for a token: layers (all of them, also where savings skip some), whole
head, shortlist (4,096 rows of the head); the roof is the memory's, measured between rounds. Exits with 1 when a token
differs from full depth's.
--peer writes the greedy prompts through llama.cpp as well (../peers/_llama.py builds it), once plainly and once with its
prompt lookup of 10 tokens, which may change its text: over_llama_cpp is our rate over the better of its two.
--quick takes one piece of each text, few edits and two rounds: about a minute a model. Next: ../report.py.
"""

import json
import os
import re
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BENCH), str(BENCH / "peers")]

import _common as common
import _prompts
from _llama import Llama
from _pairs import CONTEXT, HOT, Figure, Pairs, Weights, significant
from _works import Models, asked

KINDS = ("natural", "editing", "mixed", "batch")
LOSSLESS = "draft_ngram | defer_head | kv(verify, max_rows=16)"  # what --quality lossless stands for
DEFER = "defer_head | kv(verify, max_rows=16)"
LOOKUP = 10  # tokens that llama.cpp's prompt lookup guesses, its default
LOWEST = 5  # prompts of `mixed` that are run until the worst is certain


class Bench:
    """One model: its processes, one for each numeric path, and how much is asked of it."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.model = Models(name)
        self.weights = Weights(self.model)
        self.tokens = self.differing = 0  # compared so far
        self._pairs = {}
        self._peer = None

    def pairs(self, numerics=None):
        numerics = self.options.numerics or numerics
        if numerics not in self._pairs:
            self.close()  # one model at a time is in memory
            self._pairs[numerics] = Pairs(self.model, self.options, numerics)
        return self._pairs[numerics]

    def peer(self):
        if self._peer is None:
            self._peer = Llama(self.model.path, self.options.threads, self.options.isa, CONTEXT, self.model.text[0])
        return self._peer

    def close(self):
        for side in (*self._pairs.values(), *filter(None, [self._peer])):
            side.close()
        self._pairs.clear()
        self._peer = None

    def compared(self, answer, what):
        self.tokens += answer["tokens"]
        self.differing += answer["differing"]
        if answer["differing"]:
            common.say(f"lossless: {self.name} {what}: {answer['differing']} of {answer['tokens']} TOKENS DIFFER")

    def roof(self):
        return common.roofs(self.options.threads, self.options.isa)[0]

    def line(self, pairs, figure, roofs, hot, **what):
        return {"model": self.name, **what, **figure.line(self.weights, sum(roofs) / len(roofs), hot),
                "numerics": pairs.numerics, "threads": self.options.threads, "cpu": common.machine()["cpu"],
                "isa": self.options.isa}


def hot_tokens(policy):
    """The length of the shortlist that a policy asks for."""
    named = re.search(r"defer_head\([^)]*hot\s*=\s*(\d+)", policy)
    return int(named[1]) if named else HOT


class Written:
    """Prompts written under a policy and at full depth, round after round."""

    def __init__(self, bench, prompts, policy, n):
        self.bench, self.prompts, self.policy, self.n = bench, prompts, policy, n
        self.pairs = bench.pairs()
        self.runs = {prompt: [] for prompt in prompts}
        self.roofs = [bench.roof()]

    def round(self, prompts):
        for prompt in prompts:
            answer = self.pairs.ask(work="pair", prompt=prompt.ids, n=self.n, policy=self.policy,
                                    temperature=prompt.temperature, seed=prompt.seed)
            self.bench.compared(answer, f"{prompt.name} under {self.policy}")
            if self.bench.options.peer and not prompt.temperature:
                answer["peer"] = [asked(self.bench.peer(), {"work": "write", "prompt": prompt.ids, "n": self.n,
                                                            "guesses": guesses}) for guesses in (0, LOOKUP)]
            self.runs[prompt].append(answer)
        self.roofs.append(self.bench.roof())

    def figures(self):
        """By text, and of all."""
        texts = dict.fromkeys(prompt.text for prompt in self.prompts)
        groups = {text: [self.runs[p] for p in self.prompts if p.text == text] for text in texts}
        if len(texts) > 1:
            groups["all"] = list(self.runs.values())
        figures = {text: Figure(runs) for text, runs in groups.items()}
        return {text: figure for text, figure in figures.items() if figure.runs}

    def until_certain(self, width_of):
        """Rounds of all until width_of() is small enough."""
        options = self.bench.options
        for i in range(options.rounds):
            self.round(self.prompts)
            if i > 0 and width_of() <= options.width:
                return

    def lines(self, figures, **what):
        for text, figure in figures.items():
            yield self.bench.line(self.pairs, figure, self.roofs, hot_tokens(self.policy), **what, text=text,
                                  policy=self.policy, against="full_depth") | beside_llama_cpp(figure)


def beside_llama_cpp(figure):
    """llama.cpp's rates on the figure's prompts, and ours over the better; nothing where it was not asked for all."""
    if not all("peer" in answer for answer in figure.answers):
        return {}
    plain, lookup = (sum(a["peer"][i]["tokens"] for a in figure.answers)
                     / sum(a["peer"][i]["seconds"] for a in figure.answers) for i in (0, 1))
    _, _, tokens, seconds = figure.sums()
    return {"llama_cpp_tokens_per_s": significant(plain), "llama_cpp_lookup_tokens_per_s": significant(lookup),
            "over_llama_cpp": round(tokens / seconds / max(plain, lookup), 3)}


def written_lines(bench, kind, prompts, policy, n):
    if not prompts:
        return
    written = Written(bench, prompts, policy, n)
    written.until_certain(lambda: max(figure.width() for figure in written.figures().values()))
    yield from written.lines(written.figures(), kind=kind, temperature=prompts[0].temperature)


def natural(bench):
    quick, given = bench.options.quick, bench.options.policy
    n, places = (48, 1) if quick else (128, 2)
    policies = [given] if given else [LOSSLESS] if quick else [LOSSLESS, DEFER]
    for policy in policies:
        for temperature in (0.0, _prompts.TEMPERATURE):
            prompts = _prompts.natural(bench.pairs(), places, temperature)
            yield from written_lines(bench, "natural", prompts, policy, n)


def editing(bench):
    prompts, n = _prompts.editing(bench.pairs()), 256
    if bench.options.quick:
        prompts, n = list({prompt.text: prompt for prompt in prompts}.values()), 96
    yield from written_lines(bench, "editing", prompts, bench.options.policy or LOSSLESS, n)


def mixed(bench):
    quick = bench.options.quick
    n_prompts, n = (6, 32) if quick else (50, 64)
    written = Written(bench, _prompts.mixed(bench.pairs(), n_prompts), bench.options.policy or LOSSLESS, n)
    for _ in range(2):
        written.round(written.prompts)
    alone = lambda prompt: Figure([written.runs[prompt]])
    timed = [prompt for prompt in written.prompts if alone(prompt).runs]
    value = lambda prompt: alone(prompt).ratio()[0]
    for _ in range(0 if quick else bench.options.rounds):
        lowest = sorted(timed, key=value)[:LOWEST]
        if alone(lowest[0]).width() <= bench.options.width:
            break
        written.round(lowest)
    worst = min(timed, key=value)
    figures = {"all": Figure([answers[:2] for answers in written.runs.values()]), f"worst: {worst.name}": alone(worst)}
    yield from written.lines(figures, kind="mixed", temperature=None)


def batch(bench):
    options, pairs = bench.options, bench.pairs("fast")
    policy = options.policy or "full_depth"
    request = {"policy": policy, "n": 48 if options.quick else 128}
    for size in (4,) if options.quick else (4, 8):
        prompts, answers, roofs = _prompts.batch(pairs, size, **request), [], [bench.roof()]
        for i in range(options.rounds):
            answers.append(pairs.ask(work="batch", prompts=prompts, alone=i % size, **request))
            roofs.append(bench.roof())
            bench.compared(answers[-1], f"beside {size - 1} texts under {policy}")
            if i > 0 and Figure([answers]).width() <= options.width:
                break
        yield bench.line(pairs, Figure([answers]), roofs, hot_tokens(policy), kind="batch", text=f"{size} texts",
                         policy=policy, against="one text", temperature=0.0)


WORKS = {"natural": natural, "editing": editing, "mixed": mixed, "batch": batch}


def interval(f):
    return "?" if f["low"] is None else f"{f['low']:.3f} to {f['high']:.3f}"


def row(f):
    heat = "mixed" if f["temperature"] is None else f"T = {f['temperature']:g}" if f["temperature"] else "greedy"
    acceptance = "" if f["acceptance"] is None else f"{f['acceptance']:.2f} of {f['proposed']}"
    return [f["kind"], f["text"], heat, f"{f['ratio']:.3f}", interval(f), f"{f['least']:.2f} to {f['most']:.2f}",
            f"{f['tokens_per_s']:g} ({f['base_tokens_per_s']:g})", f"{f['tokens_per_pass']:.2f}", acceptance,
            f"{f['bytes_per_token'] / 1e6:.0f} ({f['base_bytes_per_token'] / 1e6:.0f})",
            f"{100 * f['roof_share']:.0f} % ({100 * f['base_roof_share']:.0f} %)", f["differing"],
            f"{f['over_llama_cpp']:.2f}" if "over_llama_cpp" in f else ""]


HEADER = ["kind", "text", "tokens are", "ratio", "95 % interval", "prompts", "tokens/s (first side)",
          "tokens a pass", "acceptance", "MB a token", "of the roof", "differing", "over llama.cpp"]


def show(lines, options):
    print(f"{common.machine_line()}; {options.threads} threads; {options.isa}")
    roofs = [f["roof_gb_per_s"] for f in lines]
    print(f"the memory's roof meanwhile: {min(roofs):g} to {max(roofs):g} GB/s")
    for title in dict.fromkeys((f["model"], f["policy"], f["numerics"]) for f in lines):
        print(f"\n{title[0]}, `{title[1]}`, {title[2]}:\n")
        columns = len(HEADER) if options.peer else len(HEADER) - 1
        rows = [row(f)[:columns] for f in lines if (f["model"], f["policy"], f["numerics"]) == title]
        print(common.table(HEADER[:columns], rows))


def parse():
    parser = common.arguments(__doc__.split("\n")[0])
    parser.add_argument("--kind", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--policy", default=None, metavar="TEXT", help="in place of each kind's own")
    parser.add_argument("--numerics", default=None, choices=("fast", "faithful"), help="default: ours; batch: fast")
    parser.add_argument("--isa", default=None, help="avx2 forces our AVX2 kernels")
    parser.add_argument("--width", type=float, default=0.01, help="of an interval, as a share of its ratio")
    parser.add_argument("--rounds", type=int, default=12, help="at most, and at least 2")
    parser.add_argument("--peer", action="store_true", help="llama.cpp as well, with and without its prompt lookup")
    parser.add_argument("--quick", action="store_true", help="few prompts, 2 rounds: about a minute a model")
    options = parser.parse_args()
    options.isa = common.chosen_isa(options.isa)
    if options.rounds < 2:
        common.die(f"--rounds {options.rounds}: at least 2")
    if options.quick:
        options.rounds = 2
    return options


def main():
    options = parse()
    load = os.getloadavg()[0]  # before this bench adds its own
    if load > 0.5:
        common.say(f"lossless: other programs are running (load {load:.1f}): ratios of this run mean little")
    lines, total = [], {"kind": "total", "tokens": 0, "differing": 0}
    for name in common.chosen_models(options.model):
        bench = Bench(name, options)
        for kind in options.kind:
            common.say(f"lossless: {name} {kind}")
            for line in WORKS[kind](bench):
                lines.append(line | {"load_before": round(load, 2)})
                if options.json:
                    print(json.dumps(lines[-1]), flush=True)
        bench.close()
        total["tokens"] += bench.tokens
        total["differing"] += bench.differing
    if options.json:
        print(json.dumps(total), flush=True)
    else:
        show(lines, options)
        print(f"\n{total['differing']} of {total['tokens']} tokens differ from full depth's")
    if total["differing"]:
        common.say(f"lossless: {total['differing']} TOKENS DIFFER: this is a bug, and no figure above counts")
    sys.exit(1 if total["differing"] else 0)


if __name__ == "__main__":
    main()
