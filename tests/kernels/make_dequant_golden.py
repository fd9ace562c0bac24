#!/usr/bin/env python3
"""Writes tests/kernels/dequant_golden.h: two blocks of each quantised type as gguf.quants.dequantize reads them.

Needs PyPI's gguf (0.19) and numpy:  python3 tests/kernels/make_dequant_golden.py > tests/kernels/dequant_golden.h
"""
import numpy as np
from gguf import GGMLQuantizationType, quants

# name, bytes of a block, places of its f16 scales
TYPES = [("q4_0", 18, [0]), ("q5_0", 22, [0]), ("q8_0", 34, [0]),
         ("q4_k", 144, [0, 2]), ("q5_k", 176, [0, 2]), ("q6_k", 210, [208])]


def main():
    rng = np.random.default_rng(20)
    print("// Blocks and their numbers (f32, as hexadecimal bytes), made by make_dequant_golden.py. Read by ref_test.cc.")
    print("#pragma once\n\n#include \"fathom/core/dtype.h\"\n")
    print("namespace fathom::testing {\n")
    print("struct DequantGolden {\n  DType type;\n  const char* blocks;\n  const char* numbers;\n};\n")
    print("inline constexpr DequantGolden kDequantGolden[] = {")
    for name, size, scales in TYPES:
        raw = rng.integers(0, 256, (1, 2 * size), dtype=np.uint8)
        for block in range(2):
            for at in scales:
                scale = np.array([rng.normal() * 0.05], np.float16).view(np.uint8)
                raw[0, block * size + at:block * size + at + 2] = scale
        numbers = quants.dequantize(raw, GGMLQuantizationType[name.upper()]).astype("<f4")
        print(f"    {{DType::{name},")
        for text, end in ((raw.tobytes().hex(), ","), (numbers.tobytes().hex(), "},")):
            lines = [text[i:i + 104] for i in range(0, len(text), 104)]
            print("\n".join(f'     "{line}"' for line in lines) + end)
    print("};\n\n}  // namespace fathom::testing")


main()
