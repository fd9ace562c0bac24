// Attention of every target against the reference, and the plan's promise: a row's bits depend on its own cells only.
#include "fathom/ops/attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/ref/half.h"
#include "tests/kernels/cases.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::all_near;
using testing::cpu_tables;
using testing::kRound;
using testing::normal;
using testing::same_bits;
using Floats = std::vector<float>;

/// Sizes of one attention.
struct Heads {
  int64_t heads, kv_heads, dim;
  int64_t group() const { return heads / kv_heads; }
};

/// A cache of one layer and sequence. Every cell that holds no value is NaN.
class Cache {
 public:
  Cache(DType type, const Heads& heads, int64_t cells, uint32_t seed, float deviation = 1.0f)
      : type_(type), heads_(heads), cells_(cells) {
    const int64_t pages = (cells + kPageCells - 1) / kPageCells;
    const auto floats = static_cast<size_t>(heads.kv_heads * heads.dim * kPageCells);
    for (int64_t p = 0; p < pages; ++p) {
      k_.emplace_back(floats), v_.emplace_back(floats);
      std::fill(k_.back().begin(), k_.back().end(), 0xFFFFFFFFu);  // NaN as f32 and as two f16
      std::fill(v_.back().begin(), v_.back().end(), 0xFFFFFFFFu);
      pages_.push_back(std::make_unique<KvPage>(KvPage{k_.back().data(), v_.back().data(), 0}));
      pointers_.push_back(pages_.back().get());
    }
    const Floats k = normal(static_cast<size_t>(cells * heads.kv_heads * heads.dim), seed, deviation);
    const Floats v = normal(k.size(), seed + 1);
    for (int64_t c = 0; c < cells; ++c) write(c, k.data() + c * row(), v.data() + c * row());
  }

  int64_t row() const { return heads_.kv_heads * heads_.dim; }
  int64_t cells() const { return cells_; }
  DType type() const { return type_; }
  const Heads& heads() const { return heads_; }

  void write(int64_t c, const float* k, const float* v) {
    const KvCell cell{pages_[static_cast<size_t>(c / kPageCells)].get(), static_cast<int32_t>(c % kPageCells)};
    kernels::ref().kv_write.run({type_, k, v, heads_.kv_heads, heads_.dim, &cell}, 0, 1);
    cell.page->real |= uint64_t{1} << cell.slot;
  }

  /// Makes a cell one that holds no value, with NaN in it.
  void forget(int64_t c) {
    const Floats nan(static_cast<size_t>(row()), std::numeric_limits<float>::quiet_NaN());
    write(c, nan.data(), nan.data());
    pages_[static_cast<size_t>(c / kPageCells)]->real &= ~(uint64_t{1} << c % kPageCells);
  }
  void drop_page(int64_t p) { pointers_[static_cast<size_t>(p)] = nullptr; }

  AttentionRow view(int64_t begin, int64_t end) const {
    return {pointers_.data(), static_cast<int32_t>(begin), static_cast<int32_t>(end)};
  }

 private:
  DType type_;
  Heads heads_;
  int64_t cells_;
  std::vector<std::vector<uint32_t>> k_, v_;
  std::vector<std::unique_ptr<KvPage>> pages_;
  std::vector<const KvPage*> pointers_;
};

ThreadPool& pool(int threads) {
  static ThreadPool one = ThreadPool::make(1).value(), two = ThreadPool::make(2).value();
  return threads == 1 ? one : two;
}

AttentionArgs arguments(const Cache& cache, const Floats& q, const std::vector<AttentionRow>& rows, float* dst) {
  const Heads& h = cache.heads();
  return {cache.type(), q.data(), rows.data(), h.heads, h.kv_heads, h.dim, 1 / std::sqrt(static_cast<float>(h.dim)),
          dst};
}

/// The answers of one table for rows of one cache.
Floats attend(const KernelTable& table, const Cache& cache, const Floats& q, const std::vector<AttentionRow>& rows,
              int threads = 1) {
  const Heads& h = cache.heads();
  const auto plan = AttentionPlan::make({threads, h.heads, h.kv_heads, h.dim, cache.cells()}).value();
  Floats dst(q.size(), -99.0f);
  attention(pool(threads), table, arguments(cache, q, rows, dst.data()), static_cast<int64_t>(rows.size()), plan);
  return dst;
}

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

