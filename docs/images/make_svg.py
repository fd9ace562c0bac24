#!/usr/bin/env python3
"""Makes docs/images/demo.svg: runs `fathom generate` in a terminal of its own and draws what it printed, colours kept.

    docs/images/make_svg.py            needs build/release/fathom and gemma3-270m (./dev demo makes both)
"""

import html
import os
import pathlib
import pty
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS, MARGIN = 106, 16
CELL_W, CELL_H, FONT_SIZE = 8.4, 19, 14
BACKGROUND, FOREGROUND, PROMPT = "#16181d", "#d8dbe2", "#7f8796"
BASIC = "#1c1f26 #e06c75 #98c379 #e5c07b #61afef #c678dd #56b6c2 #d8dbe2".split()
BRIGHT = "#5c6370 #ff7b86 #b1e58f #ffd58a #7cc0ff #dc8cf0 #6fd3df #ffffff".split()

PROMPT_TEXT = "The lighthouse keeper had not seen a ship for eleven days. On the twelfth morning,"
WAYS = [
    ("--policy", "full_depth"),
    ("--quality", "lossless"),
    ("--policy", "exit_at(layer=13)"),
    ("--policy", "exit_when(confidence_at_least=0.9,from_layer=9,every=3)"),
]
COMMANDS = [["build/release/fathom", "generate", "-m", "gemma3-270m", "-n", "48", "-p", PROMPT_TEXT, *way] for way in WAYS]


def palette(n):
    """The colour of xterm's palette entry n."""
    if n < 8:
        return BASIC[n]
    if n < 16:
        return BRIGHT[n - 8]
    if n < 232:
        steps = (0, 95, 135, 175, 215, 255)
        n -= 16
        return "#%02x%02x%02x" % (steps[n // 36], steps[n // 6 % 6], steps[n % 6])
    return "#%02x%02x%02x" % ((8 + 10 * (n - 232),) * 3)


class Style:
    """What SGR sequences have set: foreground, background, weight, underline."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.fg, self.bg = None, None
        self.bold = self.dim = self.swap = self.underline = False

    def apply(self, codes):
        codes = [int(c or 0) for c in codes.split(";")]
        while codes:
            c = codes.pop(0)
            if c == 0:
                self.reset()
            elif c in (1, 2, 7):
                self.bold, self.dim, self.swap = self.bold or c == 1, self.dim or c == 2, self.swap or c == 7
            elif c in (4, 24):
                self.underline = c == 4
            elif c == 22:
                self.bold = self.dim = False
            elif c == 27:
                self.swap = False
            elif c in (38, 48):
                kind = codes.pop(0)
                colour = palette(codes.pop(0)) if kind == 5 else "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))
                self.fg, self.bg = (colour, self.bg) if c == 38 else (self.fg, colour)
            elif c in (39, 49):
                self.fg, self.bg = (None, self.bg) if c == 39 else (self.fg, None)
            elif c // 10 in (3, 9) or c // 10 in (4, 10):
                colour = (BASIC if c < 50 else BRIGHT)[c % 10]
                self.fg, self.bg = (colour, self.bg) if c // 10 in (3, 9) else (self.fg, colour)

    def key(self):
        fg, bg = self.fg or FOREGROUND, self.bg
        if self.swap:
            fg, bg = bg or BACKGROUND, fg
        return fg, bg, self.bold, self.dim, self.underline


def run(command):
    """What a command prints on a terminal of COLUMNS columns."""
    controller, terminal = pty.openpty()
    env = dict(os.environ, TERM="xterm-256color", COLORTERM="truecolor", COLUMNS=str(COLUMNS))
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=env, cwd=ROOT)
    os.close(terminal)
    out = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        out += piece
    if process.wait() != 0:
        sys.exit(f"make_svg.py: {' '.join(command)}: exit code {process.returncode}\n{out.decode(errors='replace')}")
    return out.decode("utf-8", "replace")


def cells(text):
    """Rows of (character, style key), wrapped at COLUMNS as a terminal does."""
    rows, style = [[]], Style()
    for sgr, other, char in re.findall(r"\x1b\[([\d;]*)m|(\x1b\[[\d;?]*[A-Za-z])|([\s\S])", text):
        if char == "\n":
            rows.append([])
        elif char == "\r":
            pass
        elif char:
            if len(rows[-1]) == COLUMNS:
                rows.append([])
            rows[-1].append((char, style.key()))
        elif not other:
            style.apply(sgr)
    while rows and not rows[-1]:
        rows.pop()
    return rows


def shell_line(command):
    """The command as a reader would type it, in the colour of a prompt."""
    shown = " ".join(f"'{a}'" if re.search(r"[^\w./=-]", a) else a for a in command)
    return f"\x1b[38;2;127;135;150m$ {shown}\x1b[0m\n"


def svg(rows):
    width, height = COLUMNS * CELL_W + 2 * MARGIN, len(rows) * CELL_H + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
        f' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="{FONT_SIZE}">',
        "<title>Tokens of fathom generate, shaded by their depth</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            end = x
            while end < len(row) and row[end][1] == row[x][1]:
                end += 1
            fg, bg, bold, dim, underline = row[x][1]
            left, top, span = MARGIN + x * CELL_W, MARGIN + y * CELL_H, (end - x) * CELL_W
            if bg:
                out.append(f'<rect x="{left:.1f}" y="{top}" width="{span:.1f}" height="{CELL_H}" fill="{bg}"/>')
            text = "".join(c for c, _ in row[x:end])
            if text.strip():
                look = (' font-weight="bold"' if bold else "") + (' opacity="0.6"' if dim else "")
                look += ' text-decoration="underline"' if underline else ""
                out.append(
                    f'<text x="{left:.1f}" y="{top + 14}" fill="{fg}" textLength="{span:.1f}" xml:space="preserve"{look}>'
                    f"{html.escape(text)}</text>"
                )
            x = end
    return "\n".join(out + ["</svg>", ""])


def main():
    text = "\n".join(shell_line(command) + run(command).rstrip() + "\n" for command in COMMANDS)
    (ROOT / "docs/images/demo.svg").write_text(svg(cells(text)), encoding="utf-8")


if __name__ == "__main__":
    main()
