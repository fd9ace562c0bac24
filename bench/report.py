"""Runs benches and puts what they print into docs/performance.md, each under its command, with the date.

    ./dev bench report [--only NAME...]

A block of the page begins with a line `<!-- bench: memory -->`, or with options after the name, and ends with
`<!-- end -->`; what stands between is replaced, the prose around it is written by people. A block that says for which
machines it is, `<!-- bench: peers --isa avx2 @ zen4 -->`, is replaced on those only: so one page has the same bench of
several machine types (_common.machine_type) and, through --isa, several instruction sets. Next: memory.py.
"""

import argparse
import datetime
import re
import subprocess
import sys

import _common as common

PAGE = common.ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- bench: (\w+)([^\n@]*?)(?: @ (\w+))? -->\n).*?(<!-- end -->)", re.S)
SCRIPTS = {
    "memory": "memory.py",
    "trace": "trace.py",
    "peers": "peers/throughput.py",
    "lossless": "lossless/speed.py",
    "roofline": "roofline.py",
    "quality": "quality/agreement.py",
    "encoders": "encoders/throughput.py",
    "classify": "classify/exits.py",
}


def run(name, options):
    """What a bench prints. 1 is the exit code of a bench that missed a target: its figures stand all the same."""
    common.say(f"report: {name} {' '.join(options)}")
    script = common.ROOT / "bench" / SCRIPTS[name]
    done = subprocess.run([sys.executable, script, *options], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout.strip():
        common.die(f"{script} exits with {done.returncode}: its message stands above; what came before it stands in {PAGE.name}")
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(SCRIPTS), choices=SCRIPTS, metavar="NAME")
    wanted = parser.parse_args().only

    def fresh(block):
        begin, name, options, machine, end = block.groups()
        if name not in wanted:
            return block.group(0)
        if machine not in (None, common.machine_type()):
            common.say(f"report: {name}{options} is for {machine}, and this is {common.machine_type()}: left as it was")
            return block.group(0)
        command = f"    ./dev bench {name}{options}"
        date = datetime.date.today().isoformat()
        return f"{begin}{command}    # {date}\n\n{run(name, options.split())}\n{end}"

    if not BLOCK.search(PAGE.read_text()):
        common.die(f"{PAGE} has no block <!-- bench: NAME -->: nothing to replace")
    for block in BLOCK.finditer(PAGE.read_text()):  # the page is written after each: a long report may be cut off
        PAGE.write_text(PAGE.read_text().replace(block.group(0), fresh(block)))


if __name__ == "__main__":
    main()
