"""Texts of five kinds from Debian packages, as JSONL, one document a line. Next: promise.py.

The packages are downloaded and unpacked, never installed. A document is a file, or a section of a book; those that a
hash of the name picks are kept away from calibration, as fresh text of the same sources.
"""

import glob
import gzip
import hashlib
import html.parser
import json
import os
import re
import subprocess

import _common as common

FOLDER = common.CACHE / "texts"
GROUPS = ("prose", "docs", "code", "de")
SHIFTED = "fr"
PACKAGES = {
    "prose": ("debian-handbook", "installation-guide-amd64", "developers-reference", "debian-policy", "debian-faq"),
    "docs": ("linux-doc-6.1",),
    "code": ("libpython3.11-stdlib", "python3-django"),
    "de": ("manpages-de",),
    "fr": ("manpages-fr",),
}
FILES = {
    "prose": ("debian-handbook/html/en-US/*.html", "installation-guide-amd64/en/*.html",
              "developers-reference/*.html", "debian-policy/*.html", "debian-faq/*.html"),
    "docs": ("linux-doc-6.1/html/_sources/**/*.txt",),
    "code": ("lib/python3*/**/*.py",),
    "de": ("man/de/**/*.gz",),
    "fr": ("man/fr/**/*.gz",),
}
SHORTEST, LONGEST = 600, 200_000  # characters of a document
FRESH_IN = 4                      # one document of so many is fresh


class Page(html.parser.HTMLParser):
    """The text of a page, cut into sections at its headings."""

    HIDDEN = ("script", "style", "head", "nav")
    BREAKS = ("p", "div", "li", "dt", "dd", "tr", "pre", "br", "table", "ul", "ol")

    def __init__(self):
        super().__init__()
        self.sections, self.hidden = [""], 0

    def handle_starttag(self, tag, _):
        if tag in self.HIDDEN:
            self.hidden += 1
        elif tag in ("h1", "h2", "h3", "h4"):
            self.sections.append("")
        elif tag in self.BREAKS:
            self.sections[-1] += "\n"

    def handle_endtag(self, tag):
        if tag in self.HIDDEN:
            self.hidden = max(0, self.hidden - 1)

    def handle_data(self, data):
        if not self.hidden:
            self.sections[-1] += data


def sections_of(page):
    parser = Page()
    parser.feed(page)
    for section in parser.sections:
        lines = (re.sub(r"\s+", " ", line).strip() for line in section.split("\n"))
        yield re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def manual(roff):
    """A manual page as it reads, from its first heading on, without its requests."""
    words = []
    for line in roff[max(0, roff.find("\n.SH")):].split("\n"):
        if line.startswith((".\\\"", "'\\\"", "'", ".TH", ".de", ".ds", ".nh", ".ad", ".if", ".ie", ".el")):
            continue
        line = re.sub(r"^\.(S[HS]|[BI]|[BI]?[RBI][RBI]?|IP|TP|P|PP|LP|nf|fi|RS|RE|sp|br)\b ?", "", line)
        line = re.sub(r"\\f(\[[A-Z]*\]|\(..|.)", "", line)
        line = line.replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "").replace("\\,", "").replace("\\/", "").replace("\\e", "\\")
        words.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(words)).strip()


def documents(kind, file):
    raw = gzip.open(file, "rb").read() if file.endswith(".gz") else open(file, "rb").read()
    text = raw.decode("utf-8", errors="ignore")
    if file.endswith(".html"):
        yield from sections_of(text)
    else:
        yield manual(text) if kind in ("de", "fr") else text


def unpack(package):
    """The folder with a package's files, and its version."""
    home = FOLDER / "packages" / package
    if not home.exists():
        part = home.with_name(package + ".part")
        part.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-qq", "download", package], cwd=part, check=True, stderr=subprocess.DEVNULL)
        deb = next(part.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", deb, part], check=True)
        (part / "version").write_text(deb.name.rsplit("_", 1)[0])
        deb.unlink()
        part.rename(home)
    return home, (home / "version").read_text()


def write(kind, names):
    """Two files of a kind, {known, fresh}: what calibration may see, and what it may not."""
    paths = {part: FOLDER / f"{kind}-{part}.jsonl" for part in ("known", "fresh")}
    if all(path.exists() for path in paths.values()):
        return paths
    lines = {"known": [], "fresh": []}
    for package in names:
        home, _ = unpack(package)
        for pattern in FILES[kind]:
            for file in sorted(glob.glob(str(home / "usr" / "**" / pattern), recursive=True)):
                for i, text in enumerate(documents(kind, file) if os.path.isfile(file) else ()):
                    if not SHORTEST <= len(text) <= LONGEST:
                        continue
                    name = f"{file[len(str(home)):]}#{i}"
                    fresh = int(hashlib.sha256(name.encode()).hexdigest(), 16) % FRESH_IN == 0
                    lines["fresh" if fresh else "known"].append(json.dumps({"id": name, "text": text}))
    for part, path in paths.items():
        path.with_suffix(".part").write_text("\n".join(lines[part]) + "\n")
        path.with_suffix(".part").rename(path)
    return paths


def texts():
    """{kind: {known, fresh}} paths, and the packages' versions."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    versions = [unpack(package)[1] for names in PACKAGES.values() for package in names]
    return {kind: write(kind, PACKAGES[kind]) for kind in PACKAGES}, versions
