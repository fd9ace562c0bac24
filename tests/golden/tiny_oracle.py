#!/usr/bin/env python3
"""Evaluates the tiny models of tests/golden/tiny_cases.h in llama.cpp and writes tests/golden/tiny.json.

usage: tiny_oracle.py [TINY_DUMP] [OUTPUT]

TINY_DUMP (build/release/tests/tiny_dump) is built from tests/golden/tools/tiny_dump.cc: it writes the model files, bit
for bit the same on every machine. Needs llama-cpp-python. F32 cache, no flash attention, one thread: the settings in which llama.cpp
rounds least. The golden holds logits at a few positions as base64 of little-endian f32, and each file's XXH3.
"""

import base64
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

GGML_TYPE_F32 = 0


@llama_cpp.llama_log_callback
def quiet(level, text, user_data):
    pass


def evaluate(path, prompt, vocab):
    """Logits of every position: [prompt, vocab]."""
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    # Repacked weights take other code paths than the plain ones that define the result.
    if hasattr(model_params, "use_extra_bufts"):
        model_params.use_extra_bufts = False
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        raise SystemExit(f"{path}: llama.cpp does not load it")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = GGML_TYPE_F32
    params.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"{path}: llama.cpp makes no context")
    n = len(prompt)
    batch = llama_cpp.llama_batch_init(n, 0, 1)
    batch.n_tokens = n
    for i, token in enumerate(prompt):
        batch.token[i] = token
        batch.pos[i] = i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = 1
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit(f"{path}: llama.cpp does not decode it")
    rows = [
        np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), shape=(vocab,)).copy() for i in range(n)
    ]
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.stack(rows)


def main():
    if len(sys.argv) > 3:
        sys.exit(__doc__)
    here = pathlib.Path(__file__).resolve().parent
    arguments = [pathlib.Path(a) for a in sys.argv[1:]]
    dump = arguments[0] if arguments else here.parents[1] / "build/release/tests/tiny_dump"
    output = arguments[1] if len(arguments) == 2 else here / "tiny.json"
    if not dump.exists():
        sys.exit(f"{dump}: is missing: cmake --build build/release --target tiny_dump")
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([dump, directory], check=True)
        listed = json.loads((pathlib.Path(directory) / "cases.json").read_text())
        cases = []
        for case in listed["cases"]:
            logits = evaluate(pathlib.Path(directory) / case["file"], listed["prompt"], listed["vocab"])
            assert np.isfinite(logits).all(), case["name"]
            chosen = logits[listed["positions"]].astype("<f4")
            cases.append(
                {"name": case["name"], "xxh3": case["xxh3"], "logits": base64.b64encode(chosen.tobytes()).decode()}
            )
            print(f"{case['name']}: spread {chosen.std():.3f}", file=sys.stderr)
    golden = {"by": f"llama-cpp-python {llama_cpp.__version__}", "positions": listed["positions"], "cases": cases}
    output.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
