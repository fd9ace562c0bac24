// Attention over the pages of the cache for every SIMD target: one chunk, the merge of partials, the result.
// Next in the flow: kernels/cpu/tables.cc.
// Scores have cells for lanes, sums over head_dim ascending; weighted values have dims for lanes, sums over cells
// ascending; both fused. A chunk's sums run over its 256 fixed places, so that its bits depend on its own cells only:
// not on begin and end, not on how many heads or rows share a tile, not on other rows. Error bounds: docs/numerics.md.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "fathom/ops/kernel_table.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kPages = kAttentionChunk / kPageCells;
constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;  // 32 vector registers, else 16
constexpr int64_t kMaxHeads = kManyRegisters ? 8 : 4;                              // queries of one tile

/// Vectors of cells in a tile of scores: sums, one query each and a key stay in registers.
constexpr int score_vectors(int heads) { return heads <= (kManyRegisters ? 4 : 2) ? 4 : 2; }
/// Vectors of dims in a tile of weighted values.
constexpr int value_vectors(int heads) {
  if (kManyRegisters) return heads <= 2 ? 8 : heads <= 7 ? 4 : 2;
  return heads == 1 ? 8 : heads <= 3 ? 4 : 2;
}

/// One chunk of one row and KV head: its pages' keys and values, and which cells count.
template <class T>
struct Chunk {
  const T* k[kPages];         // [head_dim, 64]
  const T* v[kPages];         // [64, head_dim]
  const float* bias[kPages];  // [64] or null
  uint64_t cells[kPages];     // real and within the row's [begin, end)
  int64_t begin, end;         // whole vectors of cells, from the first that counts to the last
  int64_t dim;
};

/// The queries of a tile, heads of one row or rows of one head, and where their partials go.
struct Queries {
  const float* q;
  int64_t q_stride;  // from one query to the next
  float* dst;        // (max score, sum of weights, weighted values [dim])
  int64_t dst_stride;
};

/// Bits [begin, end) of a page, cut to it.
HWY_INLINE uint64_t range_bits(int64_t begin, int64_t end) {
  if (begin >= kPageCells || end <= 0 || begin >= end) return 0;
  const uint64_t from = begin <= 0 ? ~uint64_t{0} : ~uint64_t{0} << begin;
  const uint64_t to = end >= kPageCells ? ~uint64_t{0} : (uint64_t{1} << end) - 1;
  return from & to;
}

template <class T>
HWY_INLINE Chunk<T> open_chunk(const AttentionArgs& args, int64_t row, int64_t kv_head, int64_t chunk) {
  const AttentionRow& cells = args.rows[row];
  const int64_t offset = kv_head * args.head_dim * kPageCells;
  Chunk<T> c{};
  c.dim = args.head_dim;
  for (int64_t i = 0; i < kPages; ++i) {
    const int64_t page = chunk * kPages + i, first = page * kPageCells;
    const uint64_t wanted = range_bits(cells.begin - first, cells.end - first);
    if (wanted == 0 || cells.pages[page] == nullptr) continue;
    c.cells[i] = wanted & cells.pages[page]->real;
    c.k[i] = static_cast<const T*>(cells.pages[page]->k) + offset;
    c.v[i] = static_cast<const T*>(cells.pages[page]->v) + offset;
    c.bias[i] = cells.pages[page]->bias;
    if (c.cells[i] == 0) continue;
    if (c.end == 0) c.begin = (i * kPageCells + __builtin_ctzll(c.cells[i])) / kWidth * kWidth;
    c.end = ((i + 1) * kPageCells - __builtin_clzll(c.cells[i]) + kWidth - 1) / kWidth * kWidth;
  }
  return c;
}

/// Asks for kBytes from `src` on: each page's loops fetch what is read after it. Without, decode at 4096 cells takes
/// 2.0 to 2.5 x the time (pages end the hardware's streams); prefill does not change.
template <int kBytes>
HWY_INLINE void prefetch(const char* src) {
  for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(src + i);
}

/// What is read after the keys of page p: the keys of the next page, else the values of the first that has some.
template <class T>
HWY_INLINE const T* after_keys(const Chunk<T>& chunk, int64_t p) {
  if (p + 1 < kPages && chunk.cells[p + 1] != 0) return chunk.k[p + 1];
  return chunk.v[chunk.cells[0] != 0 ? 0 : p];
}

