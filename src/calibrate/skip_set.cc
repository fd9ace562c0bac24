// Skip sets: joining them, writing them, and counting what they leave unread.
#include "src/calibrate/skip_set.h"

#include "fathom/engine/silenced_heads.h"

namespace fathom {
namespace {

LayerSet joined(const LayerSet& a, const LayerSet& b) {
  LayerSet all = a;
  for (int32_t layer = 1; layer <= b.last(); ++layer) {
    if (b.has(layer)) all.add(layer);
  }
  return all;
}

int32_t count(const LayerSet& set) {
  int32_t n = 0;
  for (int32_t layer = 1; layer <= set.last(); ++layer) n += set.has(layer);
  return n;
}

double bytes_of(std::initializer_list<const Linear*> all) {
  double sum = 0;
  for (const Linear* linear : all) sum += double(linear->packed_bytes);
  return sum;
}

}  // namespace

int32_t SkipSet::size() const { return count(attention) + count(feed_forward) + heads.size(); }

SkipSet SkipSet::with(const SkipSet& other) const {
  SkipSet out{.attention = joined(attention, other.attention),
              .feed_forward = joined(feed_forward, other.feed_forward)};
  for (const HeadSet* set : {&heads, &other.heads}) {
    for (const HeadName& name : *set) {
      if (!out.attention.has(name.layer)) out.heads.add(name.layer, name.head);
    }
  }
  return out;
}

std::string SkipSet::text() const {
  LayerSet whole;
  skip_sublayers halves;
  for (int32_t layer = 1; layer <= std::max(attention.last(), feed_forward.last()); ++layer) {
    const bool a = attention.has(layer), f = feed_forward.has(layer);
    if (a && f) whole.add(layer);
    if (a && !f) halves.attention.add(layer);
    if (!a && f) halves.feed_forward.add(layer);
  }
  std::string all;
  const auto add = [&](const std::string& stage) { all += (all.empty() ? "" : " | ") + stage; };
  if (!whole.empty()) add(skip_layers{.layers = whole}.text());
  if (!halves.attention.empty() || !halves.feed_forward.empty()) add(halves.text());
  if (!heads.empty()) add(silence_heads{.heads = heads}.text());
  return all.empty() ? "full_depth" : all;
}

double saved_share(const Model& model, const SkipSet& set) {
  const Weights& weights = model.weights();
  const auto silenced =
      set.heads.empty() ? Result<SilencedHeads>(SilencedHeads()) : SilencedHeads::make(model, set.heads, 0);
  double all = double(weights.head.packed_bytes), saved = 0;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& w = weights.layers[l];
    const auto layer = static_cast<int32_t>(l) + 1;
    all += bytes_of({&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down});
    if (set.feed_forward.has(layer)) saved += bytes_of({&w.gate, &w.up, &w.down});
    if (set.attention.has(layer)) {
      saved += bytes_of({&w.q, &w.o});
    } else if (set.heads.has_layer(layer) && silenced) {
      saved += bytes_of({&w.q, &w.o}) - double(silenced->of(layer)->bytes());
    }
  }
  return saved / all;
}

}  // namespace fathom
