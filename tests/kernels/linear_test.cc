// Every linear kernel of every target: the same bits as the written order of sums, whatever the rows and the split;
// near the double reference; and the packing and grouping above them.
#include "fathom/ops/linear.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::Fill;
using testing::LinearCase;
using testing::ordered_sum;
using testing::same_bits;

constexpr DType kTypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::q4_0, DType::q5_0,
                            DType::q8_0, DType::q4_k, DType::q5_k, DType::q6_k};

std::vector<const KernelTable*> targets() {
  int32_t n = 0;
  const KernelTable* const* tables = kernels::cpu(&n);
  return {tables, tables + n};
}

const LinearKernel* kernel_for(const KernelTable& table, const MatrixDesc& m, Numerics numerics = Numerics::fast) {
  const LinearList& list = table.linear[static_cast<int>(numerics)];
  for (int32_t i = 0; i < list.n; ++i) {
    if (list.kernels[i].packed_bytes(m) != 0) return &list.kernels[i];
  }
  return nullptr;
}

const LinearKernel* kernel_for(const KernelTable& table, const LinearCase& c) {
  return kernel_for(table, c.matrix, c.numerics);
}

constexpr Numerics kRounding[] = {Numerics::fast, Numerics::faithful};

/// Packs and multiplies, in parts of `split` panels; dst has a margin of two columns that must stay untouched.
std::vector<float> multiply(const LinearKernel& kernel, LinearCase& c, int64_t n, int64_t split, bool with_bias) {
  const Buffer packed(kernel.packed_bytes(c.matrix));
  const int64_t panels = (c.matrix.rows + kernel.panel_rows - 1) / kernel.panel_rows;
  const int64_t stride = c.matrix.rows + 2;
  constexpr float kUntouched = 12345.0f;
  std::vector<float> dst(static_cast<size_t>(n * stride), kUntouched), result;
  const LinearArgs args{c.matrix,   packed.data(), c.src.data(),     c.quant(), n, with_bias ? c.bias.data() : nullptr,
                        dst.data(), stride,        c.src_bf16.data()};
  for (int64_t p = 0; p < panels; p += split)
    kernel.pack(c.matrix, c.weights.data(), packed.data(), p, std::min(panels, p + split));
  for (int64_t p = 0; p < panels; p += split) kernel.run(args, p, std::min(panels, p + split));
  for (int64_t r = 0; r < n; ++r) {
    const float* row = dst.data() + r * stride;
    result.insert(result.end(), row, row + c.matrix.rows);
    EXPECT_EQ(row[c.matrix.rows], kUntouched) << kernel.name << " wrote past the end of row " << r;
  }
  return result;
}

std::vector<float> ordered(const LinearCase& c, bool with_bias) {
  std::vector<float> want;
  for (int64_t r = 0; r < c.n; ++r) {
    for (int64_t o = 0; o < c.matrix.rows; ++o) {
      want.push_back(ordered_sum(c, r, o) + (with_bias ? c.bias[static_cast<size_t>(o)] : 0.0f));
    }
  }
  return want;
}

/// Every target against the written order, for the first n rows.
void expect_ordered(LinearCase& c, std::initializer_list<int64_t> ns, std::initializer_list<int64_t> splits) {
  for (bool with_bias : {false, true}) {
    const std::vector<float> want = ordered(c, with_bias);
    for (const KernelTable* table : targets()) {
      const LinearKernel* kernel = kernel_for(*table, c);
      ASSERT_NE(kernel, nullptr) << table->name;
      for (int64_t n : ns) {
        const std::span<const float> head(want.data(), static_cast<size_t>(n * c.matrix.rows));
        for (int64_t split : splits) {
          ASSERT_TRUE(same_bits<float>(multiply(*kernel, c, n, split, with_bias), head))
              << kernel->name << ", " << c.matrix.rows << " x " << c.matrix.cols << ", n = " << n << ", panels by "
              << split;
        }
      }
    }
  }
}

