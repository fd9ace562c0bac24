// Truncating a sequence: what is forgotten of its cells, and rows that run again as they ran before.
// Next: src/engine/session.cc.
#include <gtest/gtest.h>

#include "tests/support/compare.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::same_bits;

// Writes down what it sees of the sequence before.
struct hear {
  std::vector<Step>* heard;
  static constexpr StageTraits traits{"hear", StageKind::limit, Signal::last_entropy, true};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer > 0) heard->push_back(step);
    return decision;
  }
};

uint64_t real_cells(const Session& s, int32_t layer, size_t page) { return s.cache().pages(layer, 0)[page]->real; }

TEST(Truncate, ForgetsTheCellsOfAPartOfAPage) {
  const Model model = testing::tiny_model({.n_layers = 3});
  const auto ids = random_ids(80, model.config().vocab, 5);
  const auto others = random_ids(80, model.config().vocab, 6);
  Session s = Session::make(model, {.max_tokens = 128, .max_rows = 80, .max_logit_rows = 80}).value();
  Session fresh = Session::make(model, {.max_tokens = 128, .max_rows = 80, .max_logit_rows = 80}).value();
  for (const int32_t length : {70, 10}) {  // in the second page; in the first, where the second falls empty
    SCOPED_TRACE(length);
    testing::run(s, others, {.chunk = 80});
    s.truncate(0, 0).value();
    std::vector<Row> rows;
    for (int32_t p = 0; p < 80; ++p) {
      const auto i = static_cast<size_t>(p);
      rows.push_back({.token = p < length ? ids[i] : others[i], .position = p, .logits = true});
    }
    s.step(rows).value();
    s.truncate(0, length).value();
    EXPECT_EQ(s.length(), length);
    const size_t page = static_cast<size_t>(length / 64);
    for (int32_t layer = 1; layer <= 3; ++layer) {
      EXPECT_EQ(real_cells(s, layer, page), (uint64_t{1} << length % 64) - 1);
      EXPECT_EQ(s.cache().provenance(layer, 0, length - 1), Provenance::exact);
      for (int32_t p = length; p < 64 * static_cast<int32_t>(page + 1); ++p) {
        EXPECT_EQ(s.cache().provenance(layer, 0, p), Provenance::missing) << p;
      }
    }
    std::vector<Row> rest;
    for (int32_t p = length; p < 80; ++p) rest.push_back({.token = ids[size_t(p)], .position = p, .logits = true});
    const StepResult again = s.step(rest).value();
    const Outcome expected = testing::run(fresh, ids, {.chunk = 80});
    const auto vocab = static_cast<size_t>(model.config().vocab);
    EXPECT_TRUE(same_bits(std::span<const float>(again.logits.flat()),
                          std::span<const float>(expected.logits).subspan(size_t(length) * vocab)));
  }
}

TEST(Truncate, GivesPoliciesBackWhatTheyKnewAtThatPosition) {
  const Model model = testing::tiny_model({.n_layers = 5});
  const auto ids = random_ids(6, model.config().vocab, 5);
  std::vector<Step> heard;
  for (const Policy& policy : {Policy(budget{.of_full = 0.6f} | hear{&heard}),
                               Policy(exit_at{.layer = 2} | full_depth_first{.tokens = 3} | hear{&heard})}) {
    SCOPED_TRACE(policy.text());
    Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
    std::vector<float> depths[2], logits[2];
    std::vector<float> seen[2];  // entropy, work spent and rows of the work, of each boundary
    const auto run_again = [&](int32_t from, size_t time) {
      for (int32_t p = from; p < 6; ++p) {
        heard.clear();
        const Row row{.token = ids[size_t(p)], .position = p, .kind = RowKind::generated, .logits = true};
        const StepResult out = s.step({&row, 1}, policy.ref()).value();
        if (p < 3) continue;
        depths[time].push_back(out.rows[0].depth);
        logits[time].insert(logits[time].end(), out.logits.data(), out.logits.data() + out.logits.size());
        for (const Step& step : heard) {
          EXPECT_EQ(step.generated, p);
          seen[time].insert(seen[time].end(), {step[Signal::last_entropy], step.work_spent, step.work_rows});
        }
      }
    };
    run_again(0, 0);
    s.truncate(0, 3).value();
    run_again(3, 1);
    EXPECT_EQ(depths[1], depths[0]);
    EXPECT_NE(depths[0], std::vector<float>(3, 5)) << "a policy that saves nothing here proves nothing";
    EXPECT_TRUE(same_bits(std::span<const float>(seen[1]), std::span<const float>(seen[0])));
    EXPECT_TRUE(same_bits(std::span<const float>(logits[1]), std::span<const float>(logits[0])));
  }
}

}  // namespace
}  // namespace fathom
