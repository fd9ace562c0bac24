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

}  // namespace
}  // namespace fathom
