// The steps of a screened head over all rows of a call, as parallel regions. One row's decisions:
// src/head/row_screen.h.
#include "fathom/head/screened_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "src/head/row_screen.h"

namespace fathom {
namespace {

constexpr int64_t kMaxRows = 16;  // of one pass: bounds of a chunk lie on the stack
constexpr int64_t kChunk = 32;    // panels screened between two looks at their bounds
constexpr int64_t kPartsPerThread = 8;
constexpr int64_t kMostPanels = 4;  // one panel in so many is the most that is multiplied one by one

int64_t pieces(int64_t all, int64_t each) { return (all + each - 1) / each; }

/// Rows [row, ...) of quantised activations.
QuantRows rows_from(const QuantRows& q, int64_t row) {
  const int64_t first = row * q.cols;
  return {q.values + first, q.scales + first / kQuantBlock, q.sums + first / kSumBlock, q.cols,
          q.low != nullptr ? q.low + first : nullptr};
}

}  // namespace

struct ScreenedHead::Impl {
  /// Rows [begin, begin + n) of a call, on their way through one pass.
  struct Pass {
    ThreadPool& pool;
    QuantRows src;
    std::span<const LogitUse> uses;
    float* dst;
    int64_t dst_stride;
    std::span<ScreenReport> reports;
  };

  HeadLinear head;
  int64_t vocab, panels, list_size, prepared_floats;
  Buffer memory;
  std::vector<RowSpace> spaces;    // [rows of a pass], logits null
  std::vector<RowScreen> screens;  // [rows of a pass]
  float* prepared = nullptr;       // [rows of a pass, prepared_floats]

