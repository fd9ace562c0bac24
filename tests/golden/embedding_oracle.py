#!/usr/bin/env python3
"""Embeddings of MiniLM-L6 by embedding_formulas.py. Next in the flow: embedding_golden_test.cc.

usage: embedding_oracle.py [FOLDER] [OUTPUT]

Without arguments, as `./dev oracle` runs it, reads the model of `./dev model minilm-l6` and writes embeddings.json: for
each text its ids by `tokenizers` and its embedding as base64 of little-endian f32.
"""

import base64
import json
import os
import pathlib
import sys

import numpy as np

import embedding_formulas
import tokenizer_oracle
import tokenizer_reference

HERE = pathlib.Path(__file__).resolve().parent
LONG = " ".join(tokenizer_oracle.SENTENCES)
TEXTS = [
    "",
    "word",
    "The lighthouse keeper wrote down the weather every evening.",
    "Every evening, the man in the lighthouse noted the weather.",
    "A recipe for bread: flour, water, salt and time.",
    "UNAFFABLE naïve café, l'été; 東京タワー 1,234.56",
    "for (int i = 0; i < n; ++i) { sum += x[i] * y[i]; }",
    "Der Leuchtturmwärter schrieb jeden Abend das Wetter auf.",
    "смотритель маяка записывал погоду",
    "[CLS] is spelled in this text [SEP]",
    "emoji 👩‍👩‍👧‍👦 and \u200b invisible \ufeff ones",
    LONG[:600],
    LONG,
]
MAX_TOKENS = 256  # sentence_bert_config.json


def main():
    if len(sys.argv) > 3:
        sys.exit(__doc__)
    arguments = [pathlib.Path(a) for a in sys.argv[1:]]
    folder = arguments[0] if arguments else tokenizer_oracle.model_path("minilm-l6")
    output = arguments[1] if len(arguments) == 2 else HERE / "embeddings.json"
    if not (folder / "model.safetensors").exists():
        print(f"{os.path.relpath(output)} stays as it is: ./dev model minilm-l6")
        return
    config, tensors = json.loads((folder / "config.json").read_text()), embedding_formulas.weights(folder)
    tokenizer = tokenizer_reference.reference(folder)
    around = [tokenizer.id_of(token) for token in ("[CLS]", "[SEP]")]
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        kept = [around[0], *ids[: MAX_TOKENS - 2], around[1]]
        embedding = embedding_formulas.embed(tensors, config, kept).astype("<f4")
        encoded = base64.b64encode(embedding.tobytes()).decode()
        cases.append({"text": text, "truncated": len(ids) > MAX_TOKENS - 2, "ids": kept, "embedding": encoded})
    golden = {"by": f"numpy {np.__version__} in double precision, ids by {tokenizer.name}", "cases": cases}
    output.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