/// scores[h, c] = scale * (q[h] . k[:, c]) + bias[c] for the cells of page p; -inf for others between the chunk's begin
/// and end.
template <class T, int kHeads>
void score_page(const Queries& queries, const Chunk<T>& chunk, int64_t p, float scale, float* scores) {
  const uint64_t cells = chunk.cells[p];
  const float* q = queries.q;
  const int64_t dim = chunk.dim;
  const T *k = chunk.k[p], *next = after_keys(chunk, p);
  constexpr int kVectors = score_vectors(kHeads);
  constexpr int64_t kSpan = kVectors * kWidth;
  for (int64_t c = 0; c < kPageCells; c += kSpan) {
    if ((cells & range_bits(c, c + kSpan)) == 0) continue;
    Vec sum[kHeads][kVectors];
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kVectors; ++v) sum[h][v] = hn::Zero(kLanes);
    }
    for (int64_t d = 0; d < dim; ++d) {
      prefetch<kSpan * sizeof(T)>(reinterpret_cast<const char*>(next + c * dim + d * kSpan));
      Vec key[kVectors];
      for (int v = 0; v < kVectors; ++v) key[v] = load_cells(k + d * kPageCells + c + v * kWidth);
      for (int h = 0; h < kHeads; ++h) {
        const Vec query = hn::Set(kLanes, q[h * queries.q_stride + d]);
        for (int v = 0; v < kVectors; ++v) sum[h][v] = hn::MulAdd(query, key[v], sum[h][v]);
      }
    }
    const Vec factor = hn::Set(kLanes, scale);
    const float* bias = chunk.bias[p];
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kVectors; ++v) {
        Vec score = hn::Mul(sum[h][v], factor);
        if (bias != nullptr) score = hn::Add(score, hn::LoadU(kLanes, bias + c + v * kWidth));
        hn::StoreU(score, kLanes, scores + h * kAttentionChunk + c + v * kWidth);
      }
    }
  }
  const uint64_t softened = range_bits(chunk.begin - p * kPageCells, chunk.end - p * kPageCells);
  for (uint64_t rest = softened & ~cells; rest != 0; rest &= rest - 1) {
    for (int h = 0; h < kHeads; ++h) scores[h * kAttentionChunk + __builtin_ctzll(rest)] = -kInfinity;
  }
}

/// dst[h][2 + d..] = sum over cells of weights[h, cell] * v[cell, d..] for kVectors vectors of dims.
template <class T, int kHeads, int kVectors>
HWY_INLINE void weigh_dims(const Chunk<T>& chunk, const float* weights, int64_t d, const Queries& queries) {
  Vec sum[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) sum[h][v] = hn::Zero(kLanes);
  }
  for (int64_t p = 0; p < kPages; ++p) {
    const T* next = chunk.v[p + 1 < kPages && chunk.cells[p + 1] != 0 ? p + 1 : p];
    for (uint64_t rest = chunk.cells[p]; rest != 0; rest &= rest - 1) {
      const int64_t cell = __builtin_ctzll(rest);
      const T* value = chunk.v[p] + cell * chunk.dim + d;
      prefetch<kVectors * kWidth * sizeof(T)>(reinterpret_cast<const char*>(next + cell * chunk.dim + d));
      const float* weight = weights + p * kPageCells + cell;
      for (int v = 0; v < kVectors; ++v) {
        const Vec x = load_cells(value + v * kWidth);
        for (int h = 0; h < kHeads; ++h) {
          sum[h][v] = hn::MulAdd(hn::Set(kLanes, weight[h * kAttentionChunk]), x, sum[h][v]);
        }
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    float* dst = queries.dst + h * queries.dst_stride + 2 + d;
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[h][v], kLanes, dst + v * kWidth);
  }
}

HWY_INLINE float number(float x) { return x; }
HWY_INLINE float number(uint16_t x) { return half_to_float(x); }
HWY_INLINE float number(BFloat16 x) { return bfloat16_to_float(x.bits); }