  Result<void> allocate(int64_t rows);
  void run_pass(const Pass& pass);
  void begin(const Pass& pass, int64_t row);
  void add_noise(const Pass& pass);
  void screen(const Pass& pass, int64_t row, int64_t n);
  void multiply_lists(const Pass& pass);
  void multiply(const Pass& pass, int64_t row, std::span<const int32_t> list) const;
  void whole_heads(const Pass& pass) const;
  template <class Step>
  void for_screened(const Pass& pass, Step step);
  template <class Step>
  void for_pieces(const Pass& pass, Step step);
};

ScreenedHead::ScreenedHead(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ScreenedHead::ScreenedHead(ScreenedHead&&) noexcept = default;
ScreenedHead& ScreenedHead::operator=(ScreenedHead&&) noexcept = default;
ScreenedHead::~ScreenedHead() = default;

Result<ScreenedHead> ScreenedHead::make(const HeadLinear& head, int64_t max_rows) {
  FATHOM_ASSERT(head.product.packed != nullptr && head.product.kernel->panel_rows == kPanelTokens);
  if (max_rows < 1) {
    return Error{ErrorCode::argument, fmt::format("max_rows {} of a screened head: give 1 or more", max_rows)};
  }
  auto impl = std::make_unique<Impl>();
  impl->head = head;
  impl->vocab = head.product.matrix.rows;
  impl->panels = head.product.panels();
  impl->list_size = impl->panels / kMostPanels + kFirstPanels;
  impl->prepared_floats = head.kernel->prepared_floats(head.product.matrix);
  FATHOM_TRY(impl->allocate(std::min(max_rows, kMaxRows)));
  return ScreenedHead(std::move(impl));
}

Result<void> ScreenedHead::Impl::allocate(int64_t rows) {
  constexpr int64_t kAlign = 16;  // floats of a cache line: rows are written by different threads
  const auto padded = [](int64_t n) { return pieces(n, kAlign) * kAlign; };
  const int64_t each = 2 * padded(panels) + padded(pieces(panels, 4)) + padded(list_size) +
                       2 * padded(list_size * kPanelTokens) + padded(prepared_floats);
  memory = Buffer(static_cast<size_t>(rows * each) * sizeof(float), Pages::small);
  if (memory.data() == nullptr) {
    return Error{ErrorCode::capacity,
                 fmt::format("memory for a screened head of {} rows: {} bytes refused: free memory", rows,
                             rows * each * static_cast<int64_t>(sizeof(float)))};
  }
  auto* at = memory.as<float>();
  const auto take = [&](int64_t n) { return std::exchange(at, at + padded(n)); };
  prepared = take(rows * padded(prepared_floats));
  for (int64_t r = 0; r < rows; ++r) {
    RowSpace space{.vocab = vocab, .panels = panels, .list_size = list_size};
    space.bound = take(panels);
    space.middle = take(panels);
    space.scored = reinterpret_cast<uint8_t*>(take(pieces(panels, 4)));
    space.list = reinterpret_cast<int32_t*>(take(list_size));
    space.first_bounds = take(list_size * kPanelTokens);
    space.values = take(list_size * kPanelTokens);
    spaces.push_back(space);
  }
  screens.resize(static_cast<size_t>(rows));
  return {};
}

void ScreenedHead::run(ThreadPool& pool, const QuantRows& src, std::span<const LogitUse> uses, float* dst,
                       int64_t dst_stride, std::span<ScreenReport> reports) noexcept {
  const size_t most = impl_->screens.size();
  for (size_t r = 0; r < uses.size(); r += most) {
    const size_t n = std::min(most, uses.size() - r);
    impl_->run_pass({pool, rows_from(src, static_cast<int64_t>(r)), uses.subspan(r, n),
                     dst + static_cast<int64_t>(r) * dst_stride, dst_stride, reports.subspan(r, n)});
  }
}

/// Calls step(row) for every row that has not fallen back to the whole head, in parallel.
template <class Step>
void ScreenedHead::Impl::for_screened(const Pass& pass, Step step) {
  pass.pool.run(std::ssize(pass.uses), [&](int64_t r) {
    if (pass.reports[static_cast<size_t>(r)].full == FullHead::none) step(static_cast<size_t>(r));
  });
}

/// Calls step(row, begin, end) for pieces of the panels of every such row.
template <class Step>
void ScreenedHead::Impl::for_pieces(const Pass& pass, Step step) {
  const int64_t each = pieces(panels, pass.pool.threads() * kPartsPerThread);
  pass.pool.run(pieces(panels, each), [&](int64_t i) {
    for (size_t r = 0; r < pass.uses.size(); ++r) {
      if (pass.reports[r].full == FullHead::none) step(r, i * each, std::min(panels, (i + 1) * each));
    }
  });
}

void ScreenedHead::Impl::run_pass(const Pass& pass) {
  const int64_t n = std::ssize(pass.uses);
  pass.pool.run(n, [&](int64_t r) { begin(pass, r); });
  for (int64_t r = 0, end; r < n; r = end) {
    end = r + 1;
    if (pass.reports[static_cast<size_t>(r)].full != FullHead::none) continue;
    while (end < n && pass.reports[static_cast<size_t>(end)].full == FullHead::none) ++end;
    screen(pass, r, end - r);
  }
  for_screened(pass, [&](size_t r) {
    screens[r].adjust();
    if (!screens[r].choose()) pass.reports[r].full = FullHead::survivors;
  });
  multiply_lists(pass);
  for_screened(pass, [&](size_t r) { screens[r].raise(); });
  add_noise(pass);
  for_screened(pass, [&](size_t r) {
    if (!screens[r].finish(pass.reports[r])) pass.reports[r].full = FullHead::survivors;
  });
  multiply_lists(pass);
  for_pieces(pass, [&](size_t r, int64_t first, int64_t end) { screens[r].clear_rest(first, end); });
  whole_heads(pass);
}

/// Where noise decides, it takes a second look at who comes first.
void ScreenedHead::Impl::add_noise(const Pass& pass) {
  const auto with_noise = [&](size_t r) { return screens[r].has_noise() && pass.reports[r].full == FullHead::none; };
  bool any = false;
  for (size_t r = 0; r < pass.uses.size(); ++r) any |= with_noise(r);
  if (!any) return;
  for_pieces(pass, [&](size_t r, int64_t first, int64_t end) {
    if (screens[r].has_noise()) screens[r].sift(first, end);
  });
  for_screened(pass, [&](size_t r) {
    if (screens[r].has_noise()) screens[r].choose_again();
  });
  multiply_lists(pass);
  for_screened(pass, [&](size_t r) {
    if (screens[r].has_noise()) screens[r].raise();
  });
}

void ScreenedHead::Impl::begin(const Pass& pass, int64_t row) {
  const auto r = static_cast<size_t>(row);
  RowSpace space = spaces[r];
  space.logits = pass.dst + row * pass.dst_stride;
  pass.reports[r] = {.full = screens[r].begin(pass.uses[r], space)};
  if (pass.reports[r].full != FullHead::none) return;
  if (!head.kernel->prepare(head.product.matrix, pass.src, row, prepared + row * prepared_floats))
    pass.reports[r].full = FullHead::not_finite;
}

/// Bounds of rows [row, row + n), all of which are screened.
void ScreenedHead::Impl::screen(const Pass& pass, int64_t row, int64_t n) {
  const int64_t each = pieces(pieces(panels, pass.pool.threads() * kPartsPerThread), kChunk) * kChunk;
  const ScreenArgs args{.matrix = head.product.matrix,
                        .packed = head.product.packed,
                        .src_quant = rows_from(pass.src, row),
                        .prepared = prepared + row * prepared_floats,
                        .n = n,
                        .bias = head.product.bias,
                        .lower = nullptr,
                        .upper = nullptr,
                        .dst_stride = kChunk * kPanelTokens};
  pass.pool.run(pieces(panels, each), [&](int64_t i) {
    alignas(64) float lower[kMaxRows * kChunk * kPanelTokens], upper[kMaxRows * kChunk * kPanelTokens];
    ScreenArgs chunk = args;
    chunk.lower = lower;
    chunk.upper = upper;
    const int64_t end = std::min(panels, (i + 1) * each);
    for (int64_t p = i * each; p < end; p += kChunk) {
      const int64_t stop = std::min(end, p + kChunk);
      head.kernel->screen(chunk, p, stop);
      for (int64_t r = 0; r < n; ++r)
        screens[static_cast<size_t>(row + r)].note(p, stop - p, lower + r * chunk.dst_stride,
                                                   upper + r * chunk.dst_stride);
    }
  });
}

/// Multiplies the panels that rows have listed, in parts of about equal length.
void ScreenedHead::Impl::multiply_lists(const Pass& pass) {
  int64_t total = 0, parts = 0, first_part[kMaxRows + 1];
  for (size_t r = 0; r < pass.uses.size(); ++r)
    total += pass.reports[r].full == FullHead::none ? std::ssize(screens[r].list()) : 0;
  const int64_t each = std::max<int64_t>(1, pieces(total, pass.pool.threads() * kPartsPerThread));
  for (size_t r = 0; r < pass.uses.size(); ++r) {
    first_part[r] = parts;
    parts += pass.reports[r].full == FullHead::none ? pieces(std::ssize(screens[r].list()), each) : 0;
  }
  first_part[pass.uses.size()] = parts;
  pass.pool.run(parts, [&](int64_t i) {
    const int64_t* after = std::upper_bound(first_part, first_part + pass.uses.size(), i);
    const int64_t r = after - first_part - 1;
    const auto list = screens[static_cast<size_t>(r)].list();
    const auto begin = static_cast<size_t>((i - first_part[r]) * each);
    multiply(pass, r, list.subspan(begin, std::min(list.size() - begin, static_cast<size_t>(each))));
  });
}

/// Logits of listed panels.
void ScreenedHead::Impl::multiply(const Pass& pass, int64_t row, std::span<const int32_t> list) const {
  const LinearArgs args{.matrix = head.product.matrix,
                        .packed = head.product.packed,
                        .src = nullptr,
                        .src_quant = rows_from(pass.src, row),
                        .n = 1,
                        .bias = head.product.bias,
                        .dst = pass.dst + row * pass.dst_stride,
                        .dst_stride = pass.dst_stride};
  head.kernel->product_of(args, list.data(), std::ssize(list));
}

/// The whole product for rows that need it, neighbours together.
void ScreenedHead::Impl::whole_heads(const Pass& pass) const {
  for (size_t r = 0, end; r < pass.uses.size(); r = end) {
    end = r + 1;
    if (pass.reports[r].full == FullHead::none) continue;
    while (end < pass.uses.size() && pass.reports[end].full != FullHead::none) ++end;
    const auto row = static_cast<int64_t>(r);
    const LinearJob job{&head.product, static_cast<int64_t>(end - r), pass.dst + row * pass.dst_stride,
                        pass.dst_stride};
    linear(pass.pool, {nullptr, rows_from(pass.src, row)}, {&job, 1});
    for (size_t i = r; i < end; ++i) {
      pass.reports[i].survivors = vocab;
      pass.reports[i].panels = panels;
    }
  }
}

}  // namespace fathom
