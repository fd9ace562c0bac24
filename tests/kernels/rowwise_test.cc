// Row kernels of every target against the reference, with bounds derived in docs/numerics.md.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cases.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::all_near;
using testing::cpu_tables;
using testing::kRound;
using testing::normal;
using testing::same_bits;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Floats = std::vector<float>;
using Shape = std::pair<int64_t, int64_t>;  // rows, cols

/// Any length, and often one next to a multiple of the vector's.
rc::Gen<int64_t> lengths() {
  return rc::gen::oneOf(rc::gen::inRange<int64_t>(1, 300),
                        rc::gen::map(rc::gen::inRange<int64_t>(1, 40), [](int64_t n) { return 32 * n; }));
}

Shape any_shape() { return {*rc::gen::inRange<int64_t>(1, 6), *lengths()}; }
uint32_t any_seed() { return *rc::gen::arbitrary<uint32_t>(); }
size_t size(const Shape& s) { return static_cast<size_t>(s.first * s.second); }

void expect(const ::testing::AssertionResult& result, const KernelTable& table) {
  if (!result) RC_FAIL(std::string(table.name) + ": " + result.message());
}

RC_GTEST_PROP(RowKernels, NormIsWithinItsBoundOfTheReference, ()) {
  const Shape s = any_shape();
  const Floats src = normal(size(s), any_seed(), 30), weight = normal(static_cast<size_t>(s.second), any_seed());
  std::vector<int32_t> index(static_cast<size_t>(s.first));
  for (int32_t& i : index) i = *rc::gen::inRange<int32_t>(0, static_cast<int32_t>(s.first));
  Floats want(size(s)), got(size(s));
  kernels::ref().norm.run({src.data(), index.data(), s.second, weight.data(), 1e-6f, want.data()}, 0, s.first);
  // Half the relative error of a sum of cols squares in at least four partial sums; the root, two products and the
  // rest.
  const double relative = (static_cast<double>(s.second) / 8 + 12) * kRound;
  for (const KernelTable* t : cpu_tables()) {
    t->norm.run({src.data(), index.data(), s.second, weight.data(), 1e-6f, got.data()}, 0, s.first);
    expect(all_near<float>(got, want, [&](size_t i) { return relative * std::abs(want[i]); }), *t);
  }
}

RC_GTEST_PROP(RowKernels, LayerNormIsWithinItsBoundOfTheReference, ()) {
  const Shape s = any_shape();
  const auto cols = static_cast<size_t>(s.second);
  Floats src = normal(size(s), any_seed());
  const float offset = *rc::gen::elementOf(Floats{0, 3, -300});
  for (float& x : src) x += offset;
  const Floats weight = normal(cols, any_seed()), bias = normal(cols, any_seed());
  Floats want(size(s)), got(size(s));
  const NormArgs args{src.data(), nullptr, s.second, weight.data(), 1e-6f, got.data(), NormKind::layer, bias.data()};
  NormArgs reference = args;
  reference.dst = want.data();
  kernels::ref().norm.run(reference, 0, s.first);
  // The mean errs by a sum of cols in at least four partial sums, which moves every number and adds its square to the
  // variance; then as above.
  const double relative = (static_cast<double>(s.second) / 4 + 12) * kRound;
  const auto bound = [&](size_t i) {
    const float* const row = src.data() + i / cols * cols;
    double mean = 0, size = 0, variance = 0;
    for (size_t c = 0; c < cols; ++c) mean += row[c] / double(cols), size += std::abs(row[c]) / double(cols);
    for (size_t c = 0; c < cols; ++c) variance += (row[c] - mean) * (row[c] - mean) / double(cols);
    const double moved = relative * size, deviation = std::sqrt(variance + 1e-6), centred = std::abs(src[i] - mean);
    const double scale = std::abs(weight[i % cols]) / deviation;
    const double of_root = relative + moved * moved / (deviation * deviation);
    return scale * (moved + centred * of_root) * (1 + of_root) + 2 * kRound * std::abs(want[i]);
  };
  for (const KernelTable* t : cpu_tables()) {
    t->norm.run(args, 0, s.first);
    expect(all_near<float>(got, want, bound), *t);
  }
}

