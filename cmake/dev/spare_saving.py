"""How much of what an exit that knows would save, the boldest certified setting of a report does save.

    spare_saving.py REPORT.json LEAST

Prints it, and exits with 1 where it is less than LEAST, a share.
"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    least = float(sys.argv[2])
    ceiling = next(c for c in report["ceilings"] if c["what"] == "an exit that knows")
    most = 1 - max(group["work"] for group in ceiling["groups"])
    saved = max((1 - c["work"] for c in report["candidates"] if c["mechanism"] == "exit" and c["certified"]), default=0)
    print(f"certified: {saved:.1%} of full depth's work saved, {saved / most:.0%} of the {most:.1%} that an exit that "
          f"knows would save; at least {least:.0%} is asked for")
    return saved < least * most


if __name__ == "__main__":
    sys.exit(main())
