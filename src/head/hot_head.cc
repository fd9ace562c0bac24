// HotHead: listed rows are gathered from the file and packed, panel by panel, as they change.
#include "fathom/head/hot_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "src/ops/quantise_weights.h"

namespace fathom {
namespace {

Error refused(size_t bytes) {
  return {ErrorCode::capacity,
          fmt::format("{} bytes for a shortlist of the head: the system refused; lower defer_head(hot)", bytes)};
}

}  // namespace

Result<HotHead> HotHead::make(const Tensor& rows, const Linear& head, int32_t capacity) {
  HotHead hot;
  const auto n = static_cast<size_t>(std::min<int64_t>(capacity, rows.rows));
  hot.asked_ = capacity;
  hot.rows_ = rows;
  hot.list_ = head;
  hot.head_bias_ = head.bias;
  hot.list_.matrix.rows = static_cast<int64_t>(n);
  const auto panels = static_cast<size_t>(hot.list_.panels());
  hot.list_.packed_bytes = head.kernel->packed_bytes(hot.list_.matrix);
  hot.packed_ = Buffer(hot.list_.packed_bytes);
  hot.gathered_ = Buffer(panels * static_cast<size_t>(head.kernel->panel_rows) *
                         row_bytes(head.matrix.type, static_cast<size_t>(rows.cols)));
  for (const Buffer* buffer : {&hot.packed_, &hot.gathered_}) {
    if (buffer->data() == nullptr) return refused(buffer->size());
  }
  hot.list_.packed = hot.packed_.data();
  hot.tokens_.resize(n);
  std::iota(hot.tokens_.begin(), hot.tokens_.end(), 0);
  hot.place_.assign(static_cast<size_t>(rows.rows), -1);
  std::iota(hot.place_.begin(), hot.place_.begin() + static_cast<std::ptrdiff_t>(n), 0);
  hot.used_.assign(n, 0);
  hot.since_.assign(n, 0);
  hot.is_stale_.assign(panels, 1);
  hot.stale_.resize(panels);
  std::iota(hot.stale_.begin(), hot.stale_.end(), 0);
  if (head.bias != nullptr) {
    hot.bias_.assign(head.bias, head.bias + n);
    hot.list_.bias = hot.bias_.data();
  }
  return hot;
}

void HotHead::use(std::span<const int32_t> tokens) noexcept {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= rows_.rows) continue;
    const int32_t place = place_[static_cast<size_t>(token)];
    if (place >= 0) {
      used_[static_cast<size_t>(place)] = 1;
    } else {
      put(token);
    }
  }
}

// The token takes the place of the first one from the hand on that was not used since the hand came by.
void HotHead::put(int32_t token) noexcept {
  while (used_[hand_] != 0) {
    used_[hand_] = 0;
    hand_ = (hand_ + 1) % used_.size();
  }
  const size_t at = hand_;
  hand_ = (hand_ + 1) % used_.size();
  place_[static_cast<size_t>(tokens_[at])] = -1;
  place_[static_cast<size_t>(token)] = static_cast<int32_t>(at);
  tokens_[at] = token;
  since_[at] = step_;
  if (head_bias_ != nullptr) bias_[at] = head_bias_[token];
  const size_t panel = at / static_cast<size_t>(list_.kernel->panel_rows);
  if (is_stale_[panel] != 0) return;
  is_stale_[panel] = 1;
  stale_.push_back(static_cast<int32_t>(panel));
}

void HotHead::pack(ThreadPool& pool) noexcept {
  const auto panel_rows = static_cast<size_t>(list_.kernel->panel_rows);
  const DType type = list_.matrix.type;  // rows of another type were quantised for the head, and are again
  const size_t from = row_bytes(rows_.type, static_cast<size_t>(rows_.cols));
  const size_t row = row_bytes(type, static_cast<size_t>(rows_.cols));
  pool.run(std::ssize(stale_), [&](int64_t i) {
    const auto panel = static_cast<size_t>(stale_[static_cast<size_t>(i)]);
    const size_t end = std::min(tokens_.size(), (panel + 1) * panel_rows);
    for (size_t at = panel * panel_rows; at < end; ++at) {
      const std::byte* src = rows_.data + static_cast<size_t>(tokens_[at]) * from;
      std::byte* dst = gathered_.data() + at * row;
      if (type == rows_.type) {
        std::memcpy(dst, src, row);
      } else {
        quantise_row(rows_.type, src, rows_.cols, dst);
      }
    }
    list_.kernel->pack(list_.matrix, gathered_.data(), packed_.data(), static_cast<int64_t>(panel),
                       static_cast<int64_t>(panel) + 1);
  });
  for (const int32_t panel : stale_) is_stale_[static_cast<size_t>(panel)] = 0;
  stale_.clear();
}

const Linear& HotHead::packed(ThreadPool& pool) noexcept {
  if (!stale_.empty()) pack(pool);
  return list_;
}

}  // namespace fathom
