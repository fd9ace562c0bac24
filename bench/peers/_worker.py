"""Runs inside the peers' environment: evaluates ids in llama.cpp, one JSON request a line. Next: throughput.py.

usage: _worker.py MODEL THREADS CONTEXT
"""

import ctypes
import json
import sys
import time

import llama_cpp as llama
import numpy as np

LOG_LEVEL_ERROR = 4  # of ggml.h


class Evaluator:
    """One context with flash attention, batches of 512 and its default cache (f16)."""

    def __init__(self, path, threads, context):
        llama.llama_backend_init()
        model_params = llama.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, 512, 512
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama.llama_init_from_model(self.model, params)
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.batch = llama.llama_batch_init(512, 0, 1)

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def run(self, ids, first_position, all_logits=False):
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, first_position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or i + 1 == len(ids)
        if llama.llama_decode(self.context, batch) != 0:
            sys.exit(f"llama_decode fails for {len(ids)} tokens at position {first_position}")
        llama.llama_synchronize(self.context)

    def logits(self, row):
        pointer = llama.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self.n_vocab,))

    def decode(self, prompt, ids):
        self.clear()
        self.run(prompt, 0)
        begin = time.perf_counter()
        for i, token in enumerate(ids):
            self.run([token], len(prompt) + i)
        return {"seconds": time.perf_counter() - begin}

    def prefill(self, ids):
        self.clear()
        begin = time.perf_counter()
        self.run(ids, 0)
        return {"seconds": time.perf_counter() - begin}

    def score(self, windows):
        scored = []
        for ids in windows:
            self.clear()
            self.run(ids, 0, all_logits=True)
            cells = []
            for row, target in enumerate(ids[1:]):
                logits = self.logits(row).astype(np.float64)
                top = int(logits.argmax())
                log_sum = logits[top] + np.log(np.exp(logits - logits[top]).sum())
                cells.append((top, float(log_sum - logits[target])))
            scored.append(cells)
        return {"windows": scored}


@llama.llama_log_callback
def errors_only(level, text, _):
    if level == LOG_LEVEL_ERROR:
        sys.stderr.buffer.write(text)


def main():
    llama.llama_log_set(errors_only, None)
    evaluator = Evaluator(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"system": llama.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        work = getattr(evaluator, request.pop("work"))
        print(json.dumps(work(**request)), flush=True)


if __name__ == "__main__":
    main()
