// Invariant 1 on a real model: gemma3-270m at full depth, the same bits however it is run.
#include <gtest/gtest.h>

#include <cstring>

#include "fathom/engine/generate.h"
#include "tests/support/real_model.h"
#include "tests/support/sessions.h"

namespace fathom {
namespace {

constexpr const char* kModel = "gemma3-270m";
constexpr const char* kText =
    "The lighthouse keeper wrote down the weather every evening: wind from the north-west, rain after midnight, a ship "
    "with two masts. def add(a, b):\n    return a + b\n\nLa mer est calme. Das Wetter bleibt kalt. 1234567890\n";

std::vector<int32_t> text_ids(const Model& model, size_t n) {
  std::vector<int32_t> ids = model.tokenizer().encode(kText).value();
  while (ids.size() < n) ids.insert(ids.end(), ids.begin() + 1, ids.begin() + 40);
  ids.resize(n);
  return ids;
}

Session session(const Model& model, int threads, int32_t sequences = 1) {
  return Session::make(model, {.max_tokens = 128,
                               .max_sequences = sequences,
                               .max_rows = 128,
                               .max_logit_rows = 128,
                               .threads = threads})
      .value();
}

TEST(FullDepthOfGemma, IsBitEqualWhateverTheChunkingAndTheThreads) {
  FATHOM_NEEDS_MODEL(kModel);
  for (const Numerics numerics : {Numerics::fast, Numerics::faithful}) {
    const Model model = *testing::real_model(kModel, {.numerics = numerics, .threads = 2});
    const auto ids = text_ids(model, 72);
    Session one = session(model, 1), two = session(model, 2);
    const auto reference = testing::run(one, ids, {.chunk = 1}).logits;
    for (int32_t chunk : {7, 64, 72}) {
      const auto seen = testing::run(two, ids, {.chunk = chunk}).logits;
      ASSERT_EQ(seen.size(), reference.size());
      EXPECT_EQ(std::memcmp(seen.data(), reference.data(), seen.size() * sizeof(float)), 0)
          << name_of(numerics) << ", chunk " << chunk;
    }
  }
}

TEST(FullDepthOfGemma, IsBitEqualInEveryBatchOfOneToSixteen) {
  FATHOM_NEEDS_MODEL(kModel);
  const Model model = *testing::real_model(kModel);
  const auto ids = text_ids(model, 6);
  Session alone = session(model, 2);
  const auto reference = testing::run(alone, ids, {.chunk = 6}).logits;
  for (int32_t batch = 2; batch <= 16; ++batch) {
    Session s = session(model, 2, batch);
    std::vector<float> seen;
    for (int32_t p = 0; p < 6; ++p) {
      std::vector<Row> rows;
      for (int32_t b = 0; b < batch; ++b) {
        rows.push_back({.token = b == batch - 1 ? ids[size_t(p)] : 1000 + 77 * b + p,
                        .sequence = b,
                        .position = p,
                        .logits = b == batch - 1});
      }
      const StepResult result = s.step(rows).value();
      const auto mine = result.logits[0].flat();
      seen.insert(seen.end(), mine.begin(), mine.end());
    }
    EXPECT_EQ(std::memcmp(seen.data(), reference.data(), seen.size() * sizeof(float)), 0) << "batch of " << batch;
  }
}

TEST(FullDepthOfGemma, ContinuesTextSensibly) {
  FATHOM_NEEDS_MODEL(kModel);
  const Model model = *testing::real_model(kModel);
  Session s = session(model, 2);
  const Generation out = generate(s, "The capital of France is", {.max_new_tokens = 8}).value();
  EXPECT_EQ(out.tokens.size(), 8u);
  EXPECT_NE(out.text.find("France"), std::string::npos) << out.text;
}

}  // namespace
}  // namespace fathom
