"""Token ids from the reference tokenizers (tokenizer_reference.py). Next in the flow: tokenizer_golden_test.cc.

Without arguments, as `./dev oracle` runs it: encodes a fixed sample and writes tokenizer_golden.h (count and hash of the
ids of each line, for each model). With --text: compares `fathom tokenize` with the reference over whole files, and says
how far llama.cpp agrees; with --corpus: over tokenizer_corpus.py. A difference from the reference is an exit of 1.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys

import tokenizer_corpus
import tokenizer_reference

HERE = pathlib.Path(__file__).parent
MODELS = ["gemma3-270m", "qwen2.5-coder-0.5b"]  # of the golden
CORPUS_MODELS = MODELS + ["minilm-l6"]
SEED = 20260214

SENTENCES = [
    "The lighthouse keeper wrote down the weather every evening: wind, rain after midnight, a ship with two masts.",
    "Der Leuchtturmwärter schrieb jeden Abend das Wetter auf; größere Schiffe grüßte er mit der Glocke.",
    "Le gardien notait chaque soir la météo : « vent du nord-ouest, pluie après minuit », puis il s'endormait à l'aube.",
    "El farero apuntaba el tiempo cada noche: ¿lloverá mañana? ¡Quién sabe!",
    "Il guardiano del faro annotava il tempo ogni sera; perché? Così voleva la città.",
    "Latarnik zapisywał pogodę co wieczór: wiatr z północy, deszcz po północy, żółta łódź.",
    "Fener bekçisi her akşam havayı yazardı: kuzeybatı rüzgârı, gece yarısından sonra yağmur, İstanbul'dan bir gemi.",
    "Смотритель маяка каждый вечер записывал погоду: ветер северо-западный, после полуночи дождь.",
    "Ο φαροφύλακας έγραφε κάθε βράδυ τον καιρό: βοριάς, βροχή μετά τα μεσάνυχτα.",
    "كان حارس المنارة يكتب الطقس كل مساء: ريح شمالية غربية، ومطر بعد منتصف الليل.",
    "שומר המגדלור רשם בכל ערב את מזג האוויר: רוח צפונית, גשם אחרי חצות.",
    "प्रकाशस्तंभ का रखवाला हर शाम मौसम लिखता था: उत्तर-पश्चिमी हवा, आधी रात के बाद बारिश।",
    "คนเฝ้าประภาคารจดสภาพอากาศทุกเย็น: ลมตะวันตกเฉียงเหนือ ฝนหลังเที่ยงคืน",
    "灯台守は毎晩天気を書き留めた。北西の風、真夜中過ぎに雨、二本マストの船。",
    "灯塔看守每天晚上记录天气：西北风，午夜后有雨，一艘双桅船。１２３４５",
    "등대지기는 매일 저녁 날씨를 적었다: 북서풍, 자정 이후 비, 돛대 두 개인 배.",
    "Người gác đèn biển ghi lại thời tiết mỗi tối: gió tây bắc, mưa sau nửa đêm.",
    "def add(a: int, b: int) -> int:\n    \"\"\"Sum.\"\"\"\n    return a + b  # 1234567890\n\n\nclass X(Y):\n\tpass\n",
    "for (int i = 0; i < n; ++i) { sum += x[i] * y[i]; }\t// 0x7fffffff, 1e-6f, a->b, c::d, don't, WE'LL\r\n",
    "<table><tr><td>1</td></tr></table> <b>bold</b> </b><i> <start_of_turn> <|im_start|> <tool_call> <unused7> [INST]",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org 2026-02-14T12:34:56Z $1,234.56 ½ ² ³ Ⅷ ①",
    "👩‍👩‍👧‍👦 🇩🇪🇫🇷 👍🏽 ☕️ ✈️ 1️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "e\u0301 q\u0307\u0323 \u1112\u1161\u11ab \u212b \u0958 \ufb2c \uac38\u11a7 a\u0330\u0d3c \u0061\u0315\u0300\u05ae\u0300\u0062",
    "\u2581\u2581a \u2581 b \u00a0c \u3000d \u180ee \u2028f \u200bg \x1ch \x85i \ufeff j\u17f0",
]


def sample():
    """The lines of the golden: bytes, some of them not UTF-8."""
    rng = random.Random(SEED)
    lines = [s.encode() for s in SENTENCES]
    for unit in ["a", " ", "\n", "\t", "!", "7", "=", "é", "水", "🙂", "ab", " a", "\r\n", "\u2581"]:
        lines += [(unit * n).encode() for n in (2, 3, 17, 31, 32, 65)]
    points = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    near = "aZé9 \n\t.,'s-_({<>\u0301\u0323\u0130ß水ア한\u05d0\u0627\u0915\u093f"
    for _ in range(40):
        lines.append("".join(rng.choice(near) for _ in range(rng.randrange(1, 60))).encode())
        lines.append("".join(rng.choice(points) for _ in range(rng.randrange(1, 30))).encode())
        lines.append(rng.randbytes(rng.randrange(1, 40)))
        a, b = rng.choice(SENTENCES), rng.choice(SENTENCES)
        lines.append((a[rng.randrange(len(a)) :] + b[: rng.randrange(len(b))]).encode())
    return lines


def digest(ids):
    """FNV-1a, 64 bits, over the ids as 32-bit little-endian numbers."""
    h = 0xCBF29CE484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def literal(line):
    escape = {0x22: '\\"', 0x5C: "\\\\", 0x3F: "\\?"}
    return '"' + "".join(escape.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in line) + '"'


def model_path(name):
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "fathom/models" / name
    return folder if (folder / "config.json").exists() else folder / f"{name}.gguf"


def write_golden():
    missing = [name for name in MODELS if not model_path(name).exists()]
    if missing:
        print(f"tokenizer_golden.h stays as it is: ./dev model {' '.join(missing)}")
        return 0
    lines = sample()
    columns = []
    for name in MODELS:
        path = str(model_path(name))
        reference = tokenizer_reference.reference(path)
        texts = [line.decode("utf-8", "replace") for line in lines]
        ids = [reference.encode(text) for text in texts]
        third = tokenizer_reference.LlamaCpp(path)
        differing = [i for i, text in enumerate(texts) if third.encode(text) != ids[i]]
        print(f"{name}: {len(lines)} lines by {reference.name}; llama.cpp differs in {len(differing)}")
        columns.append(ids)
    out = [
        "// Ids of a fixed sample by the reference tokenizers: written by tokenizer_oracle.py. Next: tokenizer_golden_test.cc.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "#include <string_view>",
        "",
        "namespace fathom {",
        "",
        "struct GoldenIds {",
        "  uint32_t count;",
        "  uint64_t hash;  // FNV-1a over the ids as 32-bit little-endian numbers",
        "};",
        "",
        "struct GoldenLine {",
        "  std::string_view text;",
        "  GoldenIds ids[2];  // in the order of kGoldenModels",
        "};",
        "",
        "inline constexpr const char* kGoldenModels[] = {" + ", ".join(f'"{name}"' for name in MODELS) + "};",
        "",
        "// clang-format off",
        "inline constexpr GoldenLine kGoldenLines[] = {",
    ]
    for line, *ids in zip(lines, *columns):
        golden = ", ".join(f"{{{len(i)}, 0x{digest(i):016x}u}}" for i in ids)
        out.append(f"    {{{{{literal(line)}, {len(line)}}}, {{{golden}}}}},")
    out += ["};", "// clang-format on", "", "}  // namespace fathom"]
    (HERE / "tokenizer_golden.h").write_text("\n".join(out) + "\n")
    return 0


class Comparison:
    """One model's ids by `fathom tokenize` and by its reference."""

    def __init__(self, model, fathom):
        self.model, self.fathom = model, fathom
        self.reference = tokenizer_reference.reference(model)

    def ours(self, file):
        command = [self.fathom, "tokenize", "-m", self.model, "-f", file, "--no-bos", "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["ids"]

    def of_file(self, file):
        """(the reference's ids, whether ours differ); says where they do."""
        text = pathlib.Path(file).read_bytes().decode("utf-8", "replace")
        ours, ids = self.ours(file), self.reference.encode(text)
        if ours == ids:
            return ids, False
        at = next((i for i, (a, b) in enumerate(zip(ours, ids)) if a != b), min(len(ours), len(ids)))
        mine, theirs = ([self.reference.token(i) for i in side[at : at + 5]] for side in (ours, ids))
        print(f"{file}: differs at id {at}: {mine}, {self.reference.name} {theirs}")
        return ids, True


def compare(model, files, fathom):
    comparison = Comparison(model, fathom)
    third = None if pathlib.Path(model).is_dir() else tokenizer_reference.LlamaCpp(model)
    wrong = 0
    for file in files:
        ids, differs = comparison.of_file(file)
        wrong += differs
        print(f"{file}: {len(ids)} ids, {'a' if differs else 'no'} difference from {comparison.reference.name}", end="")
        if third is not None:
            agrees = third.encode(pathlib.Path(file).read_bytes().decode("utf-8", "replace")) == ids
            print(f"; llama.cpp {'agrees' if agrees else 'differs'}", end="")
        print()
    print(f"{len(files)} files, {sum(os.path.getsize(file) for file in files)} bytes, {wrong} differing")
    return 1 if wrong else 0


def compare_corpus(folder, fathom):
    """Compares over tokenizer_corpus.py, in pieces of a megabyte, for each model that is here. llama.cpp is left out: its
    time grows with the square of a text's length."""
    models = [name for name in CORPUS_MODELS if model_path(name).exists()]
    if not models:
        print(f"no model is here: ./dev model {CORPUS_MODELS[0]}")
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    corpus = list(tokenizer_corpus.parts(SEED, SENTENCES))
    wrong, piece_bytes, file = 0, 1_000_000, folder / "piece.txt"
    for name in models:
        comparison = Comparison(str(model_path(name)), fathom)
        total, wrong_here = 0, 0
        for part, data in corpus:
            pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
            n_ids = n_differing = 0
            for piece in pieces:
                file.write_bytes(piece)
                ids, differs = comparison.of_file(file)
                n_ids, n_differing = n_ids + len(ids), n_differing + differs
            total, wrong_here = total + len(data), wrong_here + n_differing
            print(f"{name}: {part}: {len(data)} bytes, {n_ids} ids, {n_differing} of {len(pieces)} pieces differ", flush=True)
        print(f"{name}: {total / 1e6:.1f} MB, {wrong_here} pieces differ from {comparison.reference.name}")
        wrong += wrong_here
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a GGUF file, or the folder of an encoder")
    parser.add_argument("--text", nargs="+", metavar="FILE", help="files to compare over")
    parser.add_argument("--corpus", action="store_true", help="compare over the corpus, for each model that is here")
    parser.add_argument("--fathom", default="build/release/fathom", help="our command")
    options = parser.parse_args()
    if options.corpus:
        return compare_corpus(pathlib.Path("build/corpus"), options.fathom)
    return compare(options.model, options.text, options.fathom) if options.text else write_golden()


if __name__ == "__main__":
    sys.exit(main())