class LinearKernels : public ::testing::TestWithParam<DType> {
 protected:
  /// `k` inputs, made a multiple of what the type needs.
  static int64_t cols(int64_t k) {
    return std::max<int64_t>(1, k / info(GetParam()).block_elements) * info(GetParam()).block_elements;
  }
};

std::string type_name(const ::testing::TestParamInfo<DType>& test) { return std::string(info(test.param).name); }
INSTANTIATE_TEST_SUITE_P(Types, LinearKernels, ::testing::ValuesIn(kTypes), type_name);

TEST_P(LinearKernels, EveryTargetGivesTheBitsOfTheWrittenOrder) {
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 37, cols(1312), 40, 1, Fill::random, numerics);
    expect_ordered(c, {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 24, 31, 32, 33, 40}, {1, 2, 3});
  }
}

TEST_P(LinearKernels, RowsPastTheLastWholePanelAreNeitherReadNorWritten) {
  for (int64_t rows : {1, 2, 15, 16, 17, 33}) {
    LinearCase c(GetParam(), rows, cols(256), 3, static_cast<uint32_t>(rows));
    expect_ordered(c, {1, 3}, {1, 8});
  }
}

TEST_P(LinearKernels, LongReductionsKeepTheirOrderAcrossSegments) {
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 17, cols(20736), 17, 3, Fill::random, numerics);
    expect_ordered(c, {1, 2, 9, 16, 17}, {2});
  }
}

TEST_P(LinearKernels, ExtremeCodesAndActivationsDoNotSaturate) {
  for (Numerics numerics : kRounding) {
    for (Fill fill : {Fill::all_max, Fill::all_min}) {
      LinearCase c(GetParam(), 16, cols(512), 17, 4, fill, numerics);
      expect_ordered(c, {1, 2, 17}, {1});
      c.negate();
      expect_ordered(c, {1, 2, 17}, {1});
      if (numerics == Numerics::faithful && !c.q.empty()) {
        c.set(std::vector<int32_t>(c.q.size(), 2024));  // 16 * 127 - 8: both planes at their ends
        expect_ordered(c, {1, 2, 17}, {1});
      }
    }
  }
}

TEST_P(LinearKernels, ScalesOfAnySizeKeepTheOrderAndSpoilNothingElse) {
  if (info(GetParam()).block_elements == 1) return;  // without scales
  constexpr float kScales[] = {0, 1e-44f, 0x1p-126f, 1e-20f, 1, 1e20f, 3e38f, INFINITY, NAN};
  constexpr uint16_t kHalves[] = {0, 1, 0x8001, 0x0400, 0x3C00, 0x7BFF, 0xFBFF, 0x7C00, 0x7E00};  // f16, of weights
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 37, cols(1312), 40, 10, Fill::random, numerics);
    const size_t block_bytes = info(GetParam()).block_bytes, d = GetParam() == DType::q6_k ? 208 : 0;
    const int64_t width = c.matrix.cols / kQuantBlock;
    for (int64_t r = 0; r < c.n; ++r) {  // of an own size in each row but the first, whose blocks differ
      for (int64_t b = 0; b < width; ++b) c.scales[static_cast<size_t>(r * width + b)] = kScales[(r > 0 ? r : b) % 9];
    }
    for (int64_t o = 0; o < c.matrix.rows; o += 2) {  // every second output stays as it is
      uint8_t* row = c.weights.data() + (c.row(o) - c.weights.data());
      for (size_t b = 0; b * block_bytes < row_bytes(GetParam(), static_cast<size_t>(c.matrix.cols)); ++b) {
        std::memcpy(row + b * block_bytes + d, &kHalves[(o > 0 ? static_cast<size_t>(o / 2) : b) % 9], 2);
      }
    }
    const std::vector<float> want = ordered(c, true);
    for (const KernelTable* table : targets()) {
      const LinearKernel* kernel = kernel_for(*table, c);
      const std::vector<float> got = multiply(*kernel, c, c.n, 2, true);
      for (size_t i = 0; i < want.size(); ++i) {  // which NaN it is may differ
        if (std::isnan(want[i]) && std::isnan(got[i])) continue;
        ASSERT_EQ(kernels::float_to_bits(got[i]), kernels::float_to_bits(want[i]))
            << kernel->name << ", row " << i / 37 << ", output " << i % 37 << ": " << got[i] << ", not " << want[i];
      }
    }
  }
}

