// Head kernels of every target: the product over split panels has the bits of the one over plain panels, and a screen's
// bounds hold for whatever a file or a row of activations may contain.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "fathom/model/model_file.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/head_case.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::Bounds;
using testing::bounds_hold;
using testing::cpu_tables;
using testing::FileBlocks;
using testing::Fill;
using testing::kInf;
using testing::LinearCase;
using testing::PackedHead;
using testing::same_bits;

constexpr Numerics kRounding[] = {Numerics::fast, Numerics::faithful};

std::vector<float> plain_product(const KernelTable& table, LinearCase& c, bool with_bias) {
  const LinearList& list = table.linear[static_cast<int>(c.numerics)];
  int32_t i = 0;
  while (list.kernels[i].packed_bytes(c.matrix) == 0) ++i;
  const LinearKernel& kernel = list.kernels[i];
  const Buffer memory(kernel.packed_bytes(c.matrix));
  const int64_t panels = (c.matrix.rows + kernel.panel_rows - 1) / kernel.panel_rows;
  kernel.pack(c.matrix, c.weights.data(), memory.data(), 0, panels);
  std::vector<float> dst(static_cast<size_t>(c.n * c.matrix.rows));
  kernel.run({c.matrix, memory.data(), nullptr, c.quant(), c.n, with_bias ? c.bias.data() : nullptr, dst.data(),
              c.matrix.rows},
             0, panels);
  return dst;
}

std::span<const float> first_rows(const std::vector<float>& all, const LinearCase& c, int64_t n) {
  return {all.data(), static_cast<size_t>(n * c.matrix.rows)};
}

class HeadKernels : public ::testing::TestWithParam<DType> {
 protected:
  /// `k` inputs, made a multiple of what the type needs.
  static int64_t cols(int64_t k) {
    const auto unit = static_cast<int64_t>(info(GetParam()).block_elements);
    return std::max<int64_t>(1, k / unit) * unit;
  }
};

std::string type_name(const ::testing::TestParamInfo<DType>& test) { return std::string(info(test.param).name); }
INSTANTIATE_TEST_SUITE_P(Types, HeadKernels, ::testing::Values(DType::q8_0, DType::q6_k), type_name);

TEST_P(HeadKernels, ProductsHaveTheBitsOfPlainPanels) {
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 53, cols(1024), 17, 1, Fill::random, numerics);
    for (const KernelTable* table : cpu_tables()) {
      const PackedHead head(*table, c);
      for (const bool with_bias : {false, true}) {
        const std::vector<float> want = plain_product(*table, c, with_bias);
        for (int64_t n = 1; n <= c.n; ++n) {
          ASSERT_TRUE(same_bits<float>(head.product(c, n, n % 2 == 0 ? 1 : 4, with_bias), first_rows(want, c, n)))
              << table->name << ", n = " << n;
        }
      }
    }
  }
}

TEST_P(HeadKernels, ProductsOfListedPanelsAreThoseOfAllAndTouchNoOther) {
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 83, cols(1024), 1, 1, Fill::random, numerics);
    for (const KernelTable* table : cpu_tables()) {
      const PackedHead head(*table, c);
      const std::vector<float> all = head.product(c, 1, 6, true);
      std::vector<float> got(83, 7.0f);
      const int32_t panels[] = {0, 2, 3, 5};
      head.kernel->product_of({c.matrix, head.memory.data(), nullptr, c.quant(), 1, c.bias.data(), got.data(), 83},
                              panels, 4);
      for (size_t o = 0; o < 83; ++o)
        ASSERT_EQ(got[o], o / 16 == 1 || o / 16 == 4 ? 7.0f : all[o]) << table->name << ", output " << o;
    }
  }
}

TEST_P(HeadKernels, ProductsOfExtremeCodesHaveTheBitsOfPlainPanels) {
  for (Numerics numerics : kRounding) {
    for (Fill fill : {Fill::all_max, Fill::all_min}) {
      LinearCase c(GetParam(), 16, cols(512), 3, 4, fill, numerics);
      for (const KernelTable* table : cpu_tables()) {
        EXPECT_TRUE(same_bits<float>(PackedHead(*table, c).product(c, 3, 1, true), plain_product(*table, c, true)))
            << table->name;
      }
      EXPECT_TRUE(bounds_hold(c, 3));
    }
  }
}

