"""Mixed text to compare tokenizers over, from what any Debian machine has and from a seed. Next: tokenizer_oracle.py.

A part is a name and bytes. Packages differ between machines, so the parts found on disk differ too; the parts made from the
seed are the same everywhere. A minimal system without documentation still has Python's sources and the made parts.
"""

import gettext
import gzip
import pathlib
import random
import sysconfig

MB = 1_000_000
ROOT = pathlib.Path(__file__).resolve().parents[2]


def content(file):
    """The text in a file, nothing where it is a picture or the like."""
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        return b"" if b"\0" in data else data
    except (OSError, EOFError):  # a link to nowhere, a file of another user, a broken archive
        return b""


def joined(files, most):
    """The beginning of all files together."""
    out = bytearray()
    for file in files:
        if len(out) >= most:
            break
        out += content(file) + b"\n"
    return bytes(out[:most])


def catalogue(file):
    """The translations in a message catalogue."""
    try:
        with file.open("rb") as opened:
            return "\n".join(map(str, gettext.GNUTranslations(opened)._catalog.values())).encode()
    except (OSError, UnicodeError, ValueError, LookupError):
        return b""


def files_of(folder, pattern):
    return sorted(file for file in pathlib.Path(folder).glob(pattern) if file.is_file())


def found():
    """What lies on this machine."""
    yield "texts of the project", joined(files_of(ROOT, "bench/quality/texts/*") + files_of(ROOT, "docs/**/*.md"), MB)
    yield "sources of Python", joined(files_of(sysconfig.get_paths()["stdlib"], "**/*.py"), 8 * MB)
    yield "licences", joined(files_of("/usr/share/common-licenses", "*"), MB)
    yield "documentation", joined(files_of("/usr/share/doc", "**/*"), 4 * MB)
    man = [folder for folder in sorted(pathlib.Path("/usr/share/man").glob("*")) if not folder.name.startswith("man")]
    yield "manual pages, other languages", b"".join(joined(files_of(folder, "man*/*.gz"), MB // 5) for folder in man)
    messages = bytearray()
    for folder in sorted(pathlib.Path("/usr/share/locale").glob("*/LC_MESSAGES")):
        messages += b"\n".join(map(catalogue, files_of(folder, "*.mo")[:8]))[: MB // 10]
    yield "message catalogues", bytes(messages[: 6 * MB])


EMOJI = "👩 👍 ☕ 🏴 🇩 🇪 🙂 ✈ 1⃣ ❤ 🤷 🧑 🚀 🏽 🏿 \u200d \ufe0f \u20e3 ♂ ♀".split(" ")
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u180e\u2000\u2003\u2009\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\u2581"
MARKS = "\u0300\u0301\u0302\u0308\u030c\u0323\u0327\u0328\u0330\u0345\u05b0\u05ae\u064b\u0651\u093c\u094d\u09bc\u0d3c\u11a8\u1161\u3099"


def strings(rng, size, draw):
    """About `size` bytes of drawn strings."""
    out = bytearray()
    while len(out) < size:
        text = draw()
        out += text if isinstance(text, bytes) else text.encode()
    return bytes(out)


def made(seed, sentences):
    """What a seed makes."""
    rng = random.Random(seed)
    points = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    bases = "aeoqAE \u05d0\u0627\u0915\u1100ㄱ한水"
    words = [word for sentence in sentences for word in sentence.split(" ")]
    end = lambda: rng.choice(" \n")
    yield "sentences", strings(rng, MB, lambda: rng.choice(sentences) + end())
    yield "words of all languages", strings(rng, MB, lambda: rng.choice(words) + rng.choice(["", " ", "  ", "\n", "-", "'"]))
    yield "emoji", strings(rng, MB // 2, lambda: "".join(rng.choices(EMOJI, k=rng.randrange(1, 9))) + end())
    yield "combining marks", strings(
        rng, MB, lambda: "".join(rng.choice(bases) + "".join(rng.choices(MARKS, k=rng.randrange(4))) for _ in range(9)) + end()
    )
    yield "white space", strings(rng, MB // 2, lambda: "".join(rng.choices(SPACES, k=rng.randrange(1, 40))) + rng.choice("aé7.<水"))
    yield "runs", strings(rng, MB, lambda: rng.choice(["a", " ", "\n", "\t", "=", "7", "é", "水", "🙂", "ab", " a", "\r\n"])
                          * int(2 ** rng.uniform(1, 13)))
    yield "numbers and signs", strings(rng, MB // 2, lambda: "".join(rng.choices("0123456789.,:;+-*/()[]{}<>'\"#$%&_ \n", k=30)))
    yield "random code points", strings(rng, 2 * MB, lambda: "".join(rng.choices(points, k=20)) + end())
    yield "random bytes", rng.randbytes(MB)


def every_code_point():
    """Each code point in four surroundings."""
    points = (chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000)
    yield "every code point", "".join(f" {c}a{c}1{c}\u0301{c}\n" for c in points).encode()


def parts(seed, sentences):
    for name, data in (*found(), *made(seed, sentences), *every_code_point()):
        if data:
            yield name, data
