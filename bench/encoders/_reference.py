"""The yardstick of quality: vectors in double precision, by the script that made the golden ones.

Runs inside the peers' environment: reads {"folder": ..., "texts": [...]} from standard input, writes their vectors.
Next: throughput.py, which sets each side beside them.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "golden"))

import embedding_formulas
from tokenizers import Tokenizer


def main():
    request = json.load(sys.stdin)
    folder = Path(request["folder"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(request["max_tokens"])
    config, tensors = json.loads((folder / "config.json").read_text()), embedding_formulas.weights(folder)
    ids = [tokenizer.encode(text).ids for text in request["texts"]]
    json.dump([embedding_formulas.embed(tensors, config, each).tolist() for each in ids], sys.stdout)


if __name__ == "__main__":
    main()
