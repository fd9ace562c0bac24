// What kv(fill) writes: cells of layers a row did not run, held against the plain forward pass in double precision.
// Next: tests/engine/signals_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/plain_forward.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;

constexpr int32_t kLayers = 4;
constexpr int32_t kRows = 16;

// Lets each position leave after the layers it is told.
struct leave_as_told {
  const int32_t* depths;  // [positions]
  static constexpr StageTraits traits{"leave_as_told", StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer >= depths[step.position]) decision.verdict = Verdict::exit;
    return decision;
  }
};

// The root mean square of the difference of two rows of logits, over the spread of the first.
double difference(const std::vector<double>& expected, std::span<const float> found) {
  const auto n = static_cast<double>(expected.size());
  double mean = 0, spread = 0, squares = 0;
  for (const double value : expected) mean += value / n;
  for (size_t i = 0; i < expected.size(); ++i) {
    spread += (expected[i] - mean) * (expected[i] - mean) / n;
    squares += (expected[i] - found[i]) * (expected[i] - found[i]) / n;
  }
  return std::sqrt(squares / spread);
}

// Single-precision sums of up to 96 products in a tree of lanes: 1e-6 of their size, in about eight products one after
// another, as a random walk: 3e-6; 8e-6 leaves room for unlucky rows. A cell of zeros or one that is not rotated moves
// the logits by 1e-2 and more.
constexpr double kSumsOfFloats = 8e-6;

class Fill : public ::testing::TestWithParam<const char*> {
 protected:
  const Model model_ = testing::tiny_model({.family = GetParam(),
                                            .n_layers = kLayers,
                                            .vocab = 128,
                                            .window_pattern = 2,
                                            .tokenizer = testing::TinyVocab::none},
                                           {.numerics = Numerics::exact});
  const std::vector<int32_t> ids_ = random_ids(kRows, 128, 31);

  Session session() const {
    return Session::make(model_, {.max_tokens = 64, .max_rows = 32, .max_logit_rows = 32, .kv = DType::f32}).value();
  }
  void expect_plain(const std::vector<int32_t>& depths) const {
    const auto plain = testing::plain_logits(model_, ids_, {.depths = depths});
    const Policy policy = leave_as_told{depths.data()};
    for (const int32_t chunk : {1, 7, kRows}) {
      Session s = session();
      const Outcome found = testing::run(s, ids_, {.chunk = chunk, .policy = policy.ref()});
      for (size_t p = 0; p < plain.size(); ++p) {
        EXPECT_EQ(found.rows[p].depth, static_cast<float>(depths[p]));
        EXPECT_LE(difference(plain[p], std::span(found.logits).subspan(p * 128, 128)), kSumsOfFloats)
            << "chunk " << chunk << " position " << p;
      }
    }
  }
};

TEST_P(Fill, ProjectsKeysAndValuesFromTheStateARowLeftWith) {
  std::vector<int32_t> depths(kRows, 1);
  depths.back() = kLayers;
  expect_plain(depths);
}

TEST_P(Fill, HoldsWhereRowsLeaveAtLayersOfTheirOwn) {
  std::vector<int32_t> depths(kRows);
  for (size_t p = 0; p < depths.size(); ++p) depths[p] = 1 + static_cast<int32_t>(p * 5 % kLayers);
  depths.back() = kLayers;
  expect_plain(depths);
}

INSTANTIATE_TEST_SUITE_P(Families, Fill, ::testing::Values("gemma3", "llama", "qwen2", "qwen3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace fathom
