"""Peak resident memory of generate against its limit: the file, the KV cache and 15 %.

    ./dev bench memory [--model NAME...] [--json]

The peak is what the system counted for the process (ru_maxrss); pages of the mapped file are in it while resident.
Exits with 1 where a model passes its limit. Next: compile.sh.
"""

import json
import os
import sys

import _common as common

SLACK = 0.15


def peak(model, policy, threads, scratch):
    """(peak bytes, the command's own figures) of one generation of 32 tokens after the first lines of a text."""
    out = scratch.with_suffix(".json")
    scratch.write_text((common.TEXTS / "prose.txt").read_text()[:600])
    command = [str(common.FATHOM), "generate", "-m", str(model), "-f", str(scratch), "-n", "32", "--temperature", "0",
               "--policy", policy, "--threads", str(threads), "--json"]
    files = [(os.POSIX_SPAWN_OPEN, 1, str(out), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        common.die(f"{' '.join(command)} fails with status {status}: its message stands above")
    return usage.ru_maxrss * 1024, json.loads(out.read_text())


def main():
    options = common.arguments(__doc__.split("\n")[0]).parse_args()
    lines = []
    with common.scratch_file() as scratch:
        for name in common.chosen_models(options.model):
            model = common.model_path(name)
            bytes_, figures = peak(model, "full_depth", options.threads, scratch)
            size, kv = model.stat().st_size, figures["kv_bytes"]
            limit = size + kv + SLACK * size
            line = {"model": name, "peak_bytes": bytes_, "file_bytes": size, "kv_bytes": kv, "limit_bytes": int(limit),
                    "over_file_and_kv": round(bytes_ / (size + kv) - 1, 3), "within": bytes_ <= limit}
            lines.append(line)
            if options.json:
                print(json.dumps(line), flush=True)
    if not options.json:
        print(f"{common.machine_line()}; {options.threads} threads\n")
        mb = lambda n: f"{n / 1e6:.0f} MB"
        print(common.table(["model", "file", "KV", "peak", "limit", "peak over file + KV", "within"],
                           [[f["model"], mb(f["file_bytes"]), mb(f["kv_bytes"]), mb(f["peak_bytes"]),
                             mb(f["limit_bytes"]), f"{100 * f['over_file_and_kv']:+.1f} %",
                             "yes" if f["within"] else "NO"] for f in lines]))
    sys.exit(0 if all(line["within"] for line in lines) else 1)


if __name__ == "__main__":
    main()