/// docs/numerics.md: scores err by (dim + 3) roundings of the 1-norm of their products, weights by twice that and
/// eight, sums by one rounding for each cell of a chunk and ten for each fold; the answer is a mean of values.
double bound(const Heads& h, const Floats& q, int64_t cells, double largest_key, double largest_value) {
  double largest_query = 0;
  for (size_t i = 0; i < q.size(); i += static_cast<size_t>(h.dim)) {
    double norm = 0;
    for (int64_t d = 0; d < h.dim; ++d) norm += std::abs(q[i + static_cast<size_t>(d)]);
    largest_query = std::max(largest_query, norm);
  }
  const double score =
      (static_cast<double>(h.dim) + 3) * largest_query * largest_key / std::sqrt(static_cast<double>(h.dim));
  const double chunks = static_cast<double>(cells) / kAttentionChunk + 1;
  return (2 * (2 * score + 8) + 2 * kAttentionChunk + 20 * chunks) * kRound * largest_value;
}

Heads any_heads() {
  const int64_t kv_heads = *rc::gen::inRange<int64_t>(1, 4), group = *rc::gen::inRange<int64_t>(1, 12);
  return {kv_heads * group, kv_heads, *rc::gen::elementOf(std::vector<int64_t>{2, 20, 64, 80, 128, 256})};
}