RC_GTEST_PROP(RowKernels, RoundedRowsEqualTheReferenceBitForBit, ()) {
  const Shape s = any_shape();
  Floats src = normal(size(s), any_seed(), std::ldexp(1.0f, *rc::gen::inRange(-140, 120)));
  for (float special : {kNan, kInfinity, -kInfinity, 0.0f, FLT_MAX, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f}) {
    if (*rc::gen::inRange(0, 4) == 0) src[*rc::gen::inRange<size_t>(0, src.size())] = special;
  }
  const int64_t width = padded_cols(s.second);
  std::vector<uint16_t> want(static_cast<size_t>(s.first * width), 99), got(want);
  kernels::ref().round.run({src.data(), s.second, want.data(), width}, 0, s.first);
  for (const KernelTable* t : cpu_tables()) {
    t->round.run({src.data(), s.second, got.data(), width}, 0, s.first);
    expect(same_bits<uint16_t>(got, want), *t);
  }
}

RC_GTEST_PROP(RowKernels, QuantisedRowsEqualTheReferenceBitForBit, ()) {
  const Shape s = any_shape();
  Floats src = normal(size(s), any_seed(), std::ldexp(1.0f, *rc::gen::inRange(-140, 120)));
  for (float bad : {kNan, kInfinity, -kInfinity, 0.0f, FLT_MAX}) {
    if (*rc::gen::inRange(0, 8) == 0) src[*rc::gen::inRange<size_t>(0, src.size())] = bad;
  }
  const int64_t cols = (s.second + 31) / 32 * 32;
  const auto blocks = static_cast<size_t>(s.first * cols / 32);
  const bool planes = *rc::gen::arbitrary<bool>();
  std::vector<int8_t> values[2], low[2];
  Floats scales[2];
  std::vector<int32_t> sums[2];
  const auto run = [&](int i, const KernelTable& t) {
    values[i].assign(blocks * 32, 99), low[i].assign(blocks * 32, 99), scales[i].assign(blocks, 99),
        sums[i].assign(blocks * 2, 99);
    const QuantRows dst{values[i].data(), scales[i].data(), sums[i].data(), cols, planes ? low[i].data() : nullptr};
    t.quantize.run({src.data(), s.second, dst}, 0, s.first);
  };
  run(0, kernels::ref());
  for (const KernelTable* t : cpu_tables()) {
    run(1, *t);
    expect(same_bits<float>(scales[1], scales[0]), *t);
    expect(same_bits<int8_t>(values[1], values[0]), *t);
    expect(same_bits<int8_t>(low[1], low[0]), *t);
    expect(same_bits<int32_t>(sums[1], sums[0]), *t);
  }
}

TEST(RowKernels, QuantisingTiesRoundToEvenOnEveryTarget) {
  Floats src(32, 0.0f);
  src[0] = 127;
  for (size_t i = 1; i < 32; ++i) src[i] = static_cast<float>(i) - 16.5f;
  for (const KernelTable* t : cpu_tables()) {
    int8_t values[32];
    float scale;
    int32_t sums[2];
    t->quantize.run({src.data(), 32, {values, &scale, sums, 32}}, 0, 1);
    for (size_t i = 1; i < 32; ++i) EXPECT_EQ(values[i], std::nearbyint(src[i])) << t->name << " at " << src[i];
  }
}

