"""Runs inside the peers' environment: one engine with MiniLM, one JSON request a line. Next: texts.cc, our side.

Ids are made before anything is timed; batches are padded to their longest text and pooled by numpy, both timed.
usage: _worker.py ENGINE FOLDER THREADS MAX_TOKENS
"""

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import _graphs

BATCH = 32


def padded(batch):
    """(ids, mask) [texts, longest] of lists of ids."""
    longest = max(map(len, batch))
    ids, mask = np.zeros((2, len(batch), longest), np.int64)
    for row, text in enumerate(batch):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return ids, mask


class OnnxRuntime:
    """Its graph optimizations are all on, as is the fusion of attention that it ships for BERT; int8 is dynamic."""

    def __init__(self, folder, threads, scratch, int8):
        import onnxruntime
        from onnxruntime.transformers import optimizer

        path, config = scratch / "graph.onnx", folder.config
        _graphs.onnx_graph(folder, path)
        fused = optimizer.optimize_model(str(path), "bert", config["num_attention_heads"], config["hidden_size"], opt_level=0)
        if fused.get_fused_operator_statistics()["Attention"] != config["num_hidden_layers"]:
            sys.exit("onnxruntime did not fuse the attention of every layer: its fusions have changed")
        fused.save_model_to_file(str(path))
        if int8:
            from onnx import TensorProto
            from onnxruntime.quantization import quantize_dynamic

            logging.disable(logging.WARNING)  # it wants a preparation that the fusions have made already
            # Behind a fused node nothing tells it the type.
            quantize_dynamic(path, scratch / "int8.onnx", extra_options={"DefaultTensorType": TensorProto.FLOAT})
            path = scratch / "int8.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.system = f"onnxruntime {onnxruntime.__version__}"

    def rows(self, ids, mask):
        return self.session.run(None, {"ids": ids, "mask": mask})[0]


class OpenVino:
    def __init__(self, folder, threads, scratch, int8):
        import openvino

        assert not int8
        _graphs.onnx_graph(folder, scratch / "graph.onnx")
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.model = core.compile_model(core.read_model(scratch / "graph.onnx"), "CPU", settings)
        self.request = self.model.create_infer_request()
        self.system = f"openvino {openvino.__version__}"

    def rows(self, ids, mask):
        return self.request.infer({"ids": ids, "mask": mask})[self.model.output(0)]


class CTranslate2:
    def __init__(self, folder, threads, scratch, int8):
        import ctranslate2

        _graphs.ctranslate2_model(folder, scratch / "model")
        self.storage = ctranslate2.StorageView
        self.encoder = ctranslate2.Encoder(str(scratch / "model"), device="cpu", intra_threads=threads, inter_threads=1,
                                           compute_type="int8" if int8 else "float32")
        self.system = f"ctranslate2 {ctranslate2.__version__}"

    def rows(self, ids, mask):
        lengths = self.storage.from_array(mask.sum(1).astype(np.int32))
        out = self.encoder.forward_batch(self.storage.from_array(ids.astype(np.int32)), lengths=lengths)
        return np.array(out.last_hidden_state)


ENGINES = {"onnxruntime": OnnxRuntime, "ctranslate2": CTranslate2, "openvino": OpenVino}


class Side:
    def __init__(self, engine, max_tokens, tokenizer):
        self.engine, self.max_tokens, self.tokenizer, self.kept = engine, max_tokens, tokenizer, {}
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def cut(self, text, tokens, count):
        """`count` texts out of a long one, each of so many tokens, those around it included."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        each, texts = tokens - 2, []
        for at in range(0, len(offsets) - each, each // 2):
            piece = text[offsets[at][0] : offsets[at + each - 1][1]]
            if len(self.tokenizer.encode(piece).ids) == tokens:
                texts.append(piece)
        return {"texts": texts[:count]}

    def keep(self, name, texts):
        self.tokenizer.enable_truncation(self.max_tokens)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        self.tokenizer.no_truncation()
        self.kept[name] = ids
        return {"tokens": sum(map(len, ids))}

    def lengths(self, name):
        return {"lengths": [len(ids) for ids in self.kept[name]]}

    def batch(self, ids):
        ids, mask = padded(ids)
        rows = self.engine.rows(ids, mask) * mask[..., None]
        mean = rows.sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def run(self, name, batch, sort=False):
        """Texts in batches; 0: of BATCH. Sorted by length, or in the caller's order."""
        begin = time.perf_counter()
        all_ids = self.kept[name]
        order = sorted(range(len(all_ids)), key=lambda i: len(all_ids[i])) if sort else range(len(all_ids))
        embeddings, each = [None] * len(all_ids), batch or BATCH
        for at in range(0, len(order), each):
            members = order[at : at + each]
            for i, embedding in zip(members, self.batch([all_ids[i] for i in members])):
                embeddings[i] = embedding
        return {"seconds": time.perf_counter() - begin}

    def embeddings(self, name, first):
        return {"embeddings": [self.batch([ids])[0].astype(float).tolist() for ids in self.kept[name][:first]]}


def main():
    engine, folder, threads, max_tokens = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5])
    name, _, kind = engine.partition("-")
    with tempfile.TemporaryDirectory() as scratch:
        made = ENGINES[name](_graphs.Folder(folder), threads, Path(scratch), kind == "int8")
        side = Side(made, max_tokens, Tokenizer.from_file(str(folder / "tokenizer.json")))
        print(json.dumps({"system": made.system}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(getattr(side, request.pop("work"))(**request)), flush=True)


if __name__ == "__main__":
    main()
