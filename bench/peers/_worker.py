"""Runs inside the peers' environment: evaluates ids in llama.cpp, one JSON request a line. Next: steps.cc, our side.

The first line out tells how long loading and the first token's logits took; importing Python's packages is not in it.
usage: _worker.py MODEL THREADS CONTEXT FIRST_TOKEN
"""

import ctypes
import json
import statistics
import sys
import time

import llama_cpp as llama
import numpy as np
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

BATCH = 512
LOG_LEVEL_ERROR = 4  # of ggml.h


class Evaluator:
    """One context with flash attention, batches of BATCH and its default cache (f16)."""

    def __init__(self, path, threads, context):
        llama.llama_backend_init()
        model_params = llama.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, BATCH, BATCH
        params.n_threads = params.n_threads_batch = threads
        params.swa_full = False  # its faster setting: layers with a window keep and read that window only
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama.llama_init_from_model(self.model, params)
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocab)
        self.batch = llama.llama_batch_init(BATCH, 0, 1)
        self.length = 0

    def truncate(self, length):
        """Forgets the cells from `length` on."""
        memory = llama.llama_get_memory(self.context)
        if length == 0:
            llama.llama_memory_clear(memory, True)
        elif not llama.llama_memory_seq_rm(memory, 0, length, -1):
            sys.exit(f"llama.cpp does not forget the cells from {length} on")
        self.length = length

    def run(self, ids, all_logits=False):
        for at in range(0, len(ids), BATCH):
            self.step(ids[at:at + BATCH], all_logits, at + BATCH >= len(ids))

    def step(self, ids, all_logits, last_logits):
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, self.length + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or (last_logits and i + 1 == len(ids))
        if llama.llama_decode(self.context, batch) != 0:
            sys.exit(f"llama_decode fails for {len(ids)} tokens at position {self.length}")
        llama.llama_synchronize(self.context)
        self.length += len(ids)

    def logits(self, row):
        pointer = llama.llama_get_logits_ith(self.context, row)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self.n_vocab,))

    def feed(self, ids):
        begin = time.perf_counter()
        for token in ids:
            self.run([token])
        return time.perf_counter() - begin

    def decode(self, prompt, ids):
        self.truncate(0)
        self.run(prompt)
        return {"seconds": self.feed(ids)}

    def prefill(self, ids):
        self.truncate(0)
        begin = time.perf_counter()
        self.run(ids)
        return {"seconds": time.perf_counter() - begin}

    def resume(self, ids):
        """`decode` after what the cache holds; forgets the ids again."""
        length = self.length
        seconds = self.feed(ids)
        self.truncate(length)
        return {"seconds": seconds}

    def rows(self, ids, repeats):
        """Median seconds of a step of all ids, and of a step of the first, each after what the cache holds."""
        length, every, one = self.length, [], []
        for _ in range(repeats):
            for step, times in ((ids, every), (ids[:1], one)):
                begin = time.perf_counter()
                self.run(step, all_logits=True)
                times.append(time.perf_counter() - begin)
                self.truncate(length)
        return {"seconds": statistics.median(every), "one": statistics.median(one)}

    def write(self, prompt, n, guesses):
        """At most n tokens after a prompt, greedy, the first not timed; guesses of its prompt lookup beside each row."""
        self.truncate(0)
        self.run(prompt)
        text, end = [*prompt, self.best(-1)], len(prompt) + n
        begin = time.perf_counter()
        while len(text) < end and not llama.llama_vocab_is_eog(self.vocab, text[-1]):
            self.write_step(text, min(guesses, end - len(text) - 1))
        seconds = time.perf_counter() - begin
        return {"tokens": len(text) - len(prompt) - 1, "seconds": seconds}

    def write_step(self, text, guesses):
        """One step: appends what follows, as far as the guesses were right, and forgets the others."""
        draft = LlamaPromptLookupDecoding.find_candidate_pred_tokens(np.array(text, np.intc), 2, guesses) if guesses else []
        self.run([text[-1], *map(int, draft)], all_logits=True)
        for row in range(len(draft) + 1):
            text.append(self.best(row))
            over = llama.llama_vocab_is_eog(self.vocab, text[-1])
            if over or row == len(draft) or draft[row] != text[-1]:
                break
        if self.length > len(text) - 1:
            self.truncate(len(text) - 1)

    def best(self, row):
        return int(self.logits(row).argmax())

    def score(self, windows):
        scored = []
        for ids in windows:
            self.truncate(0)
            self.run(ids, all_logits=True)
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
    path, threads, context, first_token = sys.argv[1], *map(int, sys.argv[2:5])
    llama.llama_log_set(errors_only, None)
    begin = time.perf_counter()
    evaluator = Evaluator(path, threads, context)
    evaluator.run([first_token])
    seconds = time.perf_counter() - begin
    system = llama.llama_print_system_info().decode()
    print(json.dumps({"system": system, "load_seconds": seconds}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        work = getattr(evaluator, request.pop("work"))
        print(json.dumps(work(**request)), flush=True)


if __name__ == "__main__":
    main()
