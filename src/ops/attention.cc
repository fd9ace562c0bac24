// The plan of attention: rows in blocks that share hot chunks, or, for few rows, every chunk on its own thread.
// Next in the flow: kernels/cpu/attention-inl.h.
#include "fathom/ops/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <limits>

namespace fathom {
namespace {

constexpr int64_t kRowBlock = 16;               // rows that meet a chunk while it is in cache
constexpr int64_t kBlockSlots = 2 * kRowBlock;  // partials of a block: its rows' sums, and what is folded into them
constexpr int64_t kPartsAThread = 4;            // fewer row blocks than this for each thread: split over chunks

/// The chunks [begin, end) a row meets.
struct Chunks {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

Chunks chunks_of(const AttentionRow& row) {
  if (row.begin >= row.end) return {0, 0};
  return {row.begin / kAttentionChunk, (row.end - 1) / kAttentionChunk + 1};
}

int64_t partial_floats(int64_t heads, int64_t kv_heads, int64_t head_dim) { return heads / kv_heads * (2 + head_dim); }

void set_empty(const AttentionArgs& args, float* partial) {
  const int64_t stride = 2 + args.head_dim, floats = partial_floats(args.heads, args.kv_heads, args.head_dim);
  std::fill(partial, partial + floats, 0.0f);
  for (int64_t i = 0; i < floats; i += stride) partial[i] = -std::numeric_limits<float>::infinity();
}

/// The result of one row and KV head from its folded partial, and what it is a share of.
void finish(const AttentionKernels& kernels, const AttentionArgs& args, int64_t row, int64_t kv_head,
            const float* partial) {
  kernels.finish(args, row, kv_head, partial);
  if (args.totals == nullptr) return;
  const int64_t group = args.heads / args.kv_heads, stride = 2 + args.head_dim;
  float* totals = args.totals + (row * args.heads + kv_head * group) * 2;
  for (int64_t g = 0; g < group; ++g) std::copy_n(partial + g * stride, 2, totals + 2 * g);
}

/// What one call shares between its parts.
struct Call {
  const AttentionKernels& kernels;
  const AttentionArgs& args;
  int64_t n;
  std::span<const uint8_t> listened;
  int64_t partial;  // floats of one partial
  float* scratch;
  std::atomic<int64_t> next{0};  // the next item to take

