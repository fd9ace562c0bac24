"""Draws products of real shapes under this machine's two roofs: docs/images/roofline.svg.

    ./dev bench roofline [--threads 2] [--isa avx2] [--rows 1 2 4 8 16 64 512] [--from FILE]

A point is one product of a weight type with n rows: operations per byte of the packed matrix against G operations a
second, both of bench_kernels, which has checked it against the specification. Left of the ridge memory is the roof, right
of it the byte products. The roofs drawn are the medians of those measured beside the points; a point may stand above them
where the machine was faster in its minute. --from takes what `bench_kernels --benchmark_format=json` printed. Next: memory.py.
"""

import argparse
import json
import math
import re
import statistics
import subprocess

import _common as common

KERNELS = common.ROOT / "build" / "release" / "bench" / "bench_kernels"
PICTURE = common.ROOT / "docs" / "images" / "roofline.svg"
TABLES = {"vnni": "cpu/avx512vnni", "avx2": "cpu/avx2"}
SHAPES = ("2048x640/q5_0", "640x2048/q4_k", "640x2048/q6_k", "151936x896/q8_0")
ROWS = (1, 2, 4, 8, 16, 64, 512)  # that bench_kernels measures
COLORS = ("#0072b2", "#d55e00", "#009e73", "#aa4499")  # Okabe and Ito; told apart without red and green
MARKS = ("circle", "square", "triangle", "diamond")
NAME = re.compile(r"linear/(\d+x\d+/\w+)/(cpu/\w+)/fast/n:(\d+)/threads:(\d+)")

WIDTH, HEIGHT = 860, 540
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 64, 62


def measured(options):
    """What bench_kernels says of the shapes drawn."""
    if options.source:
        try:
            return json.loads(open(options.source).read())["benchmarks"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            common.die(f"--from {options.source}: {error}: give what bench_kernels --benchmark_format=json printed")
    if not KERNELS.exists():
        common.die(f"{KERNELS} is not built: run the bench through ./dev bench")
    rows = "|".join(map(str, options.rows))
    chosen = f"linear/({'|'.join(SHAPES)})/{TABLES[options.isa]}/fast/n:({rows})/"
    command = [KERNELS, f"--threads={options.threads}", f"--benchmark_filter={chosen}", "--benchmark_min_time=0.3",
               "--benchmark_format=json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        common.die(f"{KERNELS} exits with {done.returncode}: its message stands above")
    return json.loads(done.stdout)["benchmarks"]


def series(benchmarks, table):
    """{shape and type: [(rows, operations per byte, G operations a second)]} of one kernel table."""
    found = {}
    for case in benchmarks:
        match = NAME.match(case["name"])
        if match and match[2] == table and "roof_Gop/s" in case:
            point = int(match[3]), case["operations"] / case["bytes"], case["Gop/s"]
            found.setdefault(match[1], []).append(point)
    return found


class Axes:
    """Logarithmic both ways; whole decades would waste half the picture, so the limits are those of the content."""

    def __init__(self, xs, ys):
        self.x = math.log10(min(xs) / 1.5), math.log10(max(xs) * 1.6)
        self.y = math.log10(min(ys) / 1.7), math.log10(max(ys) * 1.6)

    def at(self, x, y):
        across = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    @staticmethod
    def ticks(limits):
        for decade in range(math.floor(limits[0]), math.ceil(limits[1]) + 1):
            for digit in (1, 2, 5):
                if limits[0] <= math.log10(digit) + decade <= limits[1]:
                    yield digit * 10.0**decade


def text(x, y, content, anchor="start", size=13, color="#222", extra=""):
    content = content.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}"{extra}>{content}</text>'


def line(a, b, color, width=1.0, dash=""):
    dash = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{color}" '
            f'stroke-width="{width}"{dash}/>')


def mark(shape, x, y, color):
    style = f'fill="{color}" stroke="#fff" stroke-width="1"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {style}/>'
    corners = {"square": ((-5, -5), (5, -5), (5, 5), (-5, 5)), "triangle": ((0, -6), (6, 5), (-6, 5)),
               "diamond": ((0, -7), (6, 0), (0, 7), (-6, 0))}[shape]
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}" {style}/>'


def grid(axes):
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    for x in axes.ticks(axes.x):
        at = axes.at(x, 10**axes.y[0])[0]
        yield line((at, TOP), (at, bottom), "#e4e4e4")
        yield text(at, bottom + 18, f"{x:g}", "middle", 12)
    for y in axes.ticks(axes.y):
        at = axes.at(10**axes.x[0], y)[1]
        yield line((left, at), (right, at), "#e4e4e4")
        yield text(left - 8, at + 4, f"{y:g}", "end", 12)
    yield f'<rect x="{left}" y="{TOP}" width="{right - left}" height="{bottom - TOP}" fill="none" stroke="#888"/>'
    yield text((left + right) / 2, HEIGHT - 16, "operations per byte of weights", "middle")
    yield text(20, (TOP + bottom) / 2, "G operations/s", "middle",
               extra=f' transform="rotate(-90 20 {(TOP + bottom) / 2:.0f})"')


