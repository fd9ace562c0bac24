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

RC_GTEST_PROP(Attention, EveryTargetIsWithinItsBoundOfTheReference, ()) {
  const Heads h = any_heads();
  const auto type = *rc::gen::elementOf(std::vector<DType>{DType::f16, DType::bf16, DType::f32});
  const int64_t cells = *rc::gen::inRange<int64_t>(1, 700);
  Cache cache(type, h, cells, *rc::gen::arbitrary<uint32_t>());
  for (int64_t i = *rc::gen::inRange<int64_t>(0, 20); i-- > 0;) cache.forget(*rc::gen::inRange<int64_t>(0, cells));
  if (cells > 400 && *rc::gen::arbitrary<bool>()) cache.drop_page(2);
  if (*rc::gen::arbitrary<bool>()) cache.bias(normal(static_cast<size_t>(cells), 3));
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

// A cell whose score is log n larger counts as n cells with its key and value.
TEST(Attention, ABiasOfLogNMakesOneCellCountForN) {
  const Heads h{4, 2, 32};
  Cache one(DType::f32, h, 130, 5), three(DType::f32, h, 132, 5);
  const Floats k = normal(static_cast<size_t>(one.row()), 8), v = normal(k.size(), 9);
  one.write(129, k.data(), v.data());
  for (int64_t c = 129; c < 132; ++c) three.write(c, k.data(), v.data());
  for (int64_t c = 0; c < 129; ++c) {
    const Floats key = normal(k.size(), uint32_t(c) + 100), value = normal(k.size(), uint32_t(c) + 1000);
    for (Cache* cache : {&one, &three}) cache->write(c, key.data(), value.data());
  }
  Floats bias(130, 0.0f);
  bias.back() = std::log(3.0f);
  one.bias(bias);
  const Floats q = normal(4 * 32, 3);
  for (const KernelTable* t : cpu_tables()) {
    const Floats want = attend(*t, three, q, {three.view(0, 132)}), got = attend(*t, one, q, {one.view(0, 130)});
    EXPECT_TRUE(all_near<float>(got, want, [&](size_t) { return bound(h, q, 132, 6, 6); })) << t->name;
  }
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
