// The specification itself: what the bytes of each type mean, and each reference kernel against a hand-made case.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "kernels/abi.h"
#include "kernels/ref/dequant.h"
#include "tests/kernels/dequant_golden.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using kernels::float_to_half;
using kernels::half_to_float;
using testing::all_near;
using testing::same_bits;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
std::vector<T> from_hex(std::string_view hex) {
  std::vector<T> out(hex.size() / 2 / sizeof(T));
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i < hex.size() / 2; ++i) {
    reinterpret_cast<uint8_t*>(out.data())[i] = static_cast<uint8_t>(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
  }
  return out;
}

TEST(Half, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float x = half_to_float(static_cast<uint16_t>(h));
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(x))));
    } else {
      ASSERT_EQ(float_to_half(x), h);
    }
  }
}

TEST(Half, MidpointsRoundToTheEvenNeighbour) {
  for (uint32_t h = 0; h < 0x7BFF; ++h) {
    const double low = half_to_float(static_cast<uint16_t>(h)), high = half_to_float(static_cast<uint16_t>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: 12 bits
    ASSERT_EQ(float_to_half(middle), h % 2 == 0 ? h : h + 1) << middle;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0f)), h) << middle;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9f)), h + 1) << middle;
  }
  EXPECT_EQ(float_to_half(65519.996f), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0f), 0x7C00);
}

TEST(Dequant, BlocksOfEveryQuantisedTypeEqualTheGoldenBitForBit) {
  for (const auto& golden : testing::kDequantGolden) {
    const auto blocks = from_hex<uint8_t>(golden.blocks);
    const auto numbers = from_hex<float>(golden.numbers);
    std::vector<float> got(numbers.size());
    kernels::dequantize_row(golden.type, blocks.data(), got.data(), static_cast<int64_t>(got.size()));
    EXPECT_TRUE(same_bits<float>(got, numbers)) << info(golden.type).name;
  }
}

TEST(Dequant, PlainFloatsAreTheirOwnMeaning) {
  const std::vector<uint16_t> halves = {0x3C00, 0xC000, 0x0001};
  std::vector<float> got(3);
  kernels::dequantize_row(DType::f16, halves.data(), got.data(), 3);
  EXPECT_TRUE(same_bits<float>(got, std::vector<float>{1.0f, -2.0f, 0x1p-24f}));
  kernels::dequantize_row(DType::bf16, halves.data(), got.data(), 3);
  EXPECT_TRUE(same_bits<float>(got, std::vector<float>{0x1p-7f, -2.0f, 0x1p-133f}));
}

TEST(Reference, TheTableServesEveryEntryAndEveryType) {
  const KernelTable& t = kernels::ref();
  EXPECT_TRUE(t.embed.run && t.norm.run && t.quantize.run && t.gated.run && t.add.run && t.rope.run);
  EXPECT_TRUE(t.similarity.run && t.logit_stats.run && t.kv_write.run && t.attention.name && t.attention_share.run);
  for (const LinearList& list : t.linear) {
    ASSERT_EQ(list.n, kDTypes);
    for (int i = 0; i < kDTypes; ++i) {
      const MatrixDesc matrix{static_cast<DType>(i), 3, 512};
      EXPECT_EQ(list.kernels[i].packed_bytes(matrix), 3 * row_bytes(matrix.type, 512));
      EXPECT_EQ(list.kernels[(i + 1) % kDTypes].packed_bytes(matrix), 0u);
    }
  }
}

/// The reference kernel of f32 weights.
const LinearKernel& kernel_of(Numerics numerics) {
  return kernels::ref().linear[static_cast<int>(numerics)].kernels[static_cast<int>(DType::f32)];
}

TEST(Reference, AProductIsTheSumOverInputsPlusTheBias) {
  const std::vector<float> weight = {1, 2, 3, -1, 0, 4}, src = {1, 10, 100, 2, 3, 5}, bias = {0.5f, -0.5f};
  std::vector<float> dst(4);
  const LinearKernel& kernel = kernel_of(Numerics::exact);
  const LinearArgs args{.matrix = {DType::f32, 2, 3},
                        .packed = weight.data(),
                        .src = src.data(),
                        .src_quant = {},
                        .n = 2,
                        .bias = bias.data(),
                        .dst = dst.data(),
                        .dst_stride = 2};
  kernel.run(args, 0, 2);
  EXPECT_TRUE(same_bits<float>(dst, std::vector<float>{321.5f, 398.5f, 23.5f, 17.5f}));
}