TEST_P(LinearKernels, EveryTargetIsNearTheDoubleReference) {
  for (Numerics numerics : kRounding) {
    LinearCase c(GetParam(), 37, cols(1312), 3, 5, Fill::random, numerics);
    const LinearKernel* specification = kernel_for(kernels::ref(), c.matrix, c.plain() ? Numerics::exact : c.numerics);
    ASSERT_NE(specification, nullptr);
    const std::vector<float> want = multiply(*specification, c, c.n, 16, true);
    const auto terms = static_cast<double>(c.plain() ? c.matrix.cols : c.matrix.cols / kQuantBlock);
    std::vector<double> bound;
    for (int64_t r = 0; r < c.n; ++r) {
      for (int64_t o = 0; o < c.matrix.rows; ++o) {
        const double bias = std::abs(c.bias[static_cast<size_t>(o)]);
        bound.push_back(testing::reference_bound(c, r, o) + (terms + 6) * 0x1p-24 * bias);
      }
    }
    for (const KernelTable* table : targets()) {
      const LinearKernel* kernel = kernel_for(*table, c);
      const std::vector<float> got = multiply(*kernel, c, c.n, 16, true);
      EXPECT_TRUE(testing::all_near<float>(got, want, [&](size_t i) { return bound[i]; })) << kernel->name;
    }
  }
}

TEST_P(LinearKernels, TheExactKernelIsAnOrderedSumOverExpandedWeights) {
  LinearCase c(GetParam(), 21, cols(544), 9, 6);
  LinearCase expanded(DType::f32, 21, cols(544), 9, 6);
  expanded.src = c.src;
  expanded.bias = c.bias;
  for (int64_t o = 0; o < 21; ++o) {
    kernels::dequantize_row(GetParam(), c.row(o), reinterpret_cast<float*>(expanded.weights.data()) + o * c.matrix.cols,
                            c.matrix.cols);
  }
  const std::vector<float> want = ordered(expanded, true);
  for (const KernelTable* table : targets()) {
    const LinearKernel* kernel = kernel_for(*table, c.matrix, Numerics::exact);
    ASSERT_NE(kernel, nullptr) << table->name;
    EXPECT_EQ(kernel->activation, Activation::f32);
    EXPECT_TRUE(same_bits<float>(multiply(*kernel, c, 9, 1, true), want)) << kernel->name;
  }
}

TEST_P(LinearKernels, PanelsOfWholeSizesTakeWhatTheFileTakes) {
  const MatrixDesc m{GetParam(), 1024, cols(2048)};
  for (const KernelTable* table : targets()) {
    EXPECT_EQ(kernel_for(*table, m)->packed_bytes(m), 1024 * row_bytes(m.type, static_cast<size_t>(m.cols)))
        << table->name;
  }
}

TEST_P(LinearKernels, ShapesThatAreNoWholeBlocksOrOverflowAreDeclined) {
  constexpr int64_t kHuge = int64_t{1} << 40;
  for (const KernelTable* table : targets()) {
    EXPECT_EQ(kernel_for(*table, {GetParam(), 0, cols(256)}), nullptr);
    EXPECT_EQ(kernel_for(*table, {GetParam(), -1, cols(256)}), nullptr);
    EXPECT_EQ(kernel_for(*table, {GetParam(), 16, 0}), nullptr);
    EXPECT_EQ(kernel_for(*table, {GetParam(), kHuge, kHuge}), nullptr);
    EXPECT_EQ(kernel_for(*table, {GetParam(), kHuge, kHuge}, Numerics::exact), nullptr);
    EXPECT_EQ(kernel_for(*table, {GetParam(), kHuge, kHuge}, Numerics::bf16), nullptr);
    if (info(GetParam()).block_elements > 1) {
      EXPECT_EQ(kernel_for(*table, {GetParam(), 16, cols(256) + 1}), nullptr);
    }
  }
}

