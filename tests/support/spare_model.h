// Models with spare depth: for most tokens the later layers change nothing, and the state says for which.
// Next: tests/support/spare_writer.cc, their weights.
//
//   state, in sixteenths of d_model:  token 4 | bit 1 | anchor 1 | bit before 1 | flag 1 | answer 6 | free 2
//
// Token and answer are codes of +-1 that are nearly orthogonal. Layer 1's first head copies the bit of the row before.
// From layer 2 on, a neuron that knows one context (a word and the bit before it) replaces the answer and sets the
// flag: + settled, - still on its way, and none before the first answer. Later neurons read it too: they are shut for
// settled rows. A few contexts show no flag, and a few hard ones a false one. The anchor is the same in every row, and
// what thresholds are measured against. Noise stands everywhere else.
#pragma once

#include <span>
#include <string>

#include "tests/support/gguf_writer.h"
#include "tests/support/spare_language.h"

namespace fathom::testing {

/// Where the parts of a state begin, in numbers; the next begins where one ends.
struct SpareLayout {
  explicit SpareLayout(int32_t d_model) : unit(d_model / 16) {}
  int32_t unit;
  int32_t token() const { return 0; }
  int32_t bit() const { return 4 * unit; }
  int32_t anchor() const { return 5 * unit; }
  int32_t bit_before() const { return 6 * unit; }
  int32_t flag() const { return 7 * unit; }
  int32_t answer() const { return 8 * unit; }
  int32_t free() const { return 14 * unit; }
};

/// A qwen2 file of Q8_0 matrices. The same options give the same bytes on every machine: noise has powers of two as its
/// deviations and amplitudes are 64ths, so that sums of products are exact, fused or not, before they are rounded to
/// blocks.
GgufWriter spare_writer(const SpareLanguage& language);

/// Signs of the numbers of a part that all rows share: of bit, anchor, bit before and flag.
float spare_sign(int32_t i);

}  // namespace fathom::testing
