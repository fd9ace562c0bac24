"""Texts with labels, from Debian packages and from what apt knows of them: what classification is measured on.

    python3 bench/classify/_labelled.py --out FOLDER [NAME...] [--seed N]

sections   what a package is, in a line             its section of Debian
purposes   what a program is, in a line             its debtags use::*, one or more
terms      English terms of the Ding dictionary     the subject they belong to
senses     the meaning of a noun, of WordNet        the lexicographer's file they are in
fields     words of Webster's 1913 dictionary       the field they belong to
           with their meaning

A line is {"id", "text", "label"}, or {"id", "text", "labels"} in purposes, as `fathom classify train` reads it. Each text
is a document of its own, so texts that are held out are documents that are held out. No text stands twice, none is there
that its source labels in two ways, and none says its label in its first words: labels are to be understood, not read.
"""

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / place) for place in ("", "calibrate")]

import _common as common
import _texts

FIRST_WORDS = 3  # of a text, which may not be its label
LEAST = 150      # texts of a label: with fewer, its accuracy is not worth a figure
SHORTEST = 3     # words of a text

# Without the sections of languages, desktops, libraries and documents, whose descriptions say so in a word, and without
# those for all that fits nowhere else.
SECTIONS = ("admin", "editors", "games", "graphics", "mail", "math", "net", "science", "sound", "text", "web")
PURPOSES = ("analysing", "checking", "configuring", "converting", "editing", "gameplaying", "learning", "monitor",
            "organizing", "playing", "viewing")
SUBJECTS = {  # Ding's abbreviations
    "agr": "agriculture", "auto": "cars", "aviat": "aviation", "bot": "botany", "chem": "chemistry", "comp": "computing",
    "constr": "construction", "cook": "cooking", "electr": "electrics", "fin": "finance", "geogr": "geography",
    "geol": "geology", "jur": "law", "math": "mathematics", "med": "medicine", "mil": "military", "mus": "music",
    "naut": "seafaring", "ornith": "birds", "pol": "politics", "relig": "religion", "sport": "sports",
    "textil": "textiles", "zool": "zoology",
}
SENSES = {  # numbers of WordNet's lexicographer files, lexnames(5WN)
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication", 11: "event",
    12: "feeling", 13: "food", 14: "group", 15: "location", 17: "object", 18: "person", 19: "phenomenon", 20: "plant",
    21: "possession", 22: "process", 23: "quantity", 24: "relation", 25: "shape", 26: "state", 27: "substance", 28: "time",
}
FIELDS = {  # Webster's abbreviations
    "Anat": "anatomy", "Arch": "architecture", "Astron": "astronomy", "Biol": "biology", "Bot": "botany",
    "Chem": "chemistry", "Eccl": "church", "Elec": "electricity", "Geol": "geology", "Geom": "geometry",
    "Gram": "grammar", "Her": "heraldry", "Mach": "machines", "Math": "mathematics", "Med": "medicine",
    "Mil": "military", "Min": "mineralogy", "Mus": "music", "Naut": "seafaring", "Paleon": "fossils",
    "Physiol": "physiology", "Zool": "zoology",
}


def one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def packages(index):
    """{field: value} of one package of each source, that which is named most like it."""
    of_source = {}
    for stanza in index.split("\n\n"):
        package = dict(re.findall(r"^([A-Za-z-]+): *(.*(?:\n[ \t].*)*)", stanza, re.M))
        if "Description" in package:
            name = package["Package"]
            source = package.get("Source", name).split(" ")[0]
            rank = (name != source, len(name), name)
            if source not in of_source or rank < of_source[source][0]:
                of_source[source] = (rank, package)
    return {source: package for source, (_, package) in of_source.items()}


def sections(index):
    for source, package in packages(index).items():
        yield source, package["Description"].split("\n")[0], [package["Section"]]


def purposes(index):
    for source, package in packages(index).items():
        yield source, package["Description"].split("\n")[0], re.findall(r"\buse::([\w-]+)", package.get("Tag", ""))


def terms(dictionary):
    """Lines are `German {f} [med.] | .. :: English [Br.] | ..`; only the German side names the subject."""
    for number, line in enumerate(dictionary.split("\n"), 1):
        german, _, english = line.partition(" :: ")
        subjects = set(re.findall(r"\[(\w+)\.?\]", german)) & SUBJECTS.keys()
        text = re.sub(r"\[[^]]*\]|\{[^}]*\}", "", english).replace("|", ";")
        yield f"de-en:{number}", re.sub(r" (?=[;,])", "", one_line(text)), [SUBJECTS[subject] for subject in subjects]


def senses(data):
    """Lines are `offset file .. | meaning; "example"`, wndb(5WN). Without the nouns: with them, words do nearly as well."""
    for line in data.split("\n"):
        if line[:1].isdigit():
            synset, _, gloss = line.partition(" | ")
            offset, file = synset.split(" ")[:2]
            yield f"noun:{offset}", one_line(gloss.split('; "')[0]), [SENSES.get(int(file), "")]


