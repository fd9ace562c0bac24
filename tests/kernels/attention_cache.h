// Caches of one layer and what attention over them is held to. Next: attention_test.cc, attention_share_test.cc.
#pragma once

#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "fathom/ops/attention.h"
#include "tests/kernels/cases.h"

namespace fathom::testing {

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
  /// Adds to the scores of all cells.
  void bias(const Floats& by) {
    bias_.assign(pages_.size() * kPageCells, 0.0f);
    std::copy(by.begin(), by.end(), bias_.begin());
    for (size_t p = 0; p < pages_.size(); ++p) pages_[p]->bias = bias_.data() + p * kPageCells;
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
  Floats bias_;
  std::vector<std::unique_ptr<KvPage>> pages_;
  std::vector<const KvPage*> pointers_;
};

inline ThreadPool& pool(int threads) {
  static ThreadPool one = ThreadPool::make(1).value(), two = ThreadPool::make(2).value();
  return threads == 1 ? one : two;
}

inline AttentionArgs arguments(const Cache& cache, const Floats& q, const std::vector<AttentionRow>& rows, float* dst) {
  const Heads& h = cache.heads();
  return {cache.type(), q.data(), rows.data(), h.heads, h.kv_heads, h.dim, 1 / std::sqrt(static_cast<float>(h.dim)),
          dst};
}

/// The answers of one table for rows of one cache.
inline Floats attend(const KernelTable& table, const Cache& cache, const Floats& q,
                     const std::vector<AttentionRow>& rows, int threads = 1) {
  const Heads& h = cache.heads();
  const auto plan = AttentionPlan::make({threads, h.heads, h.kv_heads, h.dim, cache.cells()}).value();
  Floats dst(q.size(), -99.0f);
  attention(pool(threads), table, arguments(cache, q, rows, dst.data()), static_cast<int64_t>(rows.size()), plan);
  return dst;
}

/// docs/numerics.md: scores err by (dim + 3) roundings of the 1-norm of their products, weights by twice that and
/// eight, sums by one rounding for each cell of a chunk and ten for each fold; the answer is a mean of values.
inline double bound(const Heads& h, const Floats& q, int64_t cells, double largest_key, double largest_value) {
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

inline Heads any_heads() {
  const int64_t kv_heads = *rc::gen::inRange<int64_t>(1, 4), group = *rc::gen::inRange<int64_t>(1, 12);
  return {kv_heads * group, kv_heads, *rc::gen::elementOf(std::vector<int64_t>{2, 20, 64, 80, 128, 256})};
}

}  // namespace fathom::testing
