// Packing in slabs and products in groups: the same bits as the kernel alone, on any number of threads.
#include <gtest/gtest.h>

#include "fathom/ops/linear.h"
#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::LinearCase;
using testing::ordered_sum;
using testing::same_bits;

std::span<const KernelTable* const> tables() {
  int32_t n = 0;
  const KernelTable* const* first = kernels::cpu(&n);
  return {first, static_cast<size_t>(n)};
}

Tensor tensor_of(const LinearCase& c, const char* name) {
  return {name, c.matrix.type, c.matrix.rows, c.matrix.cols, reinterpret_cast<const std::byte*>(c.weights.data())};
}

TEST(LinearGroup, SeveralProductsOnAnyNumberOfThreadsGiveTheOrderedBits) {
  LinearCase q(DType::q5_0, 70, 512, 20, 1), k(DType::q6_k, 33, 512, 20, 2), v(DType::f16, 200, 512, 20, 3);
  k.values = q.values, k.scales = q.scales, k.sums = q.sums, v.src = q.src;
  for (int threads : {1, 2, 3}) {
    ThreadPool pool = std::move(ThreadPool::make(threads)).value();
    std::vector<Linear> packed;
    for (const LinearCase* c : {&q, &k, &v})
      packed.push_back(pack_linear(tensor_of(*c, "w"), tables(), Numerics::fast, pool).value());
    packed[0].bias = q.bias.data();
    std::vector<float> a(20 * 70), b(20 * 33), c(20 * 200);
    const LinearJob jobs[] = {
        {&packed[0], 20, a.data(), 70}, {&packed[1], 5, b.data(), 33}, {&packed[2], 20, c.data(), 200}};
    linear(pool, {q.src.data(), q.q8()}, jobs);
    for (int64_t r = 0; r < 20; ++r) {
      for (int64_t o = 0; o < 70; ++o)
        ASSERT_EQ(a[static_cast<size_t>(r * 70 + o)], ordered_sum(q, r, o) + q.bias[static_cast<size_t>(o)]);
      for (int64_t o = 0; o < 33; ++o)
        ASSERT_EQ(b[static_cast<size_t>(r * 33 + o)], r < 5 ? ordered_sum(k, r, o) : 0.0f);
      for (int64_t o = 0; o < 200; ++o) ASSERT_EQ(c[static_cast<size_t>(r * 200 + o)], ordered_sum(v, r, o));
    }
  }
}

TEST(LinearGroup, ManyRowsAreSplitByRowsTooAndGiveTheOrderedBits) {
  LinearCase q(DType::q8_0, 40, 64, 301, 7), f(DType::bf16, 40, 64, 301, 8);
  q.src = f.src;
  for (int threads : {1, 2}) {
    ThreadPool pool = std::move(ThreadPool::make(threads)).value();
    const Linear wq = pack_linear(tensor_of(q, "q"), tables(), Numerics::fast, pool).value();
    const Linear wf = pack_linear(tensor_of(f, "f"), tables(), Numerics::fast, pool).value();
    std::vector<float> a(301 * 40), b(301 * 40);
    const LinearJob jobs[] = {{&wq, 301, a.data(), 40}, {&wf, 301, b.data(), 40}};
    linear(pool, {q.src.data(), q.q8()}, jobs);
    for (int64_t r = 0; r < 301; ++r) {
      for (int64_t o = 0; o < 40; ++o) {
        ASSERT_EQ(a[static_cast<size_t>(r * 40 + o)], ordered_sum(q, r, o)) << r << ", " << o;
        ASSERT_EQ(b[static_cast<size_t>(r * 40 + o)], ordered_sum(f, r, o)) << r << ", " << o;
      }
    }
  }
}

TEST(LinearGroup, ProgressNamesRowsInOrderAndEndsWithAll) {
  const LinearCase c(DType::q8_0, 20011, 1024, 1, 4);  // 22 MB: more than one slab
  ThreadPool pool = std::move(ThreadPool::make(2)).value();
  std::vector<int64_t> seen;
  const auto note = [](void* context, int64_t rows) { static_cast<std::vector<int64_t>*>(context)->push_back(rows); };
  const Linear whole = pack_linear(tensor_of(c, "w"), tables(), Numerics::fast, pool, note, &seen).value();
  EXPECT_GT(seen.size(), 1u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 20011);
  ThreadPool one = std::move(ThreadPool::make(1)).value();
  const Linear again = pack_linear(tensor_of(c, "w"), tables(), Numerics::fast, one).value();
  EXPECT_TRUE(same_bits<uint8_t>({whole.packed.as<uint8_t>(), whole.packed.size()},
                                 {again.packed.as<uint8_t>(), again.packed.size()}));
}

TEST(LinearGroup, AShapeNoKernelServesIsAnErrorThatNamesTheTensor) {
  const LinearCase c(DType::q4_0, 4, 64, 1, 5);
  Tensor odd = tensor_of(c, "blk.3.odd");
  odd.cols = 33;
  ThreadPool pool = std::move(ThreadPool::make(1)).value();
  const auto result = pack_linear(odd, tables(), Numerics::fast, pool);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
  EXPECT_NE(result.error().message.find("blk.3.odd (Q4_0, 4 x 33)"), std::string::npos) << result.error().message;
}

TEST(LinearGroup, AnEmptyGroupAndNoRowsDoNothing) {
  const LinearCase c(DType::q4_0, 4, 64, 1, 5);
  ThreadPool pool = std::move(ThreadPool::make(1)).value();
  const Linear packed = pack_linear(tensor_of(c, "w"), tables(), Numerics::fast, pool).value();
  linear(pool, {}, {});
  float dst = 7;
  const LinearJob none[] = {{&packed, 0, &dst, 4}};
  linear(pool, {}, none);
  EXPECT_EQ(dst, 7);
}

}  // namespace
}  // namespace fathom