/// The bound of a gate: exp within 4 roundings, its argument within four of |t| (at most 88, where exp(-|t|) is below
/// FLT_MIN and counts as 0), and six operations around it.
double gate_bound(Gate kind, double a, double want, double b) {
  if (kind == Gate::gelu) {  // 1 - Phi(|a|) errs by its formula's 0.75e-7, under 1.3 u, and by rounding
    const double beyond = 0.5 * std::erfc(std::abs(a) / std::sqrt(2.0)), t = std::min(88.0, a * a / 2);
    return std::abs(a * b) * ((1.3 + (12 + 4 * t) * beyond) * kRound + 2 * FLT_MIN) + 4 * kRound * std::abs(want) +
           FLT_MIN;
  }
  const double t = kind == Gate::silu ? 0 : std::min(88.0, std::abs(1.5957691 * a + 0.0713548 * a * a * a));
  return (12 + 4 * t) * kRound * std::abs(want) + 2 * FLT_MIN * std::abs(a * b) + FLT_MIN;
}

RC_GTEST_PROP(RowKernels, GatesAreWithinTheirBoundOfTheReference, ()) {
  const Shape s = any_shape();
  const float deviation = *rc::gen::elementOf(Floats{0.01f, 1, 10, 100});
  const Floats a = normal(size(s), any_seed(), deviation), b = normal(size(s), any_seed());
  Floats want(size(s)), got(size(s));
  for (Gate kind : {Gate::silu, Gate::gelu_tanh, Gate::gelu}) {
    kernels::ref().gated.run({kind, a.data(), b.data(), s.second, want.data()}, 0, s.first);
    for (const KernelTable* t : cpu_tables()) {
      got = a;  // in place, as the engine may
      t->gated.run({kind, got.data(), b.data(), s.second, got.data()}, 0, s.first);
      expect(all_near<float>(got, want, [&](size_t i) { return gate_bound(kind, a[i], want[i], b[i]); }), *t);
    }
  }
}

TEST(RowKernels, GatesSurviveExtremeArguments) {
  const Floats a = {0, -0.0f, 1e-40f, 87.4f, -87.4f, 200, -200, 1e13f, -1e13f, FLT_MAX, kNan}, b(a.size(), 1.0f);
  Floats want(a.size()), got(a.size());
  const auto cols = static_cast<int64_t>(a.size());
  for (Gate kind : {Gate::silu, Gate::gelu_tanh, Gate::gelu}) {
    kernels::ref().gated.run({kind, a.data(), b.data(), cols, want.data()}, 0, 1);
    for (const KernelTable* t : cpu_tables()) {
      t->gated.run({kind, a.data(), b.data(), cols, got.data()}, 0, 1);
      EXPECT_TRUE(all_near<float>(got, want, [&](size_t i) { return gate_bound(kind, a[i], want[i], 1); })) << t->name;
    }
  }
}

RC_GTEST_PROP(RowKernels, EmbeddedRowsEqualTheReferenceBitForBit, ()) {
  const auto type = static_cast<DType>(*rc::gen::inRange(0, kDTypes));
  const int64_t cols = info(type).block_elements * *rc::gen::inRange<int64_t>(1, 5);
  std::mt19937 engine(any_seed());
  std::vector<uint8_t> table(7 * row_bytes(type, static_cast<size_t>(cols)));
  for (uint8_t& byte : table) byte = static_cast<uint8_t>(engine());
  const std::vector<int32_t> ids = {6, 0, 3, 3};
  Floats want(4 * static_cast<size_t>(cols)), got(want.size());
  kernels::ref().embed.run({type, table.data(), cols, ids.data(), 25.25f, want.data()}, 0, 4);
  for (const KernelTable* t : cpu_tables()) {
    t->embed.run({type, table.data(), cols, ids.data(), 25.25f, got.data()}, 0, 4);
    expect(same_bits<float>(got, want), *t);
  }
}

