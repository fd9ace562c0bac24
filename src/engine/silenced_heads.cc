// SilencedHeads: gathering what speaks, and the two products of rows whose heads are silent.
#include "fathom/engine/silenced_heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

/// Indices of pieces of `piece` numbers each, of which some number belongs to a head that speaks.
std::vector<int32_t> spoken(std::span<const uint8_t> silent, int64_t head_dim, int64_t piece) {
  const int64_t all = std::ssize(silent) * head_dim;
  std::vector<int32_t> kept;
  for (int64_t begin = 0; begin < all; begin += piece) {
    const int64_t first = begin / head_dim, last = (std::min(all, begin + piece) - 1) / head_dim;
    const auto heads = silent.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first + 1));
    if (std::find(heads.begin(), heads.end(), 0) != heads.end()) kept.push_back(static_cast<int32_t>(begin / piece));
  }
  return kept;
}

Error refused(int32_t layer, size_t bytes) {
  return {ErrorCode::capacity, fmt::format("{} bytes for what layer {} reads without its silent heads: the system "
                                           "refused; lower SessionOptions::max_tokens, or silence fewer heads",
                                           bytes, layer)};
}

// Numbers of a list of pieces of a row; the last piece may be shorter.
int64_t numbers(std::span<const int32_t> pieces, int64_t piece, int64_t all) {
  int64_t n = 0;
  for (const int32_t p : pieces) n += std::min(piece, all - p * piece);
  return n;
}

}  // namespace

void SilencedHeads::Layer::keep_all(const LayerWeights& weights) {
  q_ = weights.q, o_ = weights.o;
  panel_ = q_.matrix.rows, block_ = o_.matrix.cols;
  panels_ = {0}, blocks_ = {0};
  std::fill(listened_.begin(), listened_.end(), 1);
}

// A panel is its inputs' blocks in ascending order, all of one length, wherever the sizes say so.
Result<void> SilencedHeads::Layer::keep_spoken(const LayerSpec& spec, const LayerWeights& weights) {
  panel_ = weights.q.kernel->panel_rows;
  panels_ = spoken(silent_, spec.head_dim, panel_);
  block_ = std::lcm(int64_t{info(weights.o.matrix.type).block_elements}, int64_t{kQuantBlock});
  if (weights.o.matrix.cols % block_ != 0) block_ = weights.o.matrix.cols;
  blocks_ = spoken(silent_, spec.head_dim, block_);
  if (panels_.empty()) return {};

  const size_t panel_bytes = weights.q.packed_bytes / static_cast<size_t>(weights.q.panels());
  q_ = weights.q;
  q_.matrix.rows = numbers(panels_, panel_, weights.q.matrix.rows);
  q_.packed_bytes = panel_bytes * panels_.size();
  const auto o_panels = static_cast<size_t>(weights.o.panels()), all = static_cast<size_t>(weights.o.matrix.cols);
  const size_t block_bytes = weights.o.packed_bytes / o_panels * static_cast<size_t>(block_) / all;
  o_ = weights.o;
  o_.matrix.cols = block_ * std::ssize(blocks_);
  o_.packed_bytes = block_bytes * blocks_.size() * o_panels;
  if (q_.kernel->packed_bytes(q_.matrix) != q_.packed_bytes || o_.kernel->packed_bytes(o_.matrix) != o_.packed_bytes) {
    keep_all(weights);  // packed in another way: all is read, and zeros stand for the silent heads
    return {};
  }
  q_packed_ = Buffer(q_.packed_bytes);
  o_packed_ = Buffer(o_.packed_bytes);
  if (q_packed_.data() == nullptr || o_packed_.data() == nullptr)
    return refused(layer_, q_.packed_bytes + o_.packed_bytes);
  gather(weights, panel_bytes, block_bytes);
  return {};
}

void SilencedHeads::Layer::gather(const LayerWeights& weights, size_t panel_bytes, size_t block_bytes) {
  for (size_t i = 0; i < panels_.size(); ++i) {
    const auto from = static_cast<size_t>(panels_[i]);
    std::memcpy(q_packed_.data() + i * panel_bytes, weights.q.packed + from * panel_bytes, panel_bytes);
    for (int64_t o = panels_[i] * panel_; q_.bias != nullptr && o < (panels_[i] + 1) * panel_; ++o) {
      if (o < weights.q.matrix.rows) bias_.push_back(weights.q.bias[o]);
    }
  }
  const auto o_panels = static_cast<size_t>(weights.o.panels());
  const size_t o_panel_bytes = weights.o.packed_bytes / o_panels;
  std::byte* to = o_packed_.data();
  for (size_t p = 0; p < o_panels; ++p) {
    for (const int32_t block : blocks_) {
      std::memcpy(to, weights.o.packed + p * o_panel_bytes + static_cast<size_t>(block) * block_bytes, block_bytes);
      to += block_bytes;
    }
  }
  q_.packed = q_packed_.data();
  o_.packed = o_packed_.data();
}