/// The dims that fill no vector, one by one.
template <class T>
void weigh_rest(const Chunk<T>& chunk, const float* weights, int64_t d, float* dst) {
  for (; d < chunk.dim; ++d) {
    float sum = 0;
    for (int64_t p = 0; p < kPages; ++p) {
      for (uint64_t rest = chunk.cells[p]; rest != 0; rest &= rest - 1) {
        const int64_t cell = __builtin_ctzll(rest);
        sum = __builtin_fmaf(weights[p * kPageCells + cell], number(chunk.v[p][cell * chunk.dim + d]), sum);
      }
    }
    dst[d] = sum;
  }
}

template <class T, int kHeads>
void weigh(const Chunk<T>& chunk, const float* weights, const Queries& queries) {
  constexpr int kVectors = value_vectors(kHeads);
  int64_t d = 0;
  for (; d + kVectors * kWidth <= chunk.dim; d += kVectors * kWidth) {
    weigh_dims<T, kHeads, kVectors>(chunk, weights, d, queries);
  }
  for (; d + kWidth <= chunk.dim; d += kWidth) weigh_dims<T, kHeads, 1>(chunk, weights, d, queries);
  for (int h = 0; h < kHeads; ++h) {
    weigh_rest(chunk, weights + h * kAttentionChunk, d, queries.dst + h * queries.dst_stride + 2);
  }
}

/// Turns a tile's scores into weights exp(score - max), in place; writes max and their sum to dst[h][0] and dst[h][1].
/// Where every score is -inf the weights are 0, and a NaN stays one. Cells before begin and behind end would add zeros.
/// Queries alternate: the two sums across lanes of one alone would wait for one another.
template <class T, int kHeads>
HWY_INLINE void soften(const Chunk<T>& chunk, float* scores, const Queries& queries) {
  Vec most[kHeads], shift[kHeads], sum[kHeads];
  for (int h = 0; h < kHeads; ++h) most[h] = hn::Set(kLanes, -kInfinity);
  for (int64_t c = chunk.begin; c < chunk.end; c += kWidth) {
    for (int h = 0; h < kHeads; ++h) most[h] = hn::Max(most[h], hn::Load(kLanes, scores + h * kAttentionChunk + c));
  }
  for (int h = 0; h < kHeads; ++h) {
    const float max = queries.dst[h * queries.dst_stride] = max_lanes(most[h]);
    shift[h] = hn::Set(kLanes, max == -kInfinity ? 0.0f : max);
    sum[h] = hn::Zero(kLanes);
  }
  for (int64_t c = chunk.begin; c < chunk.end; c += kWidth) {
    for (int h = 0; h < kHeads; ++h) {
      float* at = scores + h * kAttentionChunk + c;
      const Vec weight = exp_of_negative(hn::Sub(hn::Load(kLanes, at), shift[h]));
      hn::Store(weight, kLanes, at);
      sum[h] = hn::Add(sum[h], weight);
    }
  }
  for (int h = 0; h < kHeads; ++h) queries.dst[h * queries.dst_stride + 1] = sum_lanes(sum[h]);
}

/// One tile of queries against one chunk.
template <class T, int kHeads>
void run_tile(const Chunk<T>& chunk, const Queries& queries, float scale) {
  HWY_ALIGN float scores[kHeads * kAttentionChunk];
  for (int64_t p = 0; p < kPages; ++p) {
    score_page<T, kHeads>(queries, chunk, p, scale, scores + p * kPageCells);
  }
  soften<T, kHeads>(chunk, scores, queries);
  weigh<T, kHeads>(chunk, scores, queries);
}

/// n queries against one chunk, in tiles as equal as can be.
template <class T>
void run_queries(const Chunk<T>& chunk, Queries queries, int64_t n, float scale) {
  using Tile = void (*)(const Chunk<T>&, const Queries&, float);
  static constexpr Tile kTiles[] = {run_tile<T, 1>, run_tile<T, 2>, run_tile<T, 3>, run_tile<T, 4>,
                                    run_tile<T, 5>, run_tile<T, 6>, run_tile<T, 7>, run_tile<T, 8>};
  for (int64_t tiles = (n + kMaxHeads - 1) / kMaxHeads; tiles > 0; --tiles) {
    const int64_t heads = (n + tiles - 1) / tiles;
    kTiles[heads - 1](chunk, queries, scale);
    queries.q += heads * queries.q_stride;
    queries.dst += heads * queries.dst_stride;
    n -= heads;
  }
}