RC_GTEST_PROP(LinearLaw, AnyShapeAnyRowsAnySplitGivesTheOrderedBits, ()) {
  const DType type = *rc::gen::elementOf(std::vector<DType>(std::begin(kTypes), std::end(kTypes)));
  const auto unit = static_cast<int64_t>(info(type).block_elements);
  const auto rows = *rc::gen::inRange<int64_t>(1, 70);
  const auto cols = unit * *rc::gen::inRange<int64_t>(1, unit == 1 ? 90 : unit == 32 ? 40 : 6);
  const auto n = *rc::gen::inRange<int64_t>(1, 41);
  const auto split = *rc::gen::inRange<int64_t>(1, 6);
  const auto numerics = *rc::gen::element(Numerics::fast, Numerics::faithful);
  LinearCase c(type, rows, cols, n, *rc::gen::arbitrary<uint32_t>(), Fill::random, numerics);
  const std::vector<float> want = ordered(c, false);
  for (const KernelTable* table : targets()) {
    RC_ASSERT(static_cast<bool>(same_bits<float>(multiply(*kernel_for(*table, c), c, n, split, false), want)));
  }
}

TEST_P(LinearKernels, TwoPlanesHoldTheSameProductAsOneWhereBothCan) {
  LinearCase one(GetParam(), 37, cols(1312), 5, 9);
  LinearCase two(GetParam(), 37, cols(1312), 5, 9, Fill::random, Numerics::faithful);
  two.set(one.q);
  for (const KernelTable* table : targets()) {
    EXPECT_TRUE(same_bits<float>(multiply(*kernel_for(*table, two), two, 5, 3, true),
                                 multiply(*kernel_for(*table, one), one, 5, 3, true)))
        << table->name;
  }
}

// ---- both sides rounded to bf16 -----------------------------------------------------------------------------------

/// The case as a product in bf16 reads it: both sides rounded, in f32.
LinearCase rounded(const LinearCase& c) {
  const MatrixDesc& m = c.matrix;
  LinearCase as_read(DType::f32, m.rows, m.cols, c.n, 1);
  auto* weights = reinterpret_cast<float*>(as_read.weights.data());
  const auto round = [](float& x) { x = kernels::bfloat16_to_float(kernels::float_to_bfloat16(x)); };
  for (int64_t o = 0; o < m.rows; ++o) kernels::dequantize_row(m.type, c.row(o), weights + o * m.cols, m.cols);
  std::for_each(weights, weights + m.rows * m.cols, round);
  as_read.src = c.src, as_read.bias = c.bias;
  std::for_each(as_read.src.begin(), as_read.src.end(), round);
  return as_read;
}

TEST_P(LinearKernels, InBf16EveryTargetIsNearTheDoubleReference) {
  for (int64_t k : {1312, 40}) {
    LinearCase c(GetParam(), 37, cols(k), 33, 5);
    const LinearCase as_read = rounded(c);
    std::vector<float> want = multiply(*kernel_for(kernels::ref(), c.matrix, Numerics::bf16), c, c.n, 16, true);
    std::vector<double> bound;  // one rounding for each input, and two; what is below FLT_MIN may count as zero
    const double roundings = (static_cast<double>(c.matrix.cols) + 6) * 0x1p-24;
    for (int64_t r = 0; r < c.n; ++r) {
      for (int64_t o = 0; o < c.matrix.rows; ++o) {
        const double bias = std::abs(c.bias[static_cast<size_t>(o)]);
        bound.push_back(testing::reference_bound(as_read, r, o) + roundings * bias + roundings * 0x1p-100);
      }
    }
    for (const KernelTable* table : targets()) {
      const LinearKernel* kernel = kernel_for(*table, c.matrix, Numerics::bf16);
      ASSERT_NE(kernel, nullptr) << table->name;
      EXPECT_EQ(kernel->activation, Activation::bf16);
      const std::vector<float> got = multiply(*kernel, c, c.n, 16, true);
      EXPECT_TRUE(testing::all_near<float>(got, want, [&](size_t i) { return bound[i]; })) << table->name;
    }
  }
}

