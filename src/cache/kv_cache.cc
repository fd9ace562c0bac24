// KvCache: page bookkeeping; the kernels do the reading and writing.
#include "fathom/cache/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fathom {

Result<KvCache> KvCache::make(const ModelConfig& config, DType type, int32_t max_tokens, int32_t sequences) {
  if (type != DType::f16 && type != DType::bf16 && type != DType::f32) {
    return Error{ErrorCode::argument, fmt::format("KV cache type {}: use F16, BF16 or F32", info(type).name)};
  }
  if (max_tokens < 1 || sequences < 1) {
    return Error{ErrorCode::argument,
                 fmt::format("KV cache of {} sequences of {} tokens: both must be at least 1", sequences, max_tokens)};
  }
  KvCache cache;
  cache.type_ = type;
  cache.n_layers_ = config.n_layers;
  cache.max_tokens_ = max_tokens;
  for (const LayerSpec& layer : config.layers) {
    const size_t cells = static_cast<size_t>(layer.kv_heads) * layer.head_dim * kPageCells;
    cache.key_bytes_.push_back(row_bytes(type, cells));
    const size_t bytes = 2 * cache.key_bytes_.back();
    cache.block_bytes_ = config.encodes() ? std::max(cache.block_bytes_, bytes) : cache.block_bytes_ + bytes;
  }
  cache.one_layer_ = config.encodes();
  cache.sequences_.resize(static_cast<size_t>(sequences));
  for (Sequence& s : cache.sequences_) s.pages.resize(config.layers.size());
  return cache;
}

Result<void> KvCache::reserve(int32_t sequence, int32_t positions) {
  if (positions > max_tokens_) {
    return Error{ErrorCode::capacity,
                 fmt::format("position {} of {}: raise SessionOptions::max_tokens", positions, max_tokens_)};
  }
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  const size_t n_blocks = (static_cast<size_t>(positions) + kPageCells - 1) / kPageCells;
  while (s.blocks.size() < n_blocks) {
    auto block = std::make_unique<Block>();
    block->memory = Buffer(block_bytes_);
    if (block->memory.data() == nullptr) {
      return Error{ErrorCode::capacity, fmt::format("{} bytes for a KV page: the system refused; use fewer tokens or "
                                                    "F16 cells",
                                                    block_bytes_)};
    }
    block->provenance.assign(static_cast<size_t>(n_layers_) * kPageCells, Provenance::missing);
    std::byte* at = block->memory.data();
    for (size_t layer = 0; layer < static_cast<size_t>(n_layers_); ++layer) {
      block->layers.push_back({at, at + key_bytes_[layer], 0, nullptr});
      if (!one_layer_) at += 2 * key_bytes_[layer];
    }
    for (size_t layer = 0; layer < s.pages.size(); ++layer) s.pages[layer].push_back(&block->layers[layer]);
    s.blocks.push_back(std::move(block));
  }
  return {};
}

void KvCache::truncate(int32_t sequence, int32_t positions) noexcept {
  Sequence& s = sequences_[static_cast<size_t>(sequence)];
  const size_t keep = (static_cast<size_t>(std::max(positions, 0)) + kPageCells - 1) / kPageCells;
  while (s.blocks.size() > keep) {
    s.blocks.pop_back();
    for (auto& pages : s.pages) pages.pop_back();
  }
  const int32_t rest = positions % kPageCells;
  if (s.blocks.size() < keep || rest == 0) return;
  Block& last = *s.blocks[keep - 1];
  for (size_t layer = 0; layer < last.layers.size(); ++layer) {
    last.layers[layer].real &= (uint64_t{1} << rest) - 1;
    std::fill_n(last.provenance.begin() + static_cast<std::ptrdiff_t>(layer * kPageCells) + rest, kPageCells - rest,
                Provenance::missing);
  }
}

KvCache::Block& KvCache::block(int32_t sequence, int32_t position) const noexcept {
  const Sequence& s = sequences_[static_cast<size_t>(sequence)];
  FATHOM_ASSERT(static_cast<size_t>(position / kPageCells) < s.blocks.size());
  return *s.blocks[static_cast<size_t>(position / kPageCells)];
}

KvCell KvCache::cell(int32_t layer, int32_t sequence, int32_t position) noexcept {
  return {&block(sequence, position).layers[static_cast<size_t>(layer - 1)], position % kPageCells};
}

const KvPage* const* KvCache::pages(int32_t layer, int32_t sequence) const noexcept {
  return sequences_[static_cast<size_t>(sequence)].pages[static_cast<size_t>(layer - 1)].data();
}

void KvCache::mark(int32_t layer, int32_t sequence, int32_t position, Provenance provenance) noexcept {
  Block& b = block(sequence, position);
  const int32_t slot = position % kPageCells;
  b.provenance[static_cast<size_t>(layer - 1) * kPageCells + slot] = provenance;
  b.layers[static_cast<size_t>(layer - 1)].real |= uint64_t{1} << slot;
}

void KvCache::weigh(int32_t layer, int32_t sequence, int32_t cell, float tokens) noexcept {
  FATHOM_ASSERT(one_layer_);
  Block& b = block(sequence, cell);
  if (b.bias.empty()) b.bias.assign(kPageCells, 0.0f);
  b.bias[static_cast<size_t>(cell % kPageCells)] = std::log(tokens);
  b.layers[static_cast<size_t>(layer - 1)].bias = b.bias.data();
}

Provenance KvCache::provenance(int32_t layer, int32_t sequence, int32_t position) const noexcept {
  return block(sequence, position).provenance[static_cast<size_t>(layer - 1) * kPageCells + position % kPageCells];
}

bool KvCache::has_hole(int32_t sequence, int32_t position) const noexcept {
  for (int32_t layer = 1; layer <= n_layers_; ++layer) {
    if (provenance(layer, sequence, position) == Provenance::missing) return true;
  }
  return false;
}

size_t KvCache::bytes() const noexcept {
  size_t n_blocks = 0;
  for (const Sequence& s : sequences_) n_blocks += s.blocks.size();
  return n_blocks * block_bytes_;
}

}  // namespace fathom
