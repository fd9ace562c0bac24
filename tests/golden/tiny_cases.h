// The tiny models that another engine has evaluated: options, prompt and positions, one list for both sides.
// Next: tests/golden/tools/tiny_dump.cc writes them as files, tests/golden/tiny_oracle.py has them evaluated,
// tests/golden/tiny_golden_test.cc compares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/tiny_blocks.h"
#include "tests/support/tiny_model.h"

namespace fathom::testing {

struct TinyCase {
  std::string name;  // family/type or family/variant
  TinyOptions options;
};

inline constexpr int32_t kTinyVocab = 128;
inline constexpr int32_t kTinyPrompt = 40;                  // tokens; five windows of gemma3's 8
inline constexpr int32_t kTinyPositions[] = {2, 5, 9, 39};  // before, just past and far past gemma3's window

/// Every family with every weight type, and what single families have alone.
inline std::vector<TinyCase> tiny_cases() {
  std::vector<TinyCase> cases;
  for (const char* family : {"gemma3", "llama", "qwen2", "qwen3"}) {
    const bool gemma = family == std::string("gemma3");
    for (int type = 0; type < kDTypes; ++type) {
      // With a pattern of 2 both of gemma3's kinds of layers fit into two.
      const TinyOptions options{.family = family,
                                .n_layers = 2,
                                .vocab = kTinyVocab,
                                .window_pattern = gemma ? 2 : 0,
                                .type = static_cast<DType>(type),
                                .tokenizer = TinyVocab::none,
                                .seed = static_cast<uint64_t>(100 + type)};
      cases.push_back({std::string(family) + "/" + std::string(kDTypeInfo[type].name), options});
    }
  }
  const auto base = [](const char* family, int32_t n_layers) {
    return TinyOptions{
        .family = family, .n_layers = n_layers, .vocab = kTinyVocab, .tokenizer = TinyVocab::none, .seed = 7};
  };
  TinyOptions gemma = base("gemma3", 7), factors = base("llama", 2), grouped = base("llama", 2),
              tied = base("qwen3", 2);
  gemma.tied_head = true;
  factors.rope_factors = true;
  grouped.kv_heads = 1;
  tied.tied_head = true;
  cases.push_back({"gemma3/seven layers, tied", gemma});
  cases.push_back({"llama/rope factors", factors});
  cases.push_back({"llama/one KV head", grouped});
  cases.push_back({"qwen3/tied", tied});
  return cases;
}

/// The prompt of every case: ids drawn once.
inline std::vector<int32_t> tiny_prompt() {
  Random random(11, "prompt");
  std::vector<int32_t> ids(kTinyPrompt);
  for (int32_t& id : ids) id = random.below(kTinyVocab);
  return ids;
}

}  // namespace fathom::testing
