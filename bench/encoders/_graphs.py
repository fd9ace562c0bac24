"""MiniLM as other engines read it, made from the folder's safetensors: an ONNX graph and a CTranslate2 model.

Runs inside the peers' environment. Next: _worker.py, which runs them.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np

OPSET = 20  # the first with Gelu


class Folder:
    """config.json, and the tensors as f32 by name."""

    def __init__(self, path):
        self.path = Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        data = (self.path / "model.safetensors").read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        self.tensors = {}
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                begin, end = (8 + size + at for at in entry["data_offsets"])
                self.tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])


def onnx_graph(folder, output):
    """Writes the graph: ids and mask [batch, length] to the rows behind the last layer [batch, length, width].

    Standard operators in the patterns that ONNX Runtime's own optimizer knows how to fuse.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, constants = [], []
    config = folder.config
    heads, width, eps = config["num_attention_heads"], config["hidden_size"], config["layer_norm_eps"]

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(name, array):
        return constant(name, array.astype(np.float32))

    def linear(x, name):
        product = node("MatMul", [x, weight(name + ".w", folder.tensors[name + ".weight"].T)], name + ".product")
        return node("Add", [weight(name + ".b", folder.tensors[name + ".bias"]), product], name + ".sum")

    def norm(x, name):
        scale, bias = (weight(name + part, folder.tensors[name + part]) for part in (".weight", ".bias"))
        return node("LayerNormalization", [x, scale, bias], name + ".out", axis=-1, epsilon=eps)

    def embedded(ids, name):
        table = weight(name, folder.tensors[f"embeddings.{name}.weight"])
        return node("Gather", [table, ids], name + ".rows")

    def shape(*dims):
        name = "shape " + " ".join(map(str, dims))
        return name if any(c.name == name for c in constants) else constant(name, np.array(dims, np.int64))

    def split(x, name, perm):
        parts = node("Reshape", [x, shape(0, 0, heads, width // heads)], name + ".parts")
        return node("Transpose", [parts], name + ".heads", perm=perm)

    places = node("Slice", [constant("places", np.arange(512)[None]), shape(0), node("Slice", [
        node("Shape", ["ids"], "ids.shape"), shape(1), shape(2)], "length"), shape(1)], "positions")
    first = weight("segment", folder.tensors["embeddings.token_type_embeddings.weight"][0])
    x = node("Add", [embedded("ids", "word_embeddings"), first], "words")
    x = norm(node("Add", [x, embedded(places, "position_embeddings")], "embedded"), "embeddings.LayerNorm")
    wide = node("Unsqueeze", [node("Unsqueeze", ["mask", shape(1)], "mask.heads"), shape(2)], "mask.wide")
    mask = node("Cast", [wide], "mask.float", to=TensorProto.FLOAT)
    one, least = constant("one", np.float32(1)), constant("least", np.float32(-1e9))
    mask = node("Mul", [node("Sub", [one, mask], "mask.away"), least], "mask.sum")
    scale = constant("scale", np.float32(math.sqrt(width // heads)))
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, v = (split(linear(x, at + "attention.self." + p), f"{i}.{p}", (0, 2, 1, 3)) for p in ("query", "value"))
        k = split(linear(x, at + "attention.self.key"), f"{i}.key", (0, 2, 3, 1))
        scores = node("Div", [node("MatMul", [q, k], f"{i}.qk"), scale], f"{i}.scores")
        shares = node("Softmax", [node("Add", [scores, mask], f"{i}.masked")], f"{i}.shares", axis=-1)
        mixed = node("Transpose", [node("MatMul", [shares, v], f"{i}.mixed")], f"{i}.turned", perm=(0, 2, 1, 3))
        mixed = node("Reshape", [mixed, shape(0, 0, width)], f"{i}.joined")
        out = linear(mixed, at + "attention.output.dense")
        x = norm(node("Add", [out, x], f"{i}.first"), at + "attention.output.LayerNorm")
        inner = node("Gelu", [linear(x, at + "intermediate.dense")], f"{i}.inner")
        x = norm(node("Add", [linear(inner, at + "output.dense"), x], f"{i}.second"), at + "output.LayerNorm")

    def value(name, kind, dims):
        return helper.make_tensor_value_info(name, kind, dims)

    inputs = [value(name, TensorProto.INT64, ["batch", "length"]) for name in ("ids", "mask")]
    nodes.append(helper.make_node("Identity", [x], ["rows"], name="rows"))
    graph = helper.make_graph(nodes, "encoder", inputs,
                              [value("rows", TensorProto.FLOAT, ["batch", "length", width])], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10), output)


def ctranslate2_model(folder, output):
    """Writes the folder that CTranslate2 reads, as its own converter of BertModel makes it."""
    from ctranslate2.specs import common_spec, transformer_spec

    config, tensors = folder.config, folder.tensors
    encoder = transformer_spec.TransformerEncoderSpec(
        config["num_hidden_layers"], config["num_attention_heads"], pre_norm=False,
        activation=common_spec.Activation.GELU, layernorm_embedding=True, num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD)
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)

    def linear(dst, *names):
        dst.weight = np.concatenate([tensors[name + ".weight"] for name in names])
        dst.bias = np.concatenate([tensors[name + ".bias"] for name in names])

    def norm(dst, name):
        dst.gamma, dst.beta = tensors[name + ".weight"], tensors[name + ".bias"]

    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = tensors["embeddings.word_embeddings.weight"]
    encoder.embeddings[1].weight = tensors["embeddings.token_type_embeddings.weight"]
    encoder.position_encodings.encodings = tensors["embeddings.position_embeddings.weight"]
    norm(encoder.layernorm_embedding, "embeddings.LayerNorm")
    for i, layer in enumerate(encoder.layer):
        at = f"encoder.layer.{i}."
        linear(layer.self_attention.linear[0], *(at + "attention.self." + p for p in ("query", "key", "value")))
        linear(layer.self_attention.linear[1], at + "attention.output.dense")
        norm(layer.self_attention.layer_norm, at + "attention.output.LayerNorm")
        linear(layer.ffn.linear_0, at + "intermediate.dense")
        linear(layer.ffn.linear_1, at + "output.dense")
        norm(layer.ffn.layer_norm, at + "output.LayerNorm")
    spec.config.unk_token = "[UNK]"
    spec.config.layer_norm_epsilon = config["layer_norm_eps"]
    spec.register_vocabulary((folder.path / "vocab.txt").read_text().splitlines())
    spec.validate()
    Path(output).mkdir(parents=True, exist_ok=True)
    spec.save(str(output))