RC_GTEST_PROP(HeadLaw, AnyShapeAnyRowsAnySplitHasTheBitsOfPlainPanelsAndBoundsThatHold, ()) {
  const auto type = *rc::gen::element(DType::q8_0, DType::q6_k);
  const auto unit = static_cast<int64_t>(info(type).block_elements);
  const auto cols = unit * *rc::gen::inRange<int64_t>(1, unit == 32 ? 40 : 6);
  const auto n = *rc::gen::inRange<int64_t>(1, 18);
  LinearCase c(type, *rc::gen::inRange<int64_t>(1, 70), cols, n, *rc::gen::arbitrary<uint32_t>(), Fill::random,
               *rc::gen::element(Numerics::fast, Numerics::faithful));
  const auto split = *rc::gen::inRange<int64_t>(1, 6);
  for (const KernelTable* table : cpu_tables()) {
    RC_ASSERT(static_cast<bool>(
        same_bits<float>(PackedHead(*table, c).product(c, n, split, true), plain_product(*table, c, true))));
  }
  RC_ASSERT(static_cast<bool>(bounds_hold(c, n)));
}

TEST_P(HeadKernels, TakeWhatTheFileTakesAndAFewPercentForNorms) {
  const MatrixDesc m{GetParam(), 4096, cols(1536)};
  for (const KernelTable* table : cpu_tables()) {
    LinearCase c(GetParam(), 1, cols(1536), 1, 1);
    const size_t bytes = testing::head_kernel_for(*table, c)->product.packed_bytes(m);
    const size_t file = 4096 * row_bytes(m.type, static_cast<size_t>(m.cols));
    EXPECT_GT(bytes, file) << table->name;
    EXPECT_LT(bytes, file + file / 100) << table->name;
  }
}

TEST_P(HeadKernels, ShapesThatAreNoWholeBlocksOrTooWideAreDeclined) {
  for (const KernelTable* table : cpu_tables()) {
    for (const HeadList& list : table->head) {
      for (int32_t i = 0; i < list.n; ++i) {
        const auto declines = [&](int64_t rows, int64_t n_cols) {
          return list.kernels[i].product.packed_bytes({GetParam(), rows, n_cols}) == 0;
        };
        EXPECT_TRUE(declines(0, cols(256)) && declines(16, 0) && declines(16, cols(256) + 1));
        EXPECT_TRUE(declines(int64_t{1} << 40, cols(5120)) && declines(16, cols(5376)));
      }
    }
  }
}

// ---- bounds -------------------------------------------------------------------------------------------------------

/// One case for each numeric path, changed by `change`, whose bounds must hold.
template <class Change>
void expect_bounds(DType type, int64_t cols, Change change) {
  for (Numerics numerics : kRounding) {
    for (uint32_t seed = 0; seed < 4; ++seed) {
      LinearCase c(type, 48, cols, 9, seed, Fill::random, numerics);
      FileBlocks blocks{c};
      change(c, blocks);
      EXPECT_TRUE(bounds_hold(c, c.n)) << name_of(numerics) << ", seed " << seed;
    }
  }
}

TEST_P(HeadKernels, BoundsHoldForRowsOfAnySize) {
  for (const float scale : {0.0f, 0x1p-24f, 1e-3f, 1.0f, 65504.0f}) {
    expect_bounds(GetParam(), cols(1024), [&](LinearCase&, FileBlocks& blocks) { blocks.set_all_scales(scale); });
  }
}

TEST_P(HeadKernels, BoundsHoldForOneGiantBlockAmongSmallOnes) {
  expect_bounds(GetParam(), cols(1024), [](LinearCase& c, FileBlocks& blocks) {
    blocks.set_all_scales(1e-4f);
    for (int64_t r = 0; r < c.matrix.rows; ++r) blocks.set_scale(r, r % blocks.n(), r % 2 == 0 ? 60000.0f : -60000.0f);
  });
}

TEST_P(HeadKernels, BoundsHoldForActivationsOfAnySize) {
  for (const float scale : {0.0f, 1.2e-38f, 1e-30f, 1.0f, 1e20f, 1e30f, 3e38f}) {
    expect_bounds(GetParam(), cols(1024), [&](LinearCase& c, FileBlocks&) {
      for (size_t i = 0; i < c.scales.size(); i += 2) c.scales[i] = scale;
    });
  }
}