/// Quantises one row with the reference kernel.
struct Quantised {
  bool planes;
  std::vector<int8_t> values, low;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  explicit Quantised(const std::vector<float>& src, bool two_planes = false) : planes(two_planes) {
    const size_t cols = (src.size() + 31) / 32 * 32;
    values.resize(cols, 99);
    low.resize(cols, 99);
    scales.resize(cols / 32, 99);
    sums.resize(cols / 16, 99);
    kernels::ref().quantize.run({src.data(), static_cast<int64_t>(src.size()), rows()}, 0, 1);
  }
  QuantRows rows() {
    return {values.data(), scales.data(), sums.data(), static_cast<int64_t>(values.size()),
            planes ? low.data() : nullptr};
  }
};

TEST(Reference, QuantisingRoundsHalfToEvenAndPadsWithZeros) {
  std::vector<float> src(33, 0.0f);
  src[0] = 127, src[1] = 0.5f, src[2] = 1.5f, src[3] = -2.5f, src[32] = -4;
  const Quantised q(src);
  EXPECT_EQ(q.scales[0], 1.0f);
  EXPECT_EQ(q.values[0], 127);
  EXPECT_EQ(q.values[1], 0);
  EXPECT_EQ(q.values[2], 2);
  EXPECT_EQ(q.values[3], -2);
  EXPECT_EQ(q.values[32], -127);
  EXPECT_EQ(q.values[33], 0);
  EXPECT_EQ(q.sums, (std::vector<int32_t>{127, 0, -127, 0}));
}

TEST(Reference, TwoPlanesHoldTwelveBits) {
  std::vector<float> src(33, 0.0f);
  src[0] = 2039, src[1] = 0.5f, src[2] = 1.5f, src[3] = -2.5f, src[4] = 24, src[5] = -2039, src[6] = 7, src[7] = -8;
  src[32] = -4;
  const Quantised q(src, true);
  EXPECT_EQ(q.scales[0], 1.0f);
  const auto value = [&](size_t i) { return 16 * q.values[i] + q.low[i]; };
  for (size_t i : {0, 4, 5, 6, 7}) EXPECT_EQ(value(i), src[i]) << i;
  EXPECT_EQ(value(1), 0);
  EXPECT_EQ(value(2), 2);
  EXPECT_EQ(value(3), -2);
  EXPECT_EQ(value(32), -2039);
  EXPECT_EQ(value(33), 0);
  for (int8_t low : q.low) EXPECT_TRUE(-8 <= low && low <= 7) << int{low};
  EXPECT_EQ(q.sums, (std::vector<int32_t>{2039 + 2 - 2 + 24 - 2039 + 7 - 8, 0, -2039, 0}));
}

TEST(Reference, ABlockThatIsNotFinitePoisonsItsScaleAndNoOther) {
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> src(64, 1.0f);
    src[40] = bad;
    const Quantised q(src);
    EXPECT_EQ(q.scales[0], 1.0f / 127);
    EXPECT_TRUE(std::isnan(q.scales[1]));
    EXPECT_EQ(q.values[40], 0);
  }
}

TEST(Reference, ABlockTooSmallForANormalScaleIsZero) {
  for (float tiny : {0.0f, 1e-45f, 100e-45f, 1e-38f}) {
    const Quantised q(std::vector<float>(32, tiny));
    EXPECT_EQ(q.scales[0], 0.0f) << tiny;
    EXPECT_EQ(q.values[0], 0) << tiny;
  }
}

TEST(Reference, TheQuantisedProductIsTheProductOfTheDequantisedNumbers) {
  std::vector<float> src(32);
  for (size_t i = 0; i < src.size(); ++i) src[i] = std::sin(static_cast<float>(i));
  Quantised q(src);
  std::vector<float> weight(32, 0.0f), dst(1);
  weight[5] = 3, weight[31] = -2;
  const LinearKernel& kernel = kernel_of(Numerics::fast);
  kernel.run({.matrix = {DType::f32, 1, 32},
              .packed = weight.data(),
              .src = nullptr,
              .src_quant = q.rows(),
              .n = 1,
              .bias = nullptr,
              .dst = dst.data(),
              .dst_stride = 1},
             0, 1);
  const double want = static_cast<double>(q.scales[0]) * (3 * q.values[5] - 2 * q.values[31]);
  EXPECT_EQ(dst[0], static_cast<float>(want));
}

TEST(Reference, NormDividesByTheRootMeanSquare) {
  const std::vector<float> src = {3, 4, 0, 0, 1, 1, 1, 1}, weight = {1, 2, 1, 1};
  const std::vector<int32_t> index = {1, 0};
  std::vector<float> dst(8);
  kernels::ref().norm.run({src.data(), index.data(), 4, weight.data(), 0.0f, dst.data()}, 0, 2);
  EXPECT_TRUE(same_bits<float>(dst, std::vector<float>{1, 2, 1, 1, 1.2f, 3.2f, 0, 0}));
}