/// A key or value that was read meets as many queries as a tile holds: rows of one head, or heads of one row.
template <class T>
void run_chunk(const AttentionArgs& args, int64_t row, int64_t n, int64_t kv_head, int64_t chunk, float* partial) {
  const int64_t group = args.heads / args.kv_heads, dim = args.head_dim, stride = 2 + dim;
  const Chunk<T> cells = open_chunk<T>(args, row, kv_head, chunk);
  const float* q = args.q + (row * args.heads + kv_head * group) * dim;
  const bool by_rows = n >= group;
  for (int64_t i = 0; i < (by_rows ? group : n); ++i) {
    const Queries queries = by_rows ? Queries{q + i * dim, args.heads * dim, partial + i * stride, group * stride}
                                    : Queries{q + i * args.heads * dim, dim, partial + i * group * stride, stride};
    run_queries(cells, queries, by_rows ? n : group, args.scale);
  }
}

void chunk(const AttentionArgs& args, int64_t row, int64_t n, int64_t kv_head, int64_t chunk, float* partial) noexcept {
  args.type == DType::f32   ? run_chunk<float>(args, row, n, kv_head, chunk, partial)
  : args.type == DType::f16 ? run_chunk<uint16_t>(args, row, n, kv_head, chunk, partial)
                            : run_chunk<BFloat16>(args, row, n, kv_head, chunk, partial);
}

void fold(const AttentionArgs& args, float* into, const float* next) noexcept {
  const int64_t group = args.heads / args.kv_heads, stride = 2 + args.head_dim;
  for (int64_t g = 0; g < group; ++g, into += stride, next += stride) {
    const float max = into[0] > next[0] ? into[0] : next[0];
    const float shift = max == -kInfinity ? 0.0f : max;
    const Vec keep = exp_of_negative(hn::Set(kLanes, into[0] - shift));
    const Vec take = exp_of_negative(hn::Set(kLanes, next[0] - shift));
    const auto merge = [&](Vec a, Vec b) HWY_ATTR { return hn::MulAdd(a, keep, hn::Mul(b, take)); };
    into[0] = max;
    int64_t i = 1;
    for (; i + kWidth <= stride; i += kWidth) {
      hn::StoreU(merge(hn::LoadU(kLanes, into + i), hn::LoadU(kLanes, next + i)), kLanes, into + i);
    }
    if (i < stride)
      store_tail(merge(load_tail(into + i, stride - i), load_tail(next + i, stride - i)), into + i, stride - i);
  }
}

void finish(const AttentionArgs& args, int64_t row, int64_t kv_head, const float* partial) noexcept {
  const int64_t group = args.heads / args.kv_heads, dim = args.head_dim;
  for (int64_t g = 0; g < group; ++g) {
    const float* src = partial + g * (2 + dim);
    float* dst = args.dst + (row * args.heads + kv_head * group + g) * dim;
    const Vec sum = hn::Set(kLanes, src[1] == 0 ? 1.0f : src[1]);
    int64_t d = 0;
    for (; d + kWidth <= dim; d += kWidth) hn::StoreU(hn::Div(hn::LoadU(kLanes, src + 2 + d), sum), kLanes, dst + d);
    if (d < dim) store_tail(hn::Div(load_tail(src + 2 + d, dim - d), sum), dst + d, dim - d);
  }
}

/// dst[i][c] += the share that query i gave to cell c of the chunk, over all heads.
struct ShareTile {
  Queries queries;      // rows of one head
  const float* totals;  // of the first query
  int64_t totals_stride;
  float* dst;  // [kHeads, kAttentionChunk]
};

