#!/usr/bin/env python3
"""Embeddings of MiniLM-L6 in double precision, by numpy alone. Next in the flow: embedding_golden_test.cc.

usage: embedding_oracle.py [FOLDER] [OUTPUT]

Without arguments, as `./dev oracle` runs it, reads the model of `./dev model minilm-l6` and writes embeddings.json: for
each text its ids by `tokenizers` and its embedding as base64 of little-endian f32. Nothing of it is Fathom's: the formulas
are those of Devlin et al. 2018, the pooling that of sentence-transformers (mean of all rows, length 1).
"""

import base64
import json
import math
import os
import pathlib
import struct
import sys

import numpy as np

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


def weights(folder):
    """The file's tensors by name, as f64."""
    data = (folder / "model.safetensors").read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"]).astype(np.float64)
    return tensors


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


ERF = np.vectorize(math.erf)


def embed(tensors, config, ids):
    """The text's embedding: [hidden_size]."""
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]

    def linear(x, name):
        return x @ tensors[name + ".weight"].T + tensors[name + ".bias"]

    def norm(x, name):
        return layer_norm(x, tensors[name + ".weight"], tensors[name + ".bias"], eps)

    x = tensors["embeddings.word_embeddings.weight"][ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        q, k, v = (
            linear(x, layer + "attention.self." + part).reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ v).transpose(1, 0, 2).reshape(x.shape)
        x = norm(x + linear(mixed, layer + "attention.output.dense"), layer + "attention.output.LayerNorm")
        inner = linear(x, layer + "intermediate.dense")
        inner = inner * 0.5 * (1 + ERF(inner / math.sqrt(2)))
        x = norm(x + linear(inner, layer + "output.dense"), layer + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def main():
    if len(sys.argv) > 3:
        sys.exit(__doc__)
    arguments = [pathlib.Path(a) for a in sys.argv[1:]]
    folder = arguments[0] if arguments else tokenizer_oracle.model_path("minilm-l6")
    output = arguments[1] if len(arguments) == 2 else HERE / "embeddings.json"
    if not (folder / "model.safetensors").exists():
        print(f"{os.path.relpath(output)} stays as it is: ./dev model minilm-l6")
        return
    config, tensors = json.loads((folder / "config.json").read_text()), weights(folder)
    tokenizer = tokenizer_reference.reference(folder)
    around = [tokenizer.id_of(token) for token in ("[CLS]", "[SEP]")]
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        kept = [around[0], *ids[: MAX_TOKENS - 2], around[1]]
        embedding = embed(tensors, config, kept).astype("<f4")
        encoded = base64.b64encode(embedding.tobytes()).decode()
        cases.append({"text": text, "truncated": len(ids) > MAX_TOKENS - 2, "ids": kept, "embedding": encoded})
    golden = {"by": f"numpy {np.__version__} in double precision, ids by {tokenizer.name}", "cases": cases}
    output.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
