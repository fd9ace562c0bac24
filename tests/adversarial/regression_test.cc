// Worst cases that were found once, run again: they still tempt, limits hold on them, and what promises full depth's
// tokens gives them. They were found, and are found again, by
//   spare_dump DIR small
//   fathom attack -m DIR/spare.gguf --policy "exit_when(confidence_at_least=0.5, from_layer=2)" --tokens 24
//     --sequences 8 -o tests/adversarial/data/spare.jsonl
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fathom/engine/generate.h"
#include "src/calibrate/limit_watch.h"
#include "src/calibrate/side_by_side.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using nlohmann::json;

const Model& spare() {
  static const testing::Bytes bytes = testing::spare_writer(testing::spare_language()).bytes();
  static const Model model = Model::from_bytes(bytes).value();
  return model;
}

struct Case {
  std::string family, policy;
  std::vector<int32_t> tokens;
  double differ = 0;  // share of rows
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> read;
    std::ifstream file(std::string(FATHOM_ADVERSARIAL_DATA) + "/spare.jsonl");
    for (std::string line; std::getline(file, line);) {
      const json one = json::parse(line);
      read.push_back({one["family"], one["policy"], one["tokens"].get<std::vector<int32_t>>(), one["differ"]});
    }
    return read;
  }();
  return all;
}

// What full depth and a policy say behind each token of a sequence, and whether the policy's limits were kept.
struct Outcome {
  double differ = 0;
  bool kept = true;
};

Outcome run(const std::vector<int32_t>& tokens, const std::string& text) {
  const Policy policy = Policy::parse(text).value();
  const auto n = static_cast<int32_t>(tokens.size());
  SideBySide full = SideBySide::make(spare(), {}, 1, n, 0, 1).value();
  SideBySide tried = SideBySide::make(spare(), {}, 1, n, policy.settings().kv_max_rows, 1).value();
  LimitWatch watch = LimitWatch::make(policy, spare().config().n_layers, 1).value();
  watch.begin();
  full.begin().value();
  tried.begin().value();
  Outcome out;
  for (const int32_t token : tokens) {
    const int32_t truth = full.step({&token, 1}, Policy()).value().stats[0].argmax;
    const SideStep step = tried.step({&token, 1}, policy).value();
    out.differ += (step.stats[0].argmax != truth) / double(n);
    watch.see(step.rows[0], tried.session().owed());
    for (const RowResult& row : step.settled) watch.settle(row);
  }
  for (const LimitCheck& check : watch.checks()) out.kept &= check.broken == 0 && check.rows == n;
  return out;
}

TEST(AdversarialCases, CoverFormAndSearch) {
  ASSERT_GE(cases().size(), 8u);
  const auto has = [](const char* family) {
    for (const Case& one : cases()) {
      if (one.family == family) return true;
    }
    return false;
  };
  for (const char* family : {"search", "wrong_prefixes"}) EXPECT_TRUE(has(family)) << family;
}

// Confidences near a threshold may fall to its other side on another machine: half of what was seen has to be left.
TEST(AdversarialCases, StillTempt) {
  for (const Case& one : cases()) EXPECT_GE(run(one.tokens, one.policy).differ, one.differ / 2) << one.family;
}

TEST(AdversarialCases, KeepEveryLimit) {
  for (const char* limits :
       {"budget(of_full=0.7)", "max_depth(layers=5)", "min_depth(layers=6)", "full_depth_first(tokens=7)",
        "kv(settle_later, max_rows=2)", "budget(of_full=0.6) | max_depth(layers=7) | kv(settle_later, max_rows=3)"}) {
    for (const Case& one : cases()) {
      EXPECT_TRUE(run(one.tokens, one.policy + " | " + limits).kept) << one.family << " " << limits;
    }
  }
}

TEST(AdversarialCases, DifferNowhereAtFullDepth) {
  for (const Case& one : cases()) {
    EXPECT_EQ(run(one.tokens, one.policy + " | min_depth(layers=8)").differ, 0) << one.family;
  }
}

TEST(AdversarialCases, AreContinuedAsAtFullDepthUnderVerify) {
  Session session = Session::make(spare(), {.max_tokens = 64, .max_logit_rows = 32}).value();
  for (const Case& one : cases()) {
    const auto written = [&](const std::string& policy) {
      return generate(session, one.tokens, {.max_new_tokens = 16, .policy = Policy::parse(policy).value()})
          .value()
          .tokens;
    };
    EXPECT_EQ(written(one.policy + " | kv(verify, max_rows=4)"), written("full_depth")) << one.family;
  }
}

}  // namespace
}  // namespace fathom