def roof_lines(axes, memory, int8):
    """The slanted roof up to the ridge, the flat one from there; dashed where the other one is lower."""
    low, high, ridge = 10**axes.x[0], 10**axes.x[1], int8 / memory
    low = max(low, 10**axes.y[0] / memory)
    top = min(high, 10**axes.y[1] / memory)
    yield line(axes.at(low, low * memory), axes.at(ridge, int8), "#222", 2)
    yield line(axes.at(ridge, int8), axes.at(top, top * memory), "#222", 1, "3 4")
    yield line(axes.at(ridge, int8), axes.at(high, int8), "#222", 2)
    a, b = axes.at(low, low * memory), axes.at(ridge, int8)
    angle = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
    x, y = a[0] + 0.3 * (b[0] - a[0]), a[1] + 0.3 * (b[1] - a[1])
    yield text(x - 6, y - 10, f"memory, {memory:.0f} GB/s", "middle",
               extra=f' transform="rotate({angle:.1f} {x - 6:.1f} {y - 10:.1f})"')
    yield text(axes.at(high, int8)[0] - 8, axes.at(high, int8)[1] - 9, f"byte products, {int8:.0f} G operations/s", "end")


def points(axes, found):
    for (name, values), color, shape in zip(found.items(), COLORS, MARKS):
        at = [axes.at(x, y) for _, x, y in values]
        yield "".join(line(a, b, color, 1.2) for a, b in zip(at, at[1:]))
        yield "".join(mark(shape, x, y, color) for x, y in at)
    lowest = min(found.values(), key=lambda values: max(y for _, _, y in values))  # below it is room for numbers
    for rows, x, y in lowest:
        x, y = axes.at(x, y)
        yield text(x + 4, y + 19, f"n={rows}", "start", 11, "#555")


def legend(found):
    x, y = WIDTH - RIGHT - 170, HEIGHT - BOTTOM - 18 * len(found) - 2
    yield f'<rect x="{x - 16}" y="{y - 16}" width="176" height="{18 * len(found) + 8}" fill="#fff" stroke="#ccc"/>'
    for i, (name, color, shape) in enumerate(zip(found, COLORS, MARKS)):
        kind, _, dtype = name.partition("/")
        yield mark(shape, x, y + 18 * i - 2, color)
        yield text(x + 14, y + 18 * i + 3, f"{dtype}  {kind.replace('x', ' x ')}", size=12)


def picture(found, memory, int8, heading):
    xs = [x for values in found.values() for _, x, _ in values]
    ys = [y for values in found.values() for _, _, y in values]
    axes = Axes(xs, [*ys, int8])
    body = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            text(LEFT, 28, "Products under the machine's roofs", size=17), text(LEFT, 48, heading, size=12, color="#555"),
            *grid(axes), *roof_lines(axes, memory, int8), *points(axes, found), *legend(found)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="sans-serif">\n' + "\n".join(body) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", default=None, help="vnni or avx2; default: the machine's best")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="of " + " ".join(map(str, ROWS)))
    parser.add_argument("--from", dest="source", default=None, metavar="FILE", help="JSON of bench_kernels")
    options = parser.parse_args()
    options.isa = common.chosen_isa(options.isa)
    for n in options.rows:
        if n not in ROWS:
            common.die(f"--rows {n}: choose from {' '.join(map(str, ROWS))}")
    benchmarks = measured(options)
    found = series(benchmarks, TABLES[options.isa])
    if not found:
        common.die(f"no case of {TABLES[options.isa]} is among what bench_kernels measured")
    of_table = [case for case in benchmarks if TABLES[options.isa] in case["name"] and "roof_Gop/s" in case]
    memory = statistics.median(case["roof_GB/s"] for case in of_table)
    int8 = statistics.median(case["roof_Gop/s"] for case in of_table)
    heading = f"{common.machine()['cpu']}, {options.isa}, {options.threads} threads"
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(found, memory, int8, heading))
    rows = [[name, n, f"{x:.1f}", f"{y:.0f}", f"{100 * y / min(x * memory, int8):.0f} %"]
            for name, values in found.items() for n, x, y in values]
    print(f"{common.machine_line()}; {options.threads} threads; {options.isa}; memory {memory:.1f} GB/s, byte products "
          f"{int8:.0f} G operations/s; drawn in {PICTURE.relative_to(common.ROOT)}\n")
    print(common.table(["shape and type", "rows", "operations per byte", "G operations/s", "of the lower roof"], rows))


if __name__ == "__main__":
    main()