Result<SilencedHeads> SilencedHeads::make(const Model& model, const HeadSet& heads, float factor) {
  const ModelConfig& config = model.config();
  SilencedHeads out;
  out.heads_ = heads;
  out.factor_ = factor;
  out.layers_.resize(config.layers.size());
  for (const HeadName& name : heads) {
    const bool known = name.layer <= config.n_layers;
    const int32_t n_heads = known ? config.layers[size_t(name.layer) - 1].heads : 0;
    if (name.head > n_heads) {
      return Error{ErrorCode::argument,
                   known ? fmt::format("silence_heads: head {}:{} in a layer of {} heads: write 1..{}", name.layer,
                                       name.head, n_heads, n_heads)
                         : fmt::format("silence_heads: head {}:{} in a model of {} layers: write 1..{}", name.layer,
                                       name.head, config.n_layers, config.n_layers)};
    }
    std::optional<Layer>& layer = out.layers_[size_t(name.layer) - 1];
    if (!layer) layer.emplace().silent_.resize(static_cast<size_t>(n_heads));
    layer->silent_[size_t(name.head) - 1] = 1;
  }
  for (size_t l = 0; l < out.layers_.size(); ++l) {
    if (!out.layers_[l]) continue;
    Layer& layer = *out.layers_[l];
    const LayerSpec& spec = config.layers[l];
    const LayerWeights& weights = model.weights().layers[l];
    layer.layer_ = static_cast<int32_t>(l) + 1;
    layer.factor_ = factor;
    layer.listened_.resize(static_cast<size_t>(spec.kv_heads));
    for (int32_t h = 0; h < spec.heads; ++h)
      layer.listened_[size_t(h / (spec.heads / spec.kv_heads))] |= layer.silent_[size_t(h)] == 0;
    if (factor != 0) {
      layer.keep_all(weights);
    } else {
      FATHOM_TRY(layer.keep_spoken(spec, weights));
    }
    const double q = double(layer.q_.empty() ? 0 : layer.q_.matrix.rows);
    const double o = double(layer.o_.empty() ? 0 : layer.o_.matrix.cols);
    const double unheard = double(std::count(layer.listened_.begin(), layer.listened_.end(), 0));
    layer.saving_ = {
        .project = config.d_model * (double(weights.q.matrix.rows) - q + double(weights.o.matrix.cols) - o),
        .per_cell = 2 * unheard * (spec.heads / spec.kv_heads) * spec.head_dim};
  }
  return out;
}

void SilencedHeads::Layer::ask(LayerLoop& loop, int64_t first, int64_t n) const {
  const LayerSpec& spec = loop.spec_of(layer_);
  const int64_t all = int64_t{spec.heads} * spec.head_dim, d = loop.config.d_model;
  float* const q = loop.buffers.q + first * all;
  std::fill(q, q + n * all, 0.0f);
  if (q_.empty()) return;
  Linear read = q_;
  if (!bias_.empty()) read.bias = bias_.data();
  float* src = loop.buffers.mixed;  // free until attention
  const LinearJob job[] = {{&read, n, src, read.matrix.rows}};
  loop.product(loop.buffers.input + first * d, d, job);
  for (int64_t r = 0; r < n; ++r) {
    for (const int32_t panel : panels_) {
      const int64_t begin = panel * panel_, size = std::min(panel_, all - begin);
      std::copy_n(src, size, q + r * all + begin);
      src += size;
    }
  }
}

void SilencedHeads::Layer::tell(LayerLoop& loop, int64_t first, int64_t n) const {
  const LayerSpec& spec = loop.spec_of(layer_);
  const int64_t all = int64_t{spec.heads} * spec.head_dim, d = loop.config.d_model;
  float* const projected = loop.buffers.projected + first * d;
  if (o_.empty()) {
    const float* const bias = loop.weights_of(layer_).o.bias;
    for (int64_t i = 0; i < n * d; ++i) projected[i] = bias != nullptr ? bias[i % d] : 0;
    return;
  }
  float* const src = loop.buffers.q + first * all;  // free after attention; those of whole rows may be asked again
  float* to = src;
  for (int64_t r = 0; r < n; ++r) {
    float* const mixed = loop.buffers.mixed + (first + r) * all;
    for (size_t h = 0; h < silent_.size(); ++h) {
      float* const head = mixed + static_cast<int64_t>(h) * spec.head_dim;
      if (silent_[h] == 0) continue;
      for (int64_t i = 0; i < spec.head_dim; ++i) head[i] = factor_ != 0 ? factor_ * head[i] : 0;
    }
    for (const int32_t block : blocks_) to = std::copy_n(mixed + block * block_, block_, to);
  }
  const LinearJob job[] = {{&o_, n, projected, d}};
  loop.product(src, o_.matrix.cols, job);
}

}  // namespace fathom
