"""A model in plain f32 numpy, from the dequantised tensors of its GGUF file: the independent side of the f32 check.

Runs inside the peers' environment and speaks the protocol of ../peers/_worker.py. Layers are dequantised one at a time
and applied to all windows, so that memory stays below one layer and the head. Families: gemma3, qwen2.
usage: _f32.py MODEL
"""

import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.tensors = {t.name: t for t in reader.tensors}
        self.fields = reader.fields
        self.family = self.value("general.architecture")
        if self.family not in ("gemma3", "qwen2"):
            sys.exit(f"family {self.family} is not gemma3 or qwen2: this check does not know it")
        self.gemma = self.family == "gemma3"
        self.n_layers = self.key("block_count")
        self.heads, self.kv_heads = self.key("attention.head_count"), self.key("attention.head_count_kv")
        self.width = self.key("embedding_length")
        self.head_dim = self.key("attention.key_length", self.width // self.heads)
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.rope_base = self.key("rope.freq_base")

    def value(self, name, default=None):
        return self.fields[name].contents() if name in self.fields else default

    def key(self, name, default=None):
        return self.value(f"{self.family}.{name}", default)

    def tensor(self, name):
        t = self.tensors[name]
        return np.asarray(dequantize(t.data, t.tensor_type), np.float32).reshape(t.shape[::-1])

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.eps)) * self.tensor(name)

    def project(self, x, name):
        y = x @ self.tensor(f"{name}.weight").T
        return y + self.tensor(f"{name}.bias") if f"{name}.bias" in self.tensors else y

    def rotate(self, x, layer):
        """x [rows, heads, head_dim]: the halves are rotated against each other; Gemma's local layers have base 1e4."""
        base = 10000.0 if self.gemma and (layer + 1) % 6 != 0 else self.rope_base
        half = self.head_dim // 2
        angle = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
        cos, sin = (f(angle).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x, layer):
        p = f"blk.{layer}."
        split = lambda y, n: y.reshape(len(x), n, self.head_dim)
        q = split(self.project(x, p + "attn_q"), self.heads)
        k = split(self.project(x, p + "attn_k"), self.kv_heads)
        v = split(self.project(x, p + "attn_v"), self.kv_heads)
        if self.gemma:
            q, k = self.norm(q, p + "attn_q_norm.weight"), self.norm(k, p + "attn_k_norm.weight")
        q, k = self.rotate(q, layer), self.rotate(k, layer)
        k, v = (np.repeat(y, self.heads // self.kv_heads, axis=1) for y in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.float32(np.sqrt(self.head_dim))
        scores[:, ~np.tri(len(x), dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return self.project(np.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1), p + "attn_output")

    def feed_forward(self, x, layer):
        p = f"blk.{layer}."
        gate, up = self.project(x, p + "ffn_gate"), self.project(x, p + "ffn_up")
        if self.gemma:
            gate = 0.5 * gate * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (gate + np.float32(0.044715) * gate**3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.project(gate * up, p + "ffn_down")

    def layer(self, x, layer):
        p = f"blk.{layer}."
        y = self.attention(self.norm(x, p + "attn_norm.weight"), layer)
        x = x + (self.norm(y, p + "post_attention_norm.weight") if self.gemma else y)
        y = self.feed_forward(self.norm(x, p + "ffn_norm.weight"), layer)
        return x + (self.norm(y, p + "post_ffw_norm.weight") if self.gemma else y)

    def score(self, windows):
        embedding = self.tensor("token_embd.weight")
        states = [embedding[ids] * np.float32(np.sqrt(self.width) if self.gemma else 1) for ids in windows]
        for layer in range(self.n_layers):
            states = [self.layer(x, layer) for x in states]
        head = self.tensor("output.weight") if "output.weight" in self.tensors else embedding
        states = [self.norm(x, "output_norm.weight") for x in states]
        return {"windows": [self.cells(ids, x, head) for ids, x in zip(windows, states)]}

    def cells(self, ids, x, head):
        """(argmax, nll) of each cell after the first; 64 rows at a time, for a vocabulary makes rows long."""
        found = []
        for at in range(0, len(ids) - 1, 64):
            rows = x[at:at + 64] @ head.T
            for row, target in zip(rows.astype(np.float64), ids[at + 1:at + 65]):
                top = int(row.argmax())
                found.append((top, float(row[top] + np.log(np.exp(row - row[top]).sum()) - row[target])))
        return found


def main():
    model = Model(sys.argv[1])
    print(json.dumps({"system": f"numpy {np.__version__}"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(model.score(json.loads(line)["windows"])), flush=True)


if __name__ == "__main__":
    main()