TEST(Reference, RotationByAQuarterTurnMovesEachPairOfItsPairing) {
  const std::vector<float> cos_sin = {0, 1, 0, 1};
  std::vector<float> adjacent = {1, 2, 3, 4, 5}, halves = adjacent;
  kernels::ref().rope.run({adjacent.data(), 1, 5, 4, Pairing::adjacent, cos_sin.data()}, 0, 1);
  kernels::ref().rope.run({halves.data(), 1, 5, 4, Pairing::halves, cos_sin.data()}, 0, 1);
  EXPECT_TRUE(same_bits<float>(adjacent, std::vector<float>{-2, 1, -4, 3, 5}));
  EXPECT_TRUE(same_bits<float>(halves, std::vector<float>{-3, -4, 1, 2, 5}));
}

TEST(Reference, GatesHaveTheirTextbookValues) {
  const std::vector<float> a = {0, 1, -1, 30}, b = {5, 1, 1, 1};
  std::vector<float> dst(4);
  kernels::ref().gated.run({Gate::silu, a.data(), b.data(), 4, dst.data()}, 0, 1);
  const std::vector<double> silu = {0, 0.73105857863000490, -0.26894142136999512, 30};
  EXPECT_TRUE(all_near<double>(dst, silu, [&](size_t i) { return std::abs(silu[i]) * 0x1p-24; }));
  kernels::ref().gated.run({Gate::gelu_tanh, a.data(), b.data(), 4, dst.data()}, 0, 1);
  const std::vector<double> gelu = {0, 0.84119199060827680, -0.15880800939172324, 30};
  EXPECT_TRUE(all_near<double>(dst, gelu, [&](size_t i) { return std::abs(gelu[i]) * 0x1p-24; }));
}

LogitStats stats(const std::vector<float>& logits) {
  LogitStats s{};
  kernels::ref().logit_stats.run({logits.data(), static_cast<int64_t>(logits.size()), &s}, 0, 1);
  return s;
}

TEST(Reference, TiesOfTheLargestLogitGoToTheLowerIdAndCountAsSecond) {
  const LogitStats s = stats({1, 3, 2, 3});
  EXPECT_EQ(s.argmax, 1);
  EXPECT_EQ(s.max, 3);
  EXPECT_EQ(s.second, 3);
}

TEST(Reference, EqualLogitsHaveTheEntropyOfTheirNumber) {
  const LogitStats s = stats(std::vector<float>(1024, -5));
  EXPECT_FLOAT_EQ(s.entropy, std::log(1024.0f));
  EXPECT_FLOAT_EQ(s.log_sum, std::log(1024.0f) - 5);
}

TEST(Reference, ANanLogitIsNeverChosenAndSpoilsTheSums) {
  const LogitStats s = stats({kNan, 1, 7, kNan});
  EXPECT_EQ(s.argmax, 2);
  EXPECT_EQ(s.second, 1);
  EXPECT_TRUE(std::isnan(s.log_sum) && std::isnan(s.entropy));
  EXPECT_EQ(stats({kNan, kNan}).argmax, 0);
}

TEST(Reference, ForbiddenLogitsTakeNoProbability) {
  const LogitStats s = stats({-kInfinity, 2, -kInfinity, 2});
  EXPECT_EQ(s.argmax, 1);
  EXPECT_FLOAT_EQ(s.entropy, std::log(2.0f));
  EXPECT_EQ(stats({-kInfinity, -kInfinity}).log_sum, -kInfinity);
}

TEST(Reference, SimilarityIsTheCosineAndZeroForNothing) {
  const std::vector<float> a = {1, 0, 0, 0}, b = {1, 1, 2, 2};
  std::vector<float> dst(2);
  kernels::ref().similarity.run({a.data(), nullptr, b.data(), 2, dst.data()}, 0, 2);
  EXPECT_FLOAT_EQ(dst[0], std::sqrt(0.5f));
  EXPECT_EQ(dst[1], 0.0f);
}

TEST(Reference, AttentionOfTwoCellsIsTheirWeightedMean) {
  std::vector<float> k(64, 0.0f), v(64, kNan);
  k[3] = std::log(3.0f), k[5] = 0, v[3] = 8, v[5] = 4;
  const KvPage page{k.data(), v.data(), uint64_t{1} << 3 | uint64_t{1} << 5};
  const KvPage* const pages[] = {&page};
  const AttentionRow row{pages, 0, 64};
  const float q = 1;
  float dst = 0, partial[3];
  const AttentionArgs args{DType::f32, &q, &row, 1, 1, 1, 1.0f, &dst};
  const AttentionKernels& attention = kernels::ref().attention.run;
  attention.chunk(args, 0, 1, 0, 0, partial);
  attention.finish(args, 0, 0, partial);
  EXPECT_FLOAT_EQ(dst, 7);  // weights 3/4 and 1/4
}

}  // namespace
}  // namespace fathom
