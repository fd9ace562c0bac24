// Where attention went: shares of every target against the reference and against answers.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "fathom/ops/attention.h"
#include "kernels/ref/half.h"
#include "tests/kernels/attention_cache.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::all_near;
using testing::any_heads;
using testing::arguments;
using testing::attend;
using testing::bound;
using testing::Cache;
using testing::cpu_tables;
using testing::Floats;
using testing::Heads;
using testing::kRound;
using testing::normal;
using testing::pool;
using testing::same_bits;

/// Answers of one table, their totals, and the reference's shares of all cells of all rows: [rows, cells].
struct Shares {
  Floats answers, totals, of;
};
Shares shares(const KernelTable& table, const Cache& cache, const Floats& q, const std::vector<AttentionRow>& rows,
              int threads) {
  const Heads& h = cache.heads();
  const auto plan = AttentionPlan::make({threads, h.heads, h.kv_heads, h.dim, cache.cells()}).value();
  Shares out{Floats(q.size()), Floats(rows.size() * static_cast<size_t>(h.heads * 2)),
             Floats(rows.size() * static_cast<size_t>(cache.cells()), -1.0f)};
  AttentionArgs args = arguments(cache, q, rows, out.answers.data());
  args.totals = out.totals.data();
  attention(pool(threads), table, args, static_cast<int64_t>(rows.size()), plan);
  std::vector<int32_t> index, from;
  for (size_t r = 0; r < rows.size(); ++r) index.push_back(int32_t(r)), from.push_back(rows[r].begin);
  kernels::ref().attention_share.run({args, index.data(), from.data(), out.of.data(), cache.cells()}, 0,
                                     static_cast<int64_t>(rows.size()));
  return out;
}

RC_GTEST_PROP(AttentionShare, EveryTargetIsNearTheReference, ()) {
  const Heads h = any_heads();
  const auto type = *rc::gen::elementOf(std::vector<DType>{DType::f16, DType::bf16, DType::f32});
  const int64_t cells = *rc::gen::inRange<int64_t>(1, 600);
  Cache cache(type, h, cells, *rc::gen::arbitrary<uint32_t>());
  for (int64_t i = *rc::gen::inRange<int64_t>(0, 20); i-- > 0;) cache.forget(*rc::gen::inRange<int64_t>(0, cells));
  if (*rc::gen::arbitrary<bool>()) cache.bias(normal(static_cast<size_t>(cells), 3));
  std::vector<AttentionRow> rows(static_cast<size_t>(*rc::gen::inRange(1, 20)), cache.view(0, cells));
  if (*rc::gen::arbitrary<bool>()) rows.push_back(cache.view(cells / 2, cells));
  const Floats q = normal(rows.size() * static_cast<size_t>(h.heads * h.dim), 7);
  Floats totals(rows.size() * static_cast<size_t>(2 * h.heads)), answers(q.size());
  AttentionArgs args = arguments(cache, q, rows, answers.data());
  args.totals = totals.data();
  const auto plan = AttentionPlan::make({1, h.heads, h.kv_heads, h.dim, cells}).value();
  std::vector<int32_t> index, from;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r > 0 && *rc::gen::inRange(0, 4) == 0) continue;
    index.push_back(int32_t(r));
    from.push_back(*rc::gen::inRange<int32_t>(rows[r].begin, rows[r].end));
  }
  const double allowed = bound(h, q, cells, 6, 1);
  for (const KernelTable* t : cpu_tables()) {
    attention(pool(1), *t, args, std::ssize(rows), plan);
    Floats want(index.size() * size_t(cells), -1.0f), got = want;
    kernels::ref().attention_share.run({args, index.data(), from.data(), want.data(), cells}, 0, std::ssize(index));
    t->attention_share.run({args, index.data(), from.data(), got.data(), cells}, 0, std::ssize(index));
    for (size_t i = 0; i < want.size(); ++i) {
      if (!std::isnan(want[i])) continue;  // no cell is real
      RC_ASSERT(std::isnan(got[i]) || got[i] == 0);
      want[i] = got[i] = 0;
    }
    const auto result = all_near<float>(got, want, [&](size_t) { return allowed; });
    if (!result) RC_FAIL(std::string(t->name) + ": " + result.message());
  }
}

// With one head, the shares of a row's cells weigh their values into its answer.
TEST(AttentionShare, SaysWhatEachCellWeighedInTheAnswer) {
  const Heads h{1, 1, 64};
  constexpr int64_t kCells = 600;
  Cache cache(DType::f32, h, kCells, 21);
  const Floats values = normal(kCells * 64, 22);
  for (int64_t c : {3, 64, 300, 598}) cache.forget(c);
  const Floats q = normal(2 * 64, 7);
  const std::vector<AttentionRow> rows = {cache.view(0, kCells), cache.view(40, 300)};
  for (const KernelTable* t : cpu_tables()) {
    SCOPED_TRACE(t->name);
    const Shares found = shares(*t, cache, q, rows, 1);
    for (size_t r = 0; r < rows.size(); ++r) {
      double sum = 0;
      std::vector<double> answer(64);
      for (int64_t c = rows[r].begin; c < rows[r].end; ++c) {
        const float share = found.of[r * kCells + size_t(c - rows[r].begin)];
        sum += share;
        for (size_t d = 0; d < 64; ++d) answer[d] += double(share) * values[size_t(c) * 64 + d];
      }
      const double allowed = bound(h, q, kCells, 6, 6);
      EXPECT_NEAR(sum, 1, allowed);
      for (size_t d = 0; d < 64; ++d) EXPECT_NEAR(found.answers[r * 64 + d], answer[d], allowed);
      EXPECT_EQ(found.of[r * kCells + size_t(r == 0 ? 300 : 24)], 0) << "not real";
    }
  }
}

TEST(AttentionShare, OfSeveralHeadsIsTheirMeanForListedRowsAndCells) {
  const Heads many{6, 2, 20};
  constexpr int64_t kCells = 70, kRows = 3;
  const Cache cache(DType::f16, many, kCells, 21);
  const Floats q = normal(kRows * 6 * 20, 7);
  const std::vector<AttentionRow> rows = {cache.view(0, 70), cache.view(2, 50), cache.view(0, 66)};
  const Shares all = shares(kernels::ref(), cache, q, rows, 1);
  const AttentionArgs args = arguments(cache, q, rows, nullptr);
  std::vector<double> mean(kCells);
  for (size_t head = 0; head < 6; ++head) {  // the other heads see queries of zeros: the same share for every cell
    Floats one(q.size());
    std::copy_n(q.begin() + std::ptrdiff_t(head * 20), 20, one.begin() + std::ptrdiff_t(head * 20));
    const Floats of = shares(kernels::ref(), cache, one, {rows[0]}, 1).of;
    for (size_t c = 0; c < kCells; ++c) mean[c] += of[c] - 5.0 / 6 / kCells;
  }
  for (size_t c = 0; c < kCells; ++c) EXPECT_NEAR(all.of[c], mean[c], 1e-6);
  // Rows 2 and 0, their last cells alone.
  const int32_t index[] = {2, 0}, from[] = {65, 69};
  Floats last(2, -1.0f);
  AttentionShareArgs of{args, index, from, last.data(), 1};
  of.attention.totals = const_cast<float*>(all.totals.data());
  kernels::ref().attention_share.run(of, 0, 2);
  EXPECT_EQ(last[0], all.of[2 * kCells + 65]);
  EXPECT_EQ(last[1], all.of[69]);
}

}  // namespace
}  // namespace fathom
