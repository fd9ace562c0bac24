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

// A matrix packed into memory of its own.
struct Packed {
  Linear linear;
  Buffer memory;
};

Packed pack(const LinearCase& c, ThreadPool& pool, PackProgress progress = {}) {
  const Tensor tensor = tensor_of(c, "w");
  Packed packed{plan_linear(tensor, tables(), Numerics::fast).value(), {}};
  packed.memory = Buffer(packed.linear.packed_bytes);
  pack_linear(packed.linear, tensor, packed.memory.data(), pool, progress);
  return packed;
}

TEST(LinearGroup, SeveralProductsOnAnyNumberOfThreadsGiveTheOrderedBits) {
  LinearCase q(DType::q5_0, 70, 512, 20, 1), k(DType::q6_k, 33, 512, 20, 2), v(DType::f16, 200, 512, 20, 3);
  k.q = q.q, k.values = q.values, k.scales = q.scales, k.sums = q.sums, v.src = q.src;
  for (int threads : {1, 2, 3}) {
    ThreadPool pool = std::move(ThreadPool::make(threads)).value();
    std::vector<Packed> packed;
    for (const LinearCase* c : {&q, &k, &v}) packed.push_back(pack(*c, pool));
    packed[0].linear.bias = q.bias.data();
    std::vector<float> a(20 * 70), b(20 * 33), c(20 * 200);
    const LinearJob jobs[] = {{&packed[0].linear, 20, a.data(), 70},
                              {&packed[1].linear, 5, b.data(), 33},
                              {&packed[2].linear, 20, c.data(), 200}};
    linear(pool, {q.src.data(), q.quant()}, jobs);
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
    const Packed wq = pack(q, pool), wf = pack(f, pool);
    std::vector<float> a(301 * 40), b(301 * 40);
    const LinearJob jobs[] = {{&wq.linear, 301, a.data(), 40}, {&wf.linear, 301, b.data(), 40}};
    linear(pool, {q.src.data(), q.quant()}, jobs);
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
  const Packed whole = pack(c, pool, {note, &seen});
  EXPECT_GT(seen.size(), 1u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 20011);
  ThreadPool one = std::move(ThreadPool::make(1)).value();
  const Packed again = pack(c, one);
  EXPECT_TRUE(same_bits<uint8_t>({whole.memory.as<uint8_t>(), whole.memory.size()},
                                 {again.memory.as<uint8_t>(), again.memory.size()}));
}

TEST(LinearGroup, AShapeNoKernelServesIsAnErrorThatNamesTheTensor) {
  const LinearCase c(DType::q4_0, 4, 64, 1, 5);
  Tensor odd = tensor_of(c, "blk.3.odd");
  odd.cols = 33;
  const auto result = plan_linear(odd, tables(), Numerics::fast);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
  EXPECT_NE(result.error().message.find("blk.3.odd (Q4_0, 4 x 33)"), std::string::npos) << result.error().message;
}

TEST(LinearGroup, AnEmptyGroupAndNoRowsDoNothing) {
  const LinearCase c(DType::q4_0, 4, 64, 1, 5);
  ThreadPool pool = std::move(ThreadPool::make(1)).value();
  const Packed packed = pack(c, pool);
  linear(pool, {}, {});
  float dst = 7;
  const LinearJob none[] = {{&packed.linear, 0, &dst, 4}};
  linear(pool, {}, none);
  EXPECT_EQ(dst, 7);
}

}  // namespace
}  // namespace fathom