TEST_P(LinearKernels, InBf16ARowHasTheSameBitsWhateverTheRowsAndTheSplit) {
  LinearCase c(GetParam(), 85, cols(1312), 80, 6);
  for (const KernelTable* table : targets()) {
    const LinearKernel* kernel = kernel_for(*table, c.matrix, Numerics::bf16);
    const std::vector<float> want = multiply(*kernel, c, c.n, 100, true);
    for (int64_t n : {1, 2, 7, 8, 9, 12, 13, 15, 16, 17, 31, 32, 33, 47, 64, 65}) {
      for (int64_t split : {1, 2, 3}) {
        const std::span<const float> head(want.data(), static_cast<size_t>(n * c.matrix.rows));
        ASSERT_TRUE(same_bits<float>(multiply(*kernel, c, n, split, true), head))
            << table->name << ", n = " << n << ", panels by " << split;
      }
    }
  }
}

TEST(LinearBf16, SumsHaveTheirWrittenOrder) {
  for (int64_t k : {1, 31, 33, 384}) {
    LinearCase c(DType::f32, 21, k, 20, 7);
    const LinearCase as_read = rounded(c);
    const auto* weights = reinterpret_cast<const float*>(as_read.weights.data());
    std::vector<float> tiles;  // linear_amx.cc
    for (int64_t r = 0; r < c.n; ++r) {
      for (int64_t o = 0; o < c.matrix.rows; ++o) {
        float acc = c.bias[static_cast<size_t>(o)];
        for (int64_t block = 0; block < k; block += 32) {
          float chain[2] = {0, 0};
          for (int64_t i = block; i < std::min(block + 32, k); ++i) {
            chain[i % 2] = std::fma(weights[o * k + i], as_read.src[static_cast<size_t>(r * k + i)], chain[i % 2]);
          }
          acc += chain[0] + chain[1];
        }
        tiles.push_back(acc);
      }
    }
    const std::vector<float> inputs = ordered(as_read, true);
    for (const KernelTable* table : targets()) {
      const LinearKernel* kernel = kernel_for(*table, c.matrix, Numerics::bf16);
      const std::string name = kernel->name;
      if (name == "cpu/avx512bf16") continue;  // how often a pair is rounded is the processor's affair
      EXPECT_TRUE(same_bits<float>(multiply(*kernel, c, c.n, 2, true), name == "cpu/amx" ? tiles : inputs))
          << name << ", " << k << " inputs";
    }
  }
}

TEST(LinearBf16, ANanActivationSpoilsItsRowAlone) {
  LinearCase c(DType::f16, 20, 64, 18, 8);
  c.src_bf16[64 * 3 + 17] = 0x7FC0;
  for (const KernelTable* table : targets()) {
    const std::vector<float> got = multiply(*kernel_for(*table, c.matrix, Numerics::bf16), c, c.n, 2, true);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i / 20 == 3) << table->name << " " << i;
  }
}

TEST(CpuTables, EveryTableNamesItselfOnceAndX86EndsWithTheScalarTarget) {
  const auto tables = targets();
  ASSERT_FALSE(tables.empty());
  std::set<std::string> names;
  for (const KernelTable* table : tables) {
    EXPECT_EQ(table->version, kKernelTableVersion);
    EXPECT_TRUE(names.insert(table->name).second) << table->name;
    for (const LinearList& list : table->linear) {
      for (int32_t i = 0; i < list.n; ++i) EXPECT_EQ(std::string(list.kernels[i].name).find("cpu/"), 0u);
    }
  }
#if defined(__x86_64__)
  EXPECT_STREQ(tables.back()->name, "cpu/scalar");
#endif
}

}  // namespace
}  // namespace fathom
