// Reference attention over the pages of the cache: one chunk, the merge of two partials, and the result.
// Next in the flow: kernels/ref/ref.cc.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/half.h"
#include "kernels/ref/kernels.h"

namespace fathom::kernels::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double cell(DType type, const void* src, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(src)[i];
  const uint16_t half = static_cast<const uint16_t*>(src)[i];
  return type == DType::f16 ? half_to_float(half) : bfloat16_to_float(half);
}

/// The page of a position when its cell holds a value, else null.
const KvPage* real_page(const AttentionRow& row, int64_t position) {
  const KvPage* page = row.pages[position / kPageCells];
  return page != nullptr && (page->real >> (position % kPageCells) & 1) != 0 ? page : nullptr;
}

double score(const AttentionArgs& args, const KvPage& page, const float* q, int64_t kv_head, int64_t slot) {
  double sum = 0;
  for (int64_t d = 0; d < args.head_dim; ++d) {
    sum += q[d] * cell(args.type, page.k, (kv_head * args.head_dim + d) * kPageCells + slot);
  }
  return sum * args.scale + (page.bias != nullptr ? page.bias[slot] : 0);
}

/// exp(from - to) for two maxima, 0 where nothing was seen.
double shift(double from, double to) { return from == -kInfinity ? 0.0 : std::exp(from - to); }

void chunk_of_row(const AttentionArgs& args, int64_t row, int64_t kv_head, int64_t chunk, float* partial) {
  const AttentionRow& cells = args.rows[row];
  const int64_t group = args.heads / args.kv_heads, stride = 2 + args.head_dim;
  const int64_t begin = std::max<int64_t>(cells.begin, chunk * kAttentionChunk);
  const int64_t end = std::min<int64_t>(cells.end, (chunk + 1) * kAttentionChunk);
  for (int64_t g = 0; g < group; ++g) {
    const float* q = args.q + (row * args.heads + kv_head * group + g) * args.head_dim;
    double scores[kAttentionChunk];
    double max = -kInfinity, sum = 0;
    for (int64_t p = begin; p < end; ++p) {
      const KvPage* page = real_page(cells, p);
      scores[p - begin] = page == nullptr ? -kInfinity : score(args, *page, q, kv_head, p % kPageCells);
      if (!(scores[p - begin] <= max)) max = scores[p - begin];
    }
    float* dst = partial + g * stride;
    std::fill(dst, dst + stride, 0.0f);
    dst[0] = static_cast<float>(max);
    if (max == -kInfinity) continue;
    for (int64_t p = begin; p < end; ++p) sum += scores[p - begin] = std::exp(scores[p - begin] - max);
    dst[1] = static_cast<float>(sum);
    for (int64_t d = 0; d < args.head_dim; ++d) {
      double weighted = 0;
      for (int64_t p = begin; p < end; ++p) {
        const KvPage* page = real_page(cells, p);
        if (page == nullptr) continue;
        const int64_t i = (kv_head * kPageCells + p % kPageCells) * args.head_dim + d;
        weighted += scores[p - begin] * cell(args.type, page->v, i);
      }
      dst[2 + d] = static_cast<float>(weighted);
    }
  }
}

}  // namespace

void attention_chunk(const AttentionArgs& args, int64_t row, int64_t n, int64_t kv_head, int64_t chunk,
                     float* partial) noexcept {
  const int64_t each = args.heads / args.kv_heads * (2 + args.head_dim);
  for (int64_t i = 0; i < n; ++i) chunk_of_row(args, row + i, kv_head, chunk, partial + i * each);
}

void attention_fold(const AttentionArgs& args, float* into, const float* next) noexcept {
  const int64_t group = args.heads / args.kv_heads, stride = 2 + args.head_dim;
  for (int64_t g = 0; g < group; ++g, into += stride, next += stride) {
    const double max = next[0] > into[0] || std::isnan(next[0]) ? next[0] : into[0];
    const double keep = shift(into[0], max), take = shift(next[0], max);
    into[0] = static_cast<float>(max);
    for (int64_t i = 1; i < stride; ++i) into[i] = static_cast<float>(into[i] * keep + next[i] * take);
  }
}

void attention_finish(const AttentionArgs& args, int64_t row, int64_t kv_head, const float* partial) noexcept {
  const int64_t group = args.heads / args.kv_heads, stride = 2 + args.head_dim;
  for (int64_t g = 0; g < group; ++g, partial += stride) {
    float* dst = args.dst + (row * args.heads + kv_head * group + g) * args.head_dim;
    const double sum = partial[1];
    for (int64_t d = 0; d < args.head_dim; ++d) {
      dst[d] = sum == 0 ? 0.0f : static_cast<float>(partial[2 + d] / sum);
    }
  }
}

// Totals are floats of the kernels that attended, scores here are doubles: a share may come out a few roundings
// above 1.
void attention_share(const AttentionShareArgs& args, int64_t begin, int64_t end) noexcept {
  const AttentionArgs& a = args.attention;
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t r = args.index[i];
    const AttentionRow& row = a.rows[r];
    for (int64_t cell = args.from[i]; cell < std::min<int64_t>(row.end, args.from[i] + args.stride); ++cell) {
      const KvPage* page = real_page(row, cell);
      double sum = 0;
      for (int64_t h = 0; page != nullptr && h < a.heads; ++h) {
        const float* total = a.totals + (r * a.heads + h) * 2;
        const double at = score(a, *page, a.q + (r * a.heads + h) * a.head_dim, h / group, cell % kPageCells);
        sum += std::exp(at - total[0]) / total[1];
      }
      const double share = sum / static_cast<double>(a.heads);
      args.dst[i * args.stride + cell - args.from[i]] = static_cast<float>(share > 1 ? 1 : share);
    }
  }
}

}  // namespace fathom::kernels::reference
