// Invariant 1: full depth gives the same bits whatever the batch, its composition, the threads and the chunking.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/abi.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::run;
using testing::TinyOptions;

// Index of the first number whose bits differ, or -1.
int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return static_cast<int64_t>(std::min(a.size(), b.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return static_cast<int64_t>(i);
  }
  return -1;
}

struct Case {
  const char* family;
  DType type;
  Numerics numerics = Numerics::fast;
  int32_t positions = 70;  // past one page; 270 go past an attention chunk
};

class FullDepth : public ::testing::TestWithParam<Case> {
 protected:
  Model open(const char* target) {
    return testing::tiny_model({.family = GetParam().family, .n_layers = 3, .type = GetParam().type},
                               {.numerics = GetParam().numerics, .target = target});
  }
  static Session session(const Model& model, int threads = 1) {
    return Session::make(
               model,
               {.max_tokens = 300, .max_sequences = 17, .max_rows = 300, .max_logit_rows = 300, .threads = threads})
        .value();
  }
};

std::vector<const char*> targets() {
  int32_t n = 0;
  const KernelTable* const* tables = kernels::cpu(&n);
  std::vector<const char*> names{"ref"};
  for (int32_t i = 0; i < n; ++i) names.push_back(tables[i]->name);
  return names;
}

TEST_P(FullDepth, IsBitEqualWhateverTheChunkingAndTheThreads) {
  for (const char* target : targets()) {
    SCOPED_TRACE(target);
    const Model model = open(target);
    const auto ids = random_ids(GetParam().positions, model.config().vocab, 7);
    Session one = session(model);
    const Outcome reference = run(one, ids, {.chunk = 1});
    Session two = session(model, 2);
    for (int32_t chunk : {7, 64, 300}) {
      EXPECT_EQ(first_difference(run(two, ids, {.chunk = chunk}).logits, reference.logits), -1) << "chunk " << chunk;
    }
    EXPECT_EQ(first_difference(run(one, ids, {.chunk = 64}).logits, reference.logits), -1) << "one thread";
  }
}

TEST_P(FullDepth, IsBitEqualWhateverStandsBesideARow) {
  const Model model = open(nullptr);
  const auto ids = random_ids(20, model.config().vocab, 11);
  Session alone = session(model);
  const Outcome reference = run(alone, ids, {.chunk = 20});
  for (int32_t batch : {2, 5, 16}) {
    Session s = session(model, 2);
    std::vector<float> seen;
    for (int32_t position = 0; position < 20; ++position) {
      std::vector<Row> rows;
      for (int32_t b = 0; b < batch; ++b) {
        const int32_t token = b == batch / 2 ? ids[static_cast<size_t>(position)] : (position * 31 + b * 17) % 300;
        rows.push_back({.token = token, .sequence = b, .position = position, .logits = true});
      }
      const StepResult result = s.step(rows).value();
      const auto mine = result.logits[batch / 2].flat();
      seen.insert(seen.end(), mine.begin(), mine.end());
    }
    EXPECT_EQ(first_difference(seen, reference.logits), -1) << "batch of " << batch;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FullDepth,
                         ::testing::Values(Case{"qwen2", DType::q5_0, Numerics::fast, 270}, Case{"qwen2", DType::q8_0},
                                           Case{"gemma3", DType::q8_0, Numerics::faithful, 270},
                                           Case{"llama", DType::q6_k, Numerics::faithful},
                                           Case{"qwen3", DType::q4_k, Numerics::faithful}, Case{"gemma3", DType::q4_0},
                                           Case{"gemma3", DType::q8_0}, Case{"llama", DType::q4_k},
                                           Case{"llama", DType::q6_k}, Case{"qwen3", DType::q5_k},
                                           Case{"qwen3", DType::f32}, Case{"llama", DType::f16},
                                           Case{"qwen2", DType::bf16}),
                         [](const auto& info) {
                           return fmt::format("{}_{}_{}", info.param.family, fathom::info(info.param.type).name,
                                              name_of(info.param.numerics));
                         });

}  // namespace
}  // namespace fathom