  bool listens(int64_t kv_head) const { return listened.empty() || listened[static_cast<size_t>(kv_head)] != 0; }
};

// ---- many rows: an item is a block of rows and one KV head ------------------------------------------------------

/// Where a row meets a chunk: the cells, none at all being a meeting too, and whether it is the row's first.
struct Meeting {
  const KvPage* const* pages = nullptr;
  int64_t begin = 0, end = 0;
  bool first = false;
  bool operator==(const Meeting&) const = default;
};

Meeting meeting_of(const AttentionRow& row, int64_t chunk) {
  const int64_t begin = std::max<int64_t>(row.begin, chunk * kAttentionChunk);
  const int64_t end = std::min<int64_t>(row.end, (chunk + 1) * kAttentionChunk);
  return begin < end ? Meeting{row.pages, begin, end, begin == row.begin} : Meeting{};
}

/// Folds every chunk of rows [begin, end) for one KV head; a chunk meets all rows of the block before the next one, and
/// those that see the same cells of it together.
void run_row_block(const Call& call, int64_t begin, int64_t end, int64_t kv_head, float* slots) {
  const AttentionArgs& args = call.args;
  Chunks all{std::numeric_limits<int64_t>::max(), 0};
  for (int64_t r = begin; r < end; ++r) {
    const Chunks own = chunks_of(args.rows[r]);
    if (own.size() == 0) set_empty(args, slots + (r - begin) * call.partial);
    if (own.size() > 0) all = {std::min(all.begin, own.begin), std::max(all.end, own.end)};
  }
  float* next = slots + kRowBlock * call.partial;
  for (int64_t c = all.begin; c < all.end; ++c) {
    for (int64_t r = begin, n = 1; r < end; r += n) {
      const Meeting meeting = meeting_of(args.rows[r], c);
      for (n = 1; r + n < end && meeting_of(args.rows[r + n], c) == meeting;) ++n;
      if (meeting.end == 0) continue;
      float* sums = slots + (r - begin) * call.partial;
      call.kernels.chunk(args, r, n, kv_head, c, meeting.first ? sums : next);
      if (meeting.first) continue;
      for (int64_t i = 0; i < n; ++i) call.kernels.fold(args, sums + i * call.partial, next + i * call.partial);
    }
  }
  for (int64_t r = begin; r < end; ++r) finish(call.kernels, args, r, kv_head, slots + (r - begin) * call.partial);
}

void run_row_blocks(ThreadPool& pool, Call& call, int64_t block) {
  const int64_t kv_heads = call.args.kv_heads, items = (call.n + block - 1) / block * kv_heads;
  pool.run(std::min<int64_t>(pool.threads(), items), [&](int64_t part) {
    float* slots = call.scratch + part * kBlockSlots * call.partial;
    for (int64_t i; (i = call.next.fetch_add(1, std::memory_order_relaxed)) < items;) {
      if (!call.listens(i % kv_heads)) continue;
      const int64_t begin = i / kv_heads * block;
      run_row_block(call, begin, std::min(call.n, begin + block), i % kv_heads, slots);
    }
  });
}

// ---- few rows: an item is one chunk of one row and one KV head -----------------------------------------------------

/// Computes the partials of row `r` in any order on all threads, then folds them into its first in ascending order.
void run_split_row(ThreadPool& pool, Call& call, int64_t r) {
  const AttentionArgs& args = call.args;
  const Chunks own = chunks_of(args.rows[r]);
  const int64_t items = own.size() * args.kv_heads;
  pool.run(items, [&](int64_t i) {
    const int64_t kv_head = i / own.size(), chunk = i % own.size();
    if (!call.listens(kv_head)) return;
    call.kernels.chunk(args, r, 1, kv_head, own.begin + chunk, call.scratch + i * call.partial);
  });
  for (int64_t h = 0; h < args.kv_heads; ++h) {
    if (!call.listens(h)) continue;
    float* sum = call.scratch + h * own.size() * call.partial;
    if (own.size() == 0) set_empty(args, sum);
    for (int64_t c = 1; c < own.size(); ++c) call.kernels.fold(args, sum, sum + c * call.partial);
    finish(call.kernels, args, r, h, sum);
  }
}

int64_t max_chunks(const AttentionPlan::Limits& limits) {
  return (limits.max_tokens + kAttentionChunk - 1) / kAttentionChunk + 1;
}

}  // namespace

Result<AttentionPlan> AttentionPlan::make(const Limits& limits) {
  if (limits.threads < 1 || limits.heads < 1 || limits.kv_heads < 1 || limits.head_dim < 1 || limits.max_tokens < 1) {
    return Error{
        ErrorCode::argument,
        fmt::format("attention plan for {} threads, {} heads, {} KV heads of {}, {} tokens: give at least 1 of each",
                    limits.threads, limits.heads, limits.kv_heads, limits.head_dim, limits.max_tokens)};
  }
  if (limits.heads % limits.kv_heads != 0) {
    return Error{ErrorCode::argument, fmt::format("{} heads over {} KV heads: give a whole number of heads for each",
                                                  limits.heads, limits.kv_heads)};
  }
  const int64_t partial = partial_floats(limits.heads, limits.kv_heads, limits.head_dim);
  const int64_t blocks = limits.threads * kBlockSlots;
  const int64_t split = limits.kv_heads * max_chunks(limits);
  AttentionPlan plan{limits, Buffer(static_cast<size_t>(std::max(blocks, split) * partial) * sizeof(float))};
  if (plan.scratch.data() == nullptr) {
    return Error{ErrorCode::capacity, fmt::format("attention needs {} bytes of working memory: lower max_tokens ({})",
                                                  plan.scratch.size(), limits.max_tokens)};
  }
  return plan;
}

void attention(ThreadPool& pool, const KernelTable& table, const AttentionArgs& args, int64_t n,
               const AttentionPlan& plan, std::span<const uint8_t> listened) noexcept {
  const int64_t partial = partial_floats(args.heads, args.kv_heads, args.head_dim);
  const int64_t slots = static_cast<int64_t>(plan.scratch.size() / sizeof(float)) / partial;
  FATHOM_ASSERT(args.heads % args.kv_heads == 0 && pool.threads() * kBlockSlots <= slots);
  Call call{table.attention.run, args, n, listened, partial, plan.scratch.as<float>()};
  if (n * args.kv_heads < kPartsAThread * pool.threads()) {
    for (int64_t r = 0; r < n; ++r) {
      FATHOM_ASSERT(chunks_of(args.rows[r]).size() * args.kv_heads <= slots);
      run_split_row(pool, call, r);
    }
    return;
  }
  const int64_t block = std::clamp<int64_t>(n * args.kv_heads / (kPartsAThread * pool.threads()), 1, kRowBlock);
  run_row_blocks(pool, call, block);
}

}  // namespace fathom