RC_GTEST_PROP(Attention, EveryTargetIsWithinItsBoundOfTheReference, ()) {
  const Heads h = any_heads();
  const auto type = *rc::gen::elementOf(std::vector<DType>{DType::f16, DType::bf16, DType::f32});
  const int64_t cells = *rc::gen::inRange<int64_t>(1, 700);
  Cache cache(type, h, cells, *rc::gen::arbitrary<uint32_t>());
  for (int64_t i = *rc::gen::inRange<int64_t>(0, 20); i-- > 0;) cache.forget(*rc::gen::inRange<int64_t>(0, cells));
  if (cells > 400 && *rc::gen::arbitrary<bool>()) cache.drop_page(2);
  std::vector<AttentionRow> rows;
  for (int64_t i = *rc::gen::inRange<int64_t>(1, 4); i-- > 0;) {
    const int64_t end = *rc::gen::inRange<int64_t>(0, cells + 1);
    rows.push_back(cache.view(*rc::gen::inRange<int64_t>(0, end + 1), end));
  }
  const Floats q = normal(rows.size() * static_cast<size_t>(h.heads * h.dim), 7);
  const Floats want = attend(kernels::ref(), cache, q, rows);
  const double allowed = bound(h, q, cells, 6, 6);  // no seeded normal here passes 6
  for (const KernelTable* t : cpu_tables()) {
    const auto result = all_near<float>(attend(*t, cache, q, rows), want, [&](size_t) { return allowed; });
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

TEST(Attention, CellsThatAreNotRealAreNeverPartOfAnAnswer) {
  const Heads h{14, 2, 64};
  Cache with(DType::f16, h, 520, 11), without(DType::f16, h, 520, 11);
  // Cells outside the row's range are NaN in one cache and numbers in the other; cells inside are forgotten in both.
  for (int64_t c : {0, 63, 64, 65, 255, 256, 300, 511, 519}) with.forget(c), without.forget(c);
  for (int64_t c = 0; c < 100; ++c) with.forget(c);
  for (int64_t c = 512; c < 520; ++c) with.forget(c);
  const Floats q = normal(14 * 64, 3);
  for (const KernelTable* t : cpu_tables()) {
    const Floats a = attend(*t, with, q, {with.view(100, 512)}), b = attend(*t, without, q, {without.view(100, 512)});
    EXPECT_FALSE(std::isnan(a[0])) << t->name;
    EXPECT_TRUE(same_bits<float>(a, b)) << t->name;
  }
}

TEST(Attention, RowsAtTheEdgesOfPagesAndChunksAgreeWithTheReference) {
  const Heads h{6, 2, 128};
  const Cache cache(DType::f16, h, 600, 5);
  const Floats q = normal(6 * 128, 9);
  for (int64_t end : {1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 600}) {
    for (int64_t begin : {int64_t{0}, end - 1, std::max<int64_t>(0, end - 63), std::max<int64_t>(0, end - 64),
                          std::max<int64_t>(0, end - 65), std::max<int64_t>(0, end - 257)}) {
      const Floats want = attend(kernels::ref(), cache, q, {cache.view(begin, end)});
      for (const KernelTable* t : cpu_tables()) {
        const Floats got = attend(*t, cache, q, {cache.view(begin, end)});
        EXPECT_TRUE(all_near<float>(got, want, [&](size_t) { return bound(h, q, 600, 6, 6); }))
            << t->name << " over [" << begin << ", " << end << ")";
      }
    }
  }
}

TEST(Attention, OneCellGivesItsOwnValue) {
  const Heads h{4, 1, 64};
  const Cache cache(DType::f32, h, 1, 5);
  const Floats want = attend(kernels::ref(), cache, Floats(4 * 64, 0.0f), {cache.view(0, 1)});
  for (const KernelTable* t : cpu_tables()) {
    const Floats got = attend(*t, cache, normal(4 * 64, 1), {cache.view(0, 1)});
    EXPECT_TRUE(same_bits<float>(got, want)) << t->name;
  }
}

TEST(Attention, ARowWithoutCellsIsZero) {
  const Heads h{4, 2, 64};
  Cache cache(DType::f16, h, 70, 5);
  for (int64_t c = 0; c < 10; ++c) cache.forget(c);
  const Floats q = normal(4 * 64, 1), zeros(4 * 64, 0.0f);
  for (const KernelTable* t : cpu_tables()) {
    EXPECT_TRUE(same_bits<float>(attend(*t, cache, q, {cache.view(5, 5)}), zeros)) << t->name;
    EXPECT_TRUE(same_bits<float>(attend(*t, cache, q, {cache.view(0, 10)}), zeros)) << t->name;
  }
}

TEST(Attention, EqualScoresGiveTheMeanOfTheValues) {
  const Heads h{2, 1, 32};
  const Cache cache(DType::f32, h, 700, 5);
  const Floats q(2 * 32, 0.0f);
  const Floats want = attend(kernels::ref(), cache, q, {cache.view(0, 700)});
  for (const KernelTable* t : cpu_tables()) {
    const Floats got = attend(*t, cache, q, {cache.view(0, 700)});
    EXPECT_TRUE(all_near<float>(got, want, [&](size_t) { return bound(h, q, 700, 6, 6); })) << t->name;
  }
}

TEST(Attention, ScoresOfHugeMagnitudeChooseTheLargest) {
  const Heads h{1, 1, 64};
  Cache cache(DType::f32, h, 300, 5);
  for (float sign : {1.0f, -1.0f}) {
    // Scores are sign * 8e30 * c / 300: one cell outweighs all others, whatever its chunk.
    for (int64_t c = 0; c < 300; ++c) {
      const Floats k(64, sign * 1e30f * static_cast<float>(c + 1) / 300), v(64, static_cast<float>(c));
      cache.write(c, k.data(), v.data());
    }
    const Floats want(64, sign > 0 ? 299.0f : 0.0f);
    for (const KernelTable* t : cpu_tables()) {
      EXPECT_TRUE(same_bits<float>(attend(*t, cache, Floats(64, 1.0f), {cache.view(0, 300)}), want)) << t->name;
    }
  }
}

TEST(Attention, ANanInARealCellReachesTheAnswer) {
  const Heads h{3, 1, 64};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (DType type : {DType::f32, DType::f16}) {
    for (int64_t where : {0, 255, 256, 299}) {
      Cache cache(type, h, 300, 5);
      cache.write(where, Floats(64, nan).data(), Floats(64, 1.0f).data());
      for (const KernelTable* t : cpu_tables()) {
        const Floats got = attend(*t, cache, normal(3 * 64, 1), {cache.view(0, 300)});
        EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](float x) { return std::isnan(x); }))
            << t->name << " " << info(type).name << " " << where;
      }
    }
  }
}

TEST(Attention, TheWeightOfAPartialIsExpWithinTwoUlp) {
  AttentionArgs args{};
  args.heads = args.kv_heads = args.head_dim = 1;
  for (const KernelTable* t : cpu_tables()) {
    for (uint32_t bits = 0; bits < 0x42AEA8F6u; bits += 29989) {  // magnitudes up to 87.33
      const float x = -kernels::bits_to_float(bits);
      float into[] = {0, 0, 0}, next[] = {x, 1, 1};
      t->attention.run.fold(args, into, next);
      const double want = std::exp(static_cast<double>(x));
      const auto rounded = static_cast<float>(want);
      ASSERT_LE(std::abs(into[1] - want), 2.0 * (std::nextafter(rounded, 2.0f) - rounded))
          << t->name << " exp(" << x << ")";
    }
  }
}