RC_GTEST_PROP(RowKernels, AddedRowsEqualTheReferenceBitForBit, ()) {
  const Shape s = any_shape();
  const Floats y = normal(size(s), any_seed()), x = normal(size(s) * 2, any_seed());
  std::vector<int32_t> index(static_cast<size_t>(s.first));
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(2 * i);
  Floats want = x;
  kernels::ref().add.run({y.data(), index.data(), s.second, want.data()}, 0, s.first);
  for (const KernelTable* t : cpu_tables()) {
    Floats got = x;
    t->add.run({y.data(), index.data(), s.second, got.data()}, 0, s.first);
    expect(same_bits<float>(got, want), *t);
  }
}

RC_GTEST_PROP(RowKernels, RotationsAreWithinThreeRoundingsOfTheReference, ()) {
  const int64_t n = *rc::gen::inRange<int64_t>(1, 4), heads = *rc::gen::inRange<int64_t>(1, 4);
  const int64_t dim = 2 * *rc::gen::inRange<int64_t>(1, 70), rope_dim = 2 * *rc::gen::inRange<int64_t>(1, dim / 2 + 1);
  const Floats x = normal(static_cast<size_t>(n * heads * dim), any_seed());
  Floats cos_sin(static_cast<size_t>(n * rope_dim));
  for (size_t i = 0; i < cos_sin.size(); i += 2) {
    cos_sin[i] = std::cos(static_cast<float>(i)), cos_sin[i + 1] = std::sin(static_cast<float>(i));
  }
  for (Pairing pairing : {Pairing::adjacent, Pairing::halves}) {
    Floats want = x;
    kernels::ref().rope.run({want.data(), heads, dim, rope_dim, pairing, cos_sin.data()}, 0, n);
    for (const KernelTable* t : cpu_tables()) {
      Floats got = x;
      t->rope.run({got.data(), heads, dim, rope_dim, pairing, cos_sin.data()}, 0, n);
      // |a cos| + |b sin| is at most the largest pair's 1-norm.
      const double largest = 2.0 * std::abs(*std::max_element(
                                       x.begin(), x.end(), [](float p, float q) { return std::abs(p) < std::abs(q); }));
      expect(all_near<float>(got, want, [&](size_t) { return 3 * kRound * largest; }), *t);
    }
  }
}

RC_GTEST_PROP(RowKernels, SimilarityIsWithinItsBoundOfTheReference, ()) {
  const Shape s = any_shape();
  const Floats a = normal(size(s), any_seed(), 100);
  Floats b = normal(size(s), any_seed(), *rc::gen::elementOf(Floats{0, 1, 100}));
  for (size_t i = 0; i < b.size(); ++i) b[i] += a[i];
  Floats want(static_cast<size_t>(s.first)), got(want.size());
  kernels::ref().similarity.run({a.data(), nullptr, b.data(), s.second, want.data()}, 0, s.first);
  // Three sums in at least four partial sums: the product counts once, each norm a half.
  const double bound = (static_cast<double>(s.second) / 2 + 20) * kRound;
  for (const KernelTable* t : cpu_tables()) {
    t->similarity.run({a.data(), nullptr, b.data(), s.second, got.data()}, 0, s.first);
    expect(all_near<float>(got, want, [&](size_t) { return bound; }), *t);
  }
}

RC_GTEST_PROP(RowKernels, DotsAreWithinTheirBoundOfTheReference, ()) {
  const Shape s = any_shape();
  const Floats a = normal(size(s), any_seed()), b = normal(size(s), any_seed());
  std::vector<int32_t> of_a, of_b;
  for (int i = *rc::gen::inRange(1, 9); i > 0; --i) of_a.push_back(*rc::gen::inRange<int32_t>(0, int32_t(s.first)));
  for (int i = *rc::gen::inRange(1, 9); i > 0; --i) of_b.push_back(*rc::gen::inRange<int32_t>(0, int32_t(s.first)));
  Floats want(of_a.size() * of_b.size()), got(want.size());
  const auto args = [&](Floats& dst) {
    return DotsArgs{a.data(), of_a.data(), b.data(), of_b.data(), std::ssize(of_b), s.second, dst.data()};
  };
  kernels::ref().dots.run(args(want), 0, std::ssize(of_a));
  const double bound = (static_cast<double>(s.second) / 4 + 20) * kRound * 36 * static_cast<double>(s.second);
  for (const KernelTable* t : cpu_tables()) {
    t->dots.run(args(got), 0, std::ssize(of_a));
    expect(all_near<float>(got, want, [&](size_t) { return bound; }), *t);
  }
}