template <class T, int kHeads>
void add_shares(const Chunk<T>& chunk, const ShareTile& tile, float scale, float each) {
  HWY_ALIGN float scores[kHeads * kAttentionChunk];
  for (int64_t p = 0; p < kPages; ++p) {
    score_page<T, kHeads>(tile.queries, chunk, p, scale, scores + p * kPageCells);
  }
  for (int h = 0; h < kHeads; ++h) {
    const float* total = tile.totals + h * tile.totals_stride;
    const Vec most = hn::Set(kLanes, total[0]), part = hn::Set(kLanes, each / total[1]);
    for (int64_t c = chunk.begin; c < chunk.end; c += kWidth) {
      float* sum = tile.dst + h * kAttentionChunk + c;
      const Vec score = hn::Min(hn::Zero(kLanes), hn::Sub(hn::Load(kLanes, scores + h * kAttentionChunk + c), most));
      hn::Store(hn::MulAdd(exp_of_negative(score), part, hn::Load(kLanes, sum)), kLanes, sum);
    }
  }
}

/// Listed rows that stand side by side and see the same cells, as many as a tile holds.
HWY_INLINE int64_t alike(const AttentionShareArgs& args, int64_t i, int64_t end) {
  const AttentionRow& first = args.attention.rows[args.index[i]];
  int64_t n = 1;
  for (; n < kMaxHeads && i + n < end && args.index[i + n] == args.index[i] + n; ++n) {
    const AttentionRow& row = args.attention.rows[args.index[i + n]];
    if (row.pages != first.pages || row.begin != first.begin || row.end != first.end) break;
  }
  return n;
}

/// Behind the last cell that one of n listed rows is asked about.
HWY_INLINE int64_t furthest(const AttentionShareArgs& args, int64_t i, int64_t n) {
  return *std::max_element(args.from + i, args.from + i + n) + args.stride;
}

template <class T>
void share_rows(const AttentionShareArgs& args, int64_t begin, int64_t end) {
  using Tile = void (*)(const Chunk<T>&, const ShareTile&, float, float);
  static constexpr Tile kTiles[] = {add_shares<T, 1>, add_shares<T, 2>, add_shares<T, 3>, add_shares<T, 4>,
                                    add_shares<T, 5>, add_shares<T, 6>, add_shares<T, 7>, add_shares<T, 8>};
  const AttentionArgs& a = args.attention;
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t i = begin, n = 0; i < end; i += n) {
    n = alike(args, i, end);
    const int64_t r = args.index[i], last = std::min<int64_t>(a.rows[r].end, furthest(args, i, n));
    const int64_t first = *std::min_element(args.from + i, args.from + i + n);
    for (int64_t chunk = first / kAttentionChunk; chunk * kAttentionChunk < last; ++chunk) {
      HWY_ALIGN float sums[kMaxHeads * kAttentionChunk] = {};
      for (int64_t h = 0; h < a.heads; ++h) {
        const Chunk<T> cells = open_chunk<T>(a, r, h / group, chunk);
        kTiles[n - 1](cells,
                      {{a.q + (r * a.heads + h) * a.head_dim, a.heads * a.head_dim, nullptr, 0},
                       a.totals + (r * a.heads + h) * 2,
                       a.heads * 2,
                       sums},
                      a.scale, 1 / static_cast<float>(a.heads));
      }
      for (int64_t j = 0; j < n; ++j) {
        const int64_t from = std::max<int64_t>(args.from[i + j], chunk * kAttentionChunk);
        const int64_t to = std::min<int64_t>({last, args.from[i + j] + args.stride, (chunk + 1) * kAttentionChunk});
        for (int64_t c = from; c < to; ++c) {
          const float share = sums[j * kAttentionChunk + c - chunk * kAttentionChunk];
          args.dst[(i + j) * args.stride + c - args.from[i + j]] = share > 1 ? 1 : share;
        }
      }
    }
  }
}

void share(const AttentionShareArgs& args, int64_t begin, int64_t end) noexcept {
  const DType type = args.attention.type;
  type == DType::f32   ? share_rows<float>(args, begin, end)
  : type == DType::f16 ? share_rows<uint16_t>(args, begin, end)
                       : share_rows<BFloat16>(args, begin, end);
}

}  // namespace

/// Sets the entries of attention; declared and called by tables.cc.
void fill_attention_kernels(KernelTable& table) {
  table.attention = {"cpu/attention", {chunk, fold, finish}};
  table.attention_share = {"cpu/attention_share", share};
}

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