def fields(dictionary):
    """Entries begin at the margin, `Word \\Word\\, n. [Origin.] (Bot.) Meaning. [1913 Webster]`."""
    entries = Counter()
    for entry in re.split(r"\n(?=\S)", dictionary):
        word, said, rest = entry.partition(" \\")
        named = set(re.findall(r"\(([A-Z][A-Za-z]+)\.\)", rest))
        if said and len(named) == 1 and named <= FIELDS.keys():
            field = named.pop()
            meaning = re.split(r"\n\s*\[|\n\n|--", rest.partition(f"({field}.)")[2])[0]
            meaning = one_line(re.sub(r"\[[^]]*\]|[{}]", "", meaning)).strip(" .,")
            entries[word] += 1
            yield f"{word}:{entries[word]}", f"{word}: {meaning}", [FIELDS[field]]


def debian_index():
    """Debian's index of packages, as apt keeps it."""
    asked = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages", "Label: Debian", "Component: main"]
    files = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    if not files:
        common.die("apt has no index of Debian's packages: run apt-get update")
    kept = [subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", file], capture_output=True, text=True, check=True).stdout
            for file in sorted(files)]
    return "\n".join(kept)


def file_of(package, path):
    """A reader of one file of a package, unpacked where it is a .dz."""
    def read():
        file = _texts.unpack(package)[0] / path
        raw = gzip.open(file).read() if file.suffix == ".dz" else file.read_bytes()
        return raw.decode("utf-8", errors="ignore")
    return read


@dataclass(frozen=True)
class Source:
    read: Callable         # () -> what the documents stand in
    documents: Callable    # that -> (id, text, labels) of each
    labels: tuple
    most: int              # texts of a label
    several: bool = False  # labels of a text


SOURCES = {
    "sections": Source(debian_index, sections, SECTIONS, 330),
    "purposes": Source(debian_index, purposes, PURPOSES, 8000, several=True),
    "terms": Source(file_of("trans-de-en", "usr/share/trans/de-en"), terms, tuple(SUBJECTS.values()), 330),
    "senses": Source(file_of("wordnet-base", "usr/share/wordnet/data.noun"), senses, tuple(SENSES.values()), 250),
    "fields": Source(file_of("dict-gcide", "usr/share/dictd/gcide.dict.dz"), fields, tuple(FIELDS.values()), 250),
}


def says(text, label):
    """Whether a text has its label in its first words, one or many of it."""
    first = re.findall(r"[a-z]+", text.lower())[:FIRST_WORDS]
    return label.rstrip("s") in {word.rstrip("s") for word in first}


def unambiguous(documents, source):
    """[(id, text, its labels that the set has)] of the texts that are fit for a set, each once."""
    found = {}
    for name, text, given in sorted(documents):
        kept = sorted(set(given) & set(source.labels))
        right = len(kept) == 1 or (kept and source.several)
        if right and len(text.split()) >= SHORTEST and not any(says(text, label) for label in kept):
            found.setdefault(text.lower(), []).append((name, text, kept))
    return [same[0] for same in found.values() if all(kept == same[0][2] for _, _, kept in same)]


def drawn(name, documents, source, seed):
    """The lines of a set, in an order drawn by the ids: one document more moves no other, and takes the place of one at most."""
    order = sorted(unambiguous(documents, source),
                   key=lambda document: hashlib.sha256(f"{seed}/{document[0]}".encode()).digest())
    n, lines = Counter(), []
    for document, text, kept in order:
        if all(n[label] < source.most for label in kept):
            n.update(kept)
            label = {"labels": kept} if source.several else {"label": kept[0]}
            lines.append(json.dumps({"id": document, "text": text, **label}, ensure_ascii=False))
    for label in source.labels:
        if n[label] < LEAST:
            common.die(f"{name}: label '{label}' has {n[label]} texts of {LEAST}: take it from the set's labels")
    return lines, n


def check_names(names):
    for name in names:
        if name not in SOURCES:
            common.die(f"'{name}' is not a labelled set: choose from {' '.join(SOURCES)}")


def write(folder, names=tuple(SOURCES), seed=1):
    """{name: path} of sets, written there."""
    check_names(names)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.jsonl" for name in names}
    for name, path in paths.items():
        source = SOURCES[name]
        lines, n = drawn(name, source.documents(source.read()), source, seed)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        common.say(f"labelled: {name}: {len(lines)} texts, {len(n)} labels of {min(n.values())} to {max(n.values())} texts")
    return paths


def main():
    parser = argparse.ArgumentParser(description="Writes labelled texts, one file for each set.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=1, help="of the draw; default: 1")
    options = parser.parse_args()
    write(options.out, options.names or tuple(SOURCES), options.seed)


if __name__ == "__main__":
    main()