TEST(RowKernels, SimilarityToNothingIsZero) {
  const Floats zeros(40, 0.0f), ones(40, 1.0f);
  for (const KernelTable* t : cpu_tables()) {
    float dst = kNan;
    t->similarity.run({zeros.data(), nullptr, ones.data(), 40, &dst}, 0, 1);
    EXPECT_EQ(dst, 0.0f) << t->name;
  }
}

/// Checks one row of logits on every target: ids and maxima equal, sums within their bounds.
::testing::AssertionResult logits_agree(const Floats& logits) {
  LogitStats want{}, got{};
  const auto vocab = static_cast<int64_t>(logits.size());
  kernels::ref().logit_stats.run({logits.data(), vocab, &want}, 0, 1);
  // f32 sums run over at most 1024 terms of one lane; exp adds four roundings and its argument, at most 88, one of
  // itself.
  const double relative = (1024 + 4 + 88) * kRound;
  const double log_n = std::log(static_cast<double>(vocab));
  for (const KernelTable* t : cpu_tables()) {
    t->logit_stats.run({logits.data(), vocab, &got}, 0, 1);
    if (got.argmax != want.argmax || got.max != want.max || got.second != want.second) {
      return ::testing::AssertionFailure()
             << fmt::format("{}: argmax {} ({}, then {}), expected {} ({}, then {})", t->name, got.argmax, got.max,
                            got.second, want.argmax, want.max, want.second);
    }
    const Floats g = {got.log_sum, got.entropy}, w = {want.log_sum, want.entropy};
    const auto bound = [&](size_t i) {
      return i == 0 ? relative + 2 * kRound * std::abs(w[0]) : relative * (1 + 2 * log_n);
    };
    if (auto result = all_near<float>(g, w, bound); !result) return result << " (log_sum, entropy) on " << t->name;
  }
  return ::testing::AssertionSuccess();
}

RC_GTEST_PROP(RowKernels, LogitStatsAgreeWithTheReference, ()) {
  const auto vocab = *rc::gen::oneOf(rc::gen::inRange<size_t>(1, 200), rc::gen::inRange<size_t>(2000, 6000));
  Floats logits = normal(vocab, any_seed(), *rc::gen::elementOf(Floats{0, 0.1f, 3, 50, 1e6f}));
  for (float special : {kNan, -kInfinity, kInfinity, -kInfinity, 7.0f, 7.0f}) {
    if (*rc::gen::inRange(0, 4) == 0) logits[*rc::gen::inRange<size_t>(0, vocab)] = special;
  }
  const auto result = logits_agree(logits);
  if (!result) RC_FAIL(result.message());
}

TEST(RowKernels, LogitStatsAgreeOnAWholeVocabularyAndOnEveryTie) {
  EXPECT_TRUE(logits_agree(normal(262144, 1, 4)));
  Floats ties(1000, -1.0f);
  for (size_t i = 0; i < 100; ++i) {
    ties[i] = 2;
    ties[(i * 37) % 900 + 100] = 2;
    EXPECT_TRUE(logits_agree(ties)) << "tie of " << i;
    ties[i] = -1;
  }
  EXPECT_TRUE(logits_agree(Floats(77, -kInfinity)));
  EXPECT_TRUE(logits_agree(Floats(77, kNan)));
}

