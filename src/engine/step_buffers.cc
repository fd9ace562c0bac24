// StepBuffers: sizes from the widest layer.
#include "fathom/engine/step_buffers.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom {
namespace {

// Hands out 64-byte aligned pieces; run twice, first without memory to learn the size.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}
  template <class T>
  void cut(T*& out, int64_t n) {
    if (base_ != nullptr) out = reinterpret_cast<T*>(base_ + used_);
    used_ += (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

struct Widths {
  int64_t d = 0, heads = 0, q = 0, kv = 0, feed_forward = 0, input = 0;
};

Widths widest(const ModelConfig& config) {
  Widths w{.d = config.d_model};
  for (const LayerSpec& spec : config.layers) {
    w.heads = std::max(w.heads, int64_t{spec.heads});
    w.q = std::max(w.q, int64_t{spec.heads} * spec.head_dim);
    w.kv = std::max(w.kv, int64_t{spec.kv_heads} * spec.head_dim);
    w.feed_forward = std::max(w.feed_forward, int64_t{spec.feed_forward});
  }
  w.input = padded_cols(std::max({w.d, w.q, w.feed_forward}));
  return w;
}

}  // namespace

Result<StepBuffers> StepBuffers::make(const ModelConfig& config, int32_t max_rows, int32_t max_logit_rows) {
  const Widths w = widest(config);
  StepBuffers b;
  const auto cut_all = [&](std::byte* base) {
    Cutter cutter(base);
    const int64_t n = max_rows;
    for (float** p : {&b.x, &b.before, &b.before_half, &b.normed}) cutter.cut(*p, n * w.d);
    for (float** p : {&b.q, &b.mixed}) cutter.cut(*p, n * w.q);
    for (float** p : {&b.k, &b.v}) cutter.cut(*p, n * w.kv);
    cutter.cut(b.totals, n * w.heads * 2);
    for (float** p : {&b.gate, &b.up}) cutter.cut(*p, n * w.feed_forward);
    cutter.cut(b.logits, int64_t{max_logit_rows} * config.vocab);
    cutter.cut(b.compared, n);
    cutter.cut(b.ids, n);
    cutter.cut(b.bf16, n * w.input);
    cutter.cut(b.quant.scales, n * w.input / kQuantBlock);
    cutter.cut(b.quant.sums, n * w.input / kSumBlock);
    cutter.cut(b.cells, n);
    cutter.cut(b.views, n);
    cutter.cut(b.stats, n);
    return cutter.used();
  };
  const size_t bytes = cut_all(nullptr);
  b.memory_ = Buffer(bytes, Pages::small);
  if (b.memory_.data() == nullptr) {
    return Error{ErrorCode::capacity, fmt::format("{} bytes for steps of {} rows: the system refused; lower "
                                                  "SessionOptions::max_rows or max_logit_rows",
                                                  bytes, max_rows)};
  }
  cut_all(b.memory_.data());
  b.quant.values = reinterpret_cast<int8_t*>(b.bf16);
  b.quant.low = b.quant.values + max_rows * w.input;
  b.projected = b.normed;
  b.rope = RopeTables(config);
  b.max_logit_rows = max_logit_rows;
  b.vocab = config.vocab;
  b.d_model = config.d_model;
  return b;
}

Result<void> StepBuffers::make_kept(const ModelConfig& config, int32_t rows) {
  if (kept != nullptr) return {};
  const size_t bytes = static_cast<size_t>(rows) * static_cast<size_t>(config.d_model) * sizeof(float);
  kept_memory_ = Buffer(bytes, Pages::small);
  kept = kept_memory_.as<float>();
  if (kept != nullptr) return {};
  return Error{ErrorCode::capacity,
               fmt::format("{} bytes for the states of {} rows that owe layers: the system refused; "
                           "lower SessionOptions::max_sequences",
                           bytes, rows)};
}

Result<void> StepBuffers::make_answers() {
  if (answers != nullptr) return {};
  const size_t bytes = static_cast<size_t>(max_logit_rows) * static_cast<size_t>(vocab) * sizeof(float);
  answers_memory_ = Buffer(bytes, Pages::small);
  answers = answers_memory_.as<float>();
  if (answers != nullptr) return {};
  return Error{ErrorCode::capacity, fmt::format("{} bytes for exit checks of {} rows: the system refused; lower "
                                                "SessionOptions::max_logit_rows",
                                                bytes, max_logit_rows)};
}

}  // namespace fathom
