"""The prompts: pieces of natural text, and messages that ask for edits. Next: _pairs.py, what runs them.

A file of prompts/ is an instruction, a line `---` and a text. Models without a chat template get the texts of the
`continue` kind alone, which need no instruction.
"""

import dataclasses
from pathlib import Path

import _common as common

FOLDER = Path(__file__).resolve().parent / "prompts"
TEXTS = ("prose", "docs", "code", "languages")
PIECE = 100  # tokens of a natural prompt
TEMPERATURE = 0.8


@dataclasses.dataclass(frozen=True)
class Prompt:
    text: str  # the group under which it is reported
    name: str
    ids: tuple
    temperature: float = 0.0
    seed: int = 0


def pieces(pairs, text, n):
    """n pieces of a text, at even distances from its beginning to its end."""
    ids = pairs.encode((common.TEXTS / f"{text}.txt").read_text(), bos=False)
    step = (len(ids) - PIECE) // max(n - 1, 1)
    return [pairs.begin + ids[i * step:i * step + PIECE] for i in range(n)]


def natural(pairs, n, temperature=0.0):
    """n pieces of each text."""
    return [Prompt(text, f"{text}-{i}", tuple(ids), temperature, seed=i)
            for text in TEXTS for i, ids in enumerate(pieces(pairs, text, n))]


def editing(pairs):
    found = []
    for file in sorted(FOLDER.glob("*.txt")):
        kind = file.stem.split("-")[0]
        instruction, text = file.read_text().split("\n---\n", 1)
        if pairs.has_chat:
            ids = pairs.encode(f"{instruction}\n\n{text}", chat=True)
        elif kind == "continue":
            ids = pairs.encode(text)
        else:
            continue
        found.append(Prompt(kind, file.stem, tuple(ids)))
    return found


def mixed(pairs, n):
    """n prompts: edits, then pieces of the four texts in turn, every third of them sampled."""
    prompts = editing(pairs)[:n // 3]
    each = -(-(n - len(prompts)) // len(TEXTS))
    by_text = [pieces(pairs, text, each) for text in TEXTS]
    for i in range(n - len(prompts)):
        text = TEXTS[i % len(TEXTS)]
        sampled = i % 3 == 2
        prompts.append(Prompt(text, f"{text}-{i // len(TEXTS)}{' sampled' if sampled else ''}",
                              tuple(by_text[i % len(TEXTS)][i // len(TEXTS)]), TEMPERATURE if sampled else 0.0, seed=i))
    return prompts


def batch(pairs, size, **request):
    """Different natural prompts for a batch, of which none ends its text early: what does is replaced."""
    spare = [prompt.ids for prompt in natural(pairs, 6)]
    chosen, spare = spare[::3][:size], spare[1::3] + spare[2::3]
    while ended := pairs.ask(work="batch", prompts=chosen, alone=0, **request)["ended"]:
        for i in ended:
            if not spare:
                common.die(f"batch: too many texts end within {request['n']} tokens")
            chosen[i] = spare.pop()
    return chosen