TEST_P(HeadKernels, BoundsHoldForOneHugeActivation) {
  expect_bounds(GetParam(), cols(1024), [](LinearCase& c, FileBlocks&) {
    std::vector<int32_t> q(c.q.size());
    for (size_t i = 0; i < q.size(); ++i) q[i] = i % 997 == 3 ? c.q[i] : c.q[i] % 2;
    c.set(q);
  });
}

TEST_P(HeadKernels, ScalesThatAreNotFiniteRuleNothingOutAndTouchNoOtherOutput) {
  for (const uint16_t scale : {uint16_t{0x7C00}, uint16_t{0xFC00}, uint16_t{0x7E00}}) {
    expect_bounds(GetParam(), cols(512), [&](LinearCase&, FileBlocks& blocks) { blocks.set_scale(5, 1, scale); });
    LinearCase c(GetParam(), 48, cols(512), 1, 1), before = c;
    FileBlocks{c}.set_scale(5, 1, scale);
    for (const KernelTable* table : cpu_tables()) {
      const Bounds bounds(PackedHead(*table, c), c, 1, false), plain(PackedHead(*table, before), before, 1, false);
      EXPECT_EQ(bounds.lower[5], -kInf);
      EXPECT_EQ(bounds.upper[5], kInf);
      for (size_t o = 0; o < 48; ++o) {
        if (o == 5) continue;
        EXPECT_EQ(bounds.upper[o], plain.upper[o]) << table->name << ", output " << o;
      }
    }
  }
}

TEST_P(HeadKernels, ActivationsThatAreNotFiniteAreRefusedAndRuleNothingOut) {
  for (const float scale : {kInf, std::nanf("")}) {
    LinearCase c(GetParam(), 48, cols(512), 2, 1);
    c.scales[c.scales.size() / 2 + 3] = scale;
    for (const KernelTable* table : cpu_tables()) {
      const PackedHead head(*table, c);
      std::vector<float> prepared(static_cast<size_t>(head.kernel->prepared_floats(c.matrix)));
      EXPECT_TRUE(head.kernel->prepare(c.matrix, c.quant(), 0, prepared.data())) << table->name;
      EXPECT_FALSE(head.kernel->prepare(c.matrix, c.quant(), 1, prepared.data())) << table->name;
      const Bounds bounds(head, c, 2, false);
      for (int64_t o = 0; o < 48; ++o) {
        EXPECT_EQ(bounds.lower[static_cast<size_t>(bounds.stride + o)], -kInf);
        EXPECT_EQ(bounds.upper[static_cast<size_t>(bounds.stride + o)], kInf);
      }
    }
  }
}

/// A case whose residuals point the way of the activations, or the opposite way: Cauchy and Schwarz's bound is met.
void point_residuals(LinearCase& c, int sign, int32_t size, float scale, float activation_scale) {
  FileBlocks blocks{c};
  const bool eight = c.matrix.type == DType::q8_0;
  blocks.set_one_scale(scale);
  std::fill(c.scales.begin(), c.scales.end(), activation_scale);
  std::vector<int32_t> q(c.q.size());
  for (size_t i = 0; i < q.size(); ++i) q[i] = i * 7919 % 3 == 0 ? -size : size;
  c.set(q);
  for (int64_t r = 0; r < c.matrix.rows; ++r) {
    for (int64_t i = 0; i < c.matrix.cols; ++i) {
      const bool up = (q[static_cast<size_t>(i)] > 0) == (sign > 0);
      const int high = static_cast<int>(r + i) % 16, low = up ? (eight ? 15 : 3) : 0;
      blocks.set_code(r, i, eight ? 16 * high + low - 128 : 4 * high + low);
    }
  }
}

TEST_P(HeadKernels, BoundsHoldWhereResidualsPointTheWayOfTheActivations) {
  for (const int sign : {1, -1}) {
    for (const float scale : {0.25f, 0.2f, 0.17f, 0.11f, 3e-5f}) {
      for (const int32_t size : {1, 7, 127}) {
        expect_bounds(GetParam(), cols(1024),
                      [&](LinearCase& c, FileBlocks&) { point_residuals(c, sign, size, scale, 0.01f); });
      }
    }
  }
}

TEST_P(HeadKernels, BoundsHoldWhereProductsOfScalesUnderflow) {
  for (const int sign : {1, -1}) {
    for (const float activation_scale : {1.18e-38f, 1.3e-38f, 1.7e-38f, 4e-38f}) {
      expect_bounds(GetParam(), cols(1024),
                    [&](LinearCase& c, FileBlocks&) { point_residuals(c, sign, 127, 0x1p-24f, activation_scale); });
    }
  }
}