RC_GTEST_PROP(RowKernels, WrittenCellsEqualTheReferenceBitForBit, ()) {
  const int64_t n = *rc::gen::inRange<int64_t>(1, 5), kv_heads = *rc::gen::inRange<int64_t>(1, 4);
  const int64_t dim = *rc::gen::elementOf(std::vector<int64_t>{1, 7, 20, 64, 80, 128, 256, 300});
  Floats k = normal(static_cast<size_t>(n * kv_heads * dim), any_seed()), v = normal(k.size(), any_seed(), 1e-6f);
  for (float special : {kNan, kInfinity, -1e6f, 65519.0f, 65520.0f, 1e-8f, 3.3961775e38f, -3.4e38f}) {
    k[*rc::gen::inRange<size_t>(0, k.size())] = special, v[*rc::gen::inRange<size_t>(0, v.size())] = special;
  }
  for (DType type : {DType::f16, DType::bf16, DType::f32}) {
    const size_t bytes = static_cast<size_t>(kv_heads * dim * kPageCells) * info(type).block_bytes;
    const auto run = [&](const KernelTable& t, std::vector<uint8_t>& keys, std::vector<uint8_t>& values) {
      keys.assign(bytes, 0xAA), values.assign(bytes, 0xAA);
      KvPage page{keys.data(), values.data(), 0};
      const KvCell cells[] = {{&page, 63}, {&page, 0}, {&page, 17}, {&page, 18}};
      t.kv_write.run({type, k.data(), v.data(), kv_heads, dim, cells}, 0, n);
    };
    std::vector<uint8_t> want_k, want_v, got_k, got_v;
    run(kernels::ref(), want_k, want_v);
    // NaN has many bit patterns: compare numbers where the reference wrote one.
    for (const KernelTable* t : cpu_tables()) {
      run(*t, got_k, got_v);
      const auto agree = [&](const std::vector<uint8_t>& got, const std::vector<uint8_t>& want) {
        const size_t step = info(type).block_bytes;
        for (size_t i = 0; i < bytes; i += step) {
          const bool same = std::equal(got.begin() + i, got.begin() + i + step, want.begin() + i);
          const uint8_t top = want[i + step - 1] & 0x7F, got_top = got[i + step - 1] & 0x7F;
          if (!same && (top < 0x7C || got_top < 0x7C)) RC_FAIL(fmt::format("{} differs at byte {}", t->name, i));
        }
      };
      agree(got_k, want_k), agree(got_v, want_v);
    }
  }
}

TEST(RowKernels, ARowIsTheSameAloneAndAmongOthers) {
  const int64_t n = 5, cols = 333;
  const Floats a = normal(5 * 333, 3), b = normal(5 * 333, 4), weight = normal(333, 5);
  for (const KernelTable* t : cpu_tables()) {
    Floats together(a.size()), apart(a.size());
    t->norm.run({a.data(), nullptr, cols, weight.data(), 1e-6f, together.data()}, 0, n);
    for (int64_t i = n; i-- > 0;) t->norm.run({a.data(), nullptr, cols, weight.data(), 1e-6f, apart.data()}, i, i + 1);
    EXPECT_TRUE(same_bits<float>(apart, together)) << t->name << " norm";
    t->gated.run({Gate::gelu_tanh, a.data(), b.data(), cols, together.data()}, 0, n);
    for (int64_t i = n; i-- > 0;) t->gated.run({Gate::gelu_tanh, a.data(), b.data(), cols, apart.data()}, i, i + 1);
    EXPECT_TRUE(same_bits<float>(apart, together)) << t->name << " gated";
    LogitStats all[5], one[5];
    t->logit_stats.run({a.data(), cols, all}, 0, n);
    for (int64_t i = n; i-- > 0;) t->logit_stats.run({a.data(), cols, one}, i, i + 1);
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(all[i].log_sum, one[i].log_sum) << t->name << " logit_stats";
  }
}

}  // namespace
}  // namespace fathom