RC_GTEST_PROP(Attention, ARowsBitsDependOnItsOwnCellsOnly, ()) {
  const Heads h = any_heads();
  const int64_t cells = *rc::gen::inRange<int64_t>(1, 1200), n = *rc::gen::inRange<int64_t>(1, 40);
  const Cache cache(DType::f16, h, cells, *rc::gen::arbitrary<uint32_t>());
  std::vector<AttentionRow> rows;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t end = *rc::gen::inRange<int64_t>(0, cells + 1);
    rows.push_back(cache.view(*rc::gen::arbitrary<bool>() ? std::max<int64_t>(0, end - 300) : 0, end));
  }
  const auto row = static_cast<size_t>(h.heads * h.dim);
  const Floats q = normal(static_cast<size_t>(n) * row, 3);
  const KernelTable& table = *cpu_tables()[*rc::gen::inRange<size_t>(0, cpu_tables().size())];
  const Floats together = attend(table, cache, q, rows);
  RC_ASSERT(bool(same_bits<float>(attend(table, cache, q, rows, 2), together)));
  for (size_t i = 0; i < rows.size(); i += 3) {
    const std::span<const float> own(together.data() + i * row, row);
    const Floats alone_q(q.begin() + static_cast<int64_t>(i * row), q.begin() + static_cast<int64_t>((i + 1) * row));
    for (int threads : {1, 2}) {  // alone: every chunk is a part of its own
      RC_ASSERT(bool(same_bits<float>(attend(table, cache, alone_q, {rows[i]}, threads), own)));
    }
  }
}

// Whole texts, an answer's last rows, and prefill, whose rows share all chunks but their last.
TEST(Attention, RowsThatShareCellsHaveTheBitsOfEachAlone) {
  for (const Heads& h : {Heads{12, 12, 32}, Heads{14, 2, 64}, Heads{3, 1, 20}}) {
    for (DType type : {DType::f32, DType::f16, DType::bf16}) {
      Cache cache(type, h, 600, 5), other(type, h, 600, 6);
      for (int64_t c : {0, 3, 64, 65, 255, 300, 599}) cache.forget(c);
      std::vector<AttentionRow> rows;
      for (int64_t cells : {0, 1, 20, 64, 100, 257, 600}) rows.insert(rows.end(), 19, cache.view(0, cells));
      for (int i = 0; i < 20; ++i) rows.push_back((i / 3 % 2 == 0 ? cache : other).view(i < 10 ? 0 : 200, 530));
      for (int64_t end = 500; end < 530; ++end) rows.push_back(other.view(end > 520 ? end - 300 : 0, end));
      const auto row = static_cast<size_t>(h.heads * h.dim);
      const Floats q = normal(rows.size() * row, 3);
      for (const KernelTable* t : cpu_tables()) {
        const Floats together = attend(*t, cache, q, rows, 2);
        for (size_t i = 0; i < rows.size(); ++i) {
          const auto first = q.begin() + static_cast<std::ptrdiff_t>(i * row);
          const Floats alone = attend(*t, cache, Floats(first, first + static_cast<std::ptrdiff_t>(row)), {rows[i]});
          ASSERT_TRUE(same_bits<float>(alone, {together.data() + i * row, row})) << t->name << ", row " << i;
        }
      }
    }
  }
}

TEST(AttentionPlan, RefusesSizesThatFitNothing) {
  const auto message = [](AttentionPlan::Limits limits) { return AttentionPlan::make(limits).error().message; };
  EXPECT_EQ(message({0, 4, 2, 64, 100}),
            "attention plan for 0 threads, 4 heads, 2 KV heads of 64, 100 tokens: give at least 1 of each");
  EXPECT_EQ(message({1, 5, 2, 64, 100}), "5 heads over 2 KV heads: give a whole number of heads for each");
}

TEST(AttentionPlan, WorkingMemoryIsASmallPartOfTheCache) {
  const auto plan = AttentionPlan::make({2, 14, 2, 64, 32768}).value();
  const double cache = 2.0 * 2 * 64 * 32768 * 2;  // K and V in f16, one layer
  EXPECT_LT(static_cast<double>(plan.scratch.size()), 0.04 * cache);
}

}  // namespace
}  // namespace fathom