/// A case with one activation `first` in the first block, whose code is the largest, and 1 in each other, whose codes
/// lie in the middle with their low part at the end of its range: `small` times the scale.
void one_large_activation(LinearCase& c, int32_t first, float scale, int* small) {
  FileBlocks blocks{c};
  const bool eight = c.matrix.type == DType::q8_0;
  blocks.set_one_scale(scale);
  std::vector<int32_t> q(c.q.size());
  for (size_t i = 0; i < q.size(); i += kQuantBlock) q[i] = i % static_cast<size_t>(c.matrix.cols) == 0 ? first : 1;
  c.set(q);
  for (int64_t r = 0; r < c.matrix.rows; ++r) {
    for (int64_t i = 0; i < c.matrix.cols; i += kQuantBlock)
      blocks.set_code(r, i, i == 0 ? (eight ? 127 : 63) : (eight ? 15 : 35));
  }
  *small = eight ? 15 : 3;
}

// Inputs with one activation for each block are all far, and their residuals are at the end of the range, so that the
// radius is what really is open. What is added to the first block's product is just over half a unit in its last place
// for the product, which rounds up each time, and under half a unit for the screen, which stays: only the radius's
// share for rounding holds them.
TEST_P(HeadKernels, BoundsHoldWhereOnlyTheShareForRoundingHoldsThem) {
  for (uint32_t seed = 0; seed < 3; ++seed) {
    LinearCase c(GetParam(), 64, 5120, 1, seed, Fill::random, Numerics::faithful);
    int small = 0;
    one_large_activation(c, kMaxQ12, 1.0f, &small);
    const float first = static_cast<float>((GetParam() == DType::q8_0 ? 127 : 31) * kMaxQ12);
    const float half_unit = (std::nextafter(first, kInf) - first) / 2;
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> over_half(1.01f, 1.3f);
    for (size_t b = 0; b < c.scales.size(); ++b)
      c.scales[b] = b == 0 ? 1.0f : half_unit * over_half(random) / static_cast<float>(small);
    EXPECT_TRUE(bounds_hold(c, 1)) << "seed " << seed;
    FileBlocks blocks{c};
    for (int64_t r = 0; r < 64; ++r) {
      for (int64_t b = 0; b < blocks.n(); ++b) blocks.set_scale(r, b, -1.0f);
    }
    EXPECT_TRUE(bounds_hold(c, 1)) << "seed " << seed << ", negative";
  }
}

TEST_P(HeadKernels, BoundsHoldWhereTheProductOverflowsAndTheScreenDoesNot) {
  for (const float scale : {1.0f, -1.0f}) {
    LinearCase c(GetParam(), 16, 512, 1, 1);
    int small = 0;
    one_large_activation(c, 1, scale, &small);
    std::fill(c.scales.begin(), c.scales.end(), 0.0f);
    c.scales[0] = static_cast<float>(3.45e38 / (GetParam() == DType::q8_0 ? 127 : 31));
    EXPECT_TRUE(bounds_hold(c, 1));
  }
}

TEST_P(HeadKernels, FarInputsMakeBoundsTighterThanCauchyAndSchwarzAlone) {
  LinearCase c(GetParam(), 64, cols(1024), 1, 3, Fill::random, Numerics::faithful);
  FileBlocks blocks{c};
  blocks.set_all_scales(0.01f);
  std::fill(c.scales.begin(), c.scales.end(), 1.0f);
  std::vector<int32_t> q(c.q.size());
  for (size_t i = 0; i < q.size(); ++i) q[i] = i % 128 == 5 ? 2000 : c.q[i] % 60;
  std::vector<int32_t> near = q;
  for (size_t i = 5; i < q.size(); i += 128) near[i] = 0;
  const auto width = [&](const std::vector<int32_t>& activations) {
    c.set(activations);
    const Bounds bounds(PackedHead(*cpu_tables()[0], c), c, 1, false);
    return bounds.upper[0] - bounds.lower[0];
  };
  // Norms alone would pay deviation * sqrt(128) for each far input, in place of half the range.
  const double ratio = GetParam() == DType::q8_0 ? 7.5 / 4.61 : 1.5 / 1.118;
  const double far = width(q) - width(near), alone = far / ratio * std::sqrt(128.0);
  EXPECT_GT(far, 0);
  EXPECT_LT(width(q), 0.5 * alone);
}

}  // namespace
}  // namespace fathom
