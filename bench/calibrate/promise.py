"""What calibration finds and promises on real text, how long it takes, and whether fresh text confirms it.

    ./dev bench calibrate [--model NAME...] [--pieces N] [--risk X] [--keep FOLDER] [--json]

Four groups of documents from Debian packages: sections of handbooks, kernel documentation, Python, German manual pages.
A quarter of the documents is kept away; `fathom certify` then runs on it, and on French manual pages, which nothing was
calibrated on. Speed is measured by calibrate itself, by turns with full depth and lossless decoding.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import _common as common
import _texts


def command(*args):
    """Standard output, seconds, largest resident set in bytes and exit status of a fathom command."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([str(common.FATHOM), *map(str, args)], stdout=out)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0)
        return out.read(), time.monotonic() - begin, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)


def calibrate(model, texts, options, sidecar):
    data = [word for kind in _texts.GROUPS for word in ("--data", f"{kind}={texts[kind]['known']}")]
    out, seconds, memory, status = command("calibrate", "-m", common.model_path(model), *data, "--risk", options.risk,
                                           "--pieces", options.pieces, "--threads", options.threads, "-o", sidecar,
                                           "--json")
    if status != 0:
        common.die(f"calibrate of {model} exits with {status}")
    return json.loads(out), seconds, memory


def certify(model, groups, options, sidecar):
    data = [word for kind, path in groups.items() for word in ("--data", f"{kind}={path}")]
    out, _, _, status = command("certify", sidecar, "-m", common.model_path(model), *data, "--pieces", options.pieces,
                                "--threads", options.threads, "--json")
    if status not in (0, 1) or not out:
        common.die(f"certify of {model} exits with {status}")
    return json.loads(out)


def percent(share):
    return "" if share is None else f"{100 * share:.2f} %"


def ratio(measured):
    return f"{measured['ratio']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})" if measured else ""


def show(model, found, seconds, memory, fresh, shifted):
    print(f"\n**{model}**: {seconds / 60:.1f} minutes, {memory / 2**30:.2f} GiB. {found['promise']['sentence']} "
          f"Policy: `{found['promise']['policy']}`\n")
    rows = []
    for candidate in found["candidates"]:
        groups = candidate.get("groups", [])
        rows.append([f"`{candidate['policy']}`", "yes" if candidate["certified"] else "no",
                     percent(max((g["mean"] for g in groups), default=None)),
                     percent(max((g["upper"] for g in groups), default=None)),
                     f"{candidate['mean_depth']:.2f}" if "mean_depth" in candidate else "",
                     ratio(candidate.get("speed_over_full")), ratio(candidate.get("speed_over_lossless"))])
    print(common.table(["policy", "certified", "worst group", "its bound", "mean depth", "over full depth",
                        "over lossless"], rows))
    for ceiling in found["ceilings"]:
        print(f"\nCeiling, {ceiling['what']}: " +
              ", ".join(f"{g['name']} {percent(g['work'])}" for g in ceiling["groups"]) + " of full depth's time.")
    for reason in found["nogo"]:
        print(f"\nNo-go, {reason['mechanism']}: {reason['decided_by']}: {reason['reason']}.")
    for name, checked in (("Fresh documents", fresh), ("Another language", shifted)):
        told = ", ".join(f"{g['name']} {percent(g['mean'])} ({percent(g['lower'])} to {percent(g['upper'])})"
                         for g in checked["groups"])
        says = "shift" if all(g["shift"] for g in checked["groups"]) else "broken" if checked["broken"] else "holds"
        print(f"\n{name}: " + (f"{told}: {says}." if told else "nothing to check, the policy cannot change a token."))


def main():
    parser = common.arguments(__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pieces", type=int, default=600, help="of each group, to certify on")
    parser.add_argument("--risk", type=float, default=0.02)
    parser.add_argument("--keep", type=Path, help="folder for the sidecars")
    options = parser.parse_args()
    texts, versions = _texts.texts()
    print(f"{common.machine_line()}; {options.pieces} pieces of 64 tokens a group; {', '.join(versions)}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for model in common.chosen_models(options.model):
            sidecar = folder / f"{model}.fathom"
            found, seconds, memory = calibrate(model, texts, options, sidecar)
            fresh = certify(model, {kind: texts[kind]["fresh"] for kind in _texts.GROUPS}, options, sidecar)
            shifted = certify(model, {_texts.SHIFTED: texts[_texts.SHIFTED]["known"]}, options, sidecar)
            if options.json:
                print(json.dumps({"model": model, "seconds": seconds, "bytes": memory, "report": found,
                                  "fresh": fresh, "shifted": shifted}), flush=True)
            else:
                show(model, found, seconds, memory, fresh, shifted)


if __name__ == "__main__":
    main()
