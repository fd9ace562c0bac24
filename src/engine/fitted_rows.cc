// Rows on their way to a fitted exit's head, or into the cells of layers they left: states translated, then normed.
// Next in the flow: layer_loop.cc.
#include <algorithm>

#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

// second gelu(first norm(states) + offset) -> buffers.normed
void run_hidden(LayerLoop& loop, const ExitHeads::Exit& exit, int64_t n) {
  const StepBuffers& b = loop.buffers;
  const int64_t d = loop.config.d_model, h = exit.first.matrix.rows;
  run_rows(loop.pool, loop.kernels.norm, n, d,
           NormArgs{.src = b.gate,
                    .index = nullptr,
                    .cols = d,
                    .weight = loop.fitted->ones(),
                    .eps = HiddenLayer::kEpsilon,
                    .dst = b.normed});
  const LinearJob first[] = {{&exit.first, n, b.up, h}};
  loop.product(b.normed, d, first);
  loop.pool.run(n, [&](int64_t i) {
    float* const row = b.up + i * h;
    loop.kernels.gated.run({.kind = Gate::gelu_tanh, .a = row, .b = loop.fitted->ones(), .cols = h, .dst = row}, 0, 1);
  });
  const LinearJob second[] = {{&exit.second, n, b.normed, d}};
  loop.product(b.up, h, second);
}

// Adds to n states in buffers.gate what the exit's translator says; buffers.up and .normed are scratch.
void translate(LayerLoop& loop, const ExitHeads::Exit& exit, int64_t n) {
  if (exit.translator.empty()) return;
  const StepBuffers& b = loop.buffers;
  const int64_t d = loop.config.d_model, r = exit.translator.matrix.rows;
  if (!exit.first.empty()) run_hidden(loop, exit, n);
  const LinearJob job[] = {{&exit.translator, n, b.up, r}};
  loop.product(b.gate, d, job);
  if (!exit.up.empty()) {
    const LinearJob up[] = {{&exit.up, n, b.normed, d}};
    loop.product(b.up, r, up);
  } else {
    for (int64_t i = 0; i < n * d; ++i) b.gate[i] += b.up[i];
  }
  if (!exit.up.empty() || !exit.first.empty()) {
    for (int64_t i = 0; i < n * d; ++i) b.gate[i] += b.normed[i];
  }
}

}  // namespace

// Logits are linear in what is normed: a temperature divides it.
void LayerLoop::norm_exits(std::span<const int32_t> which, const ExitHeads::Exit& exit) {
  const int64_t n = std::ssize(which), d = config.d_model;
  float* const states = buffers.gate;  // [n, d] fits: ExitHeads asks for feed_forward >= d
  for (int64_t i = 0; i < n; ++i) {
    const auto state = buffers.state(which[static_cast<size_t>(i)]);
    std::copy(state.begin(), state.end(), states + i * d);
  }
  translate(*this, exit, n);
  run_rows(pool, kernels.norm, n, d,
           NormArgs{.src = states,
                    .index = nullptr,
                    .cols = d,
                    .weight = weights.final_norm,
                    .eps = config.norm_eps,
                    .dst = buffers.normed});
  const float scale = 1 / exit.temperatures[static_cast<size_t>(group)];
  for (int64_t i = 0; i < n * d; ++i) buffers.normed[i] *= scale;
  for (const int32_t r : which) row(r).macs += exit.multiplies;
}

// The states of rows that left, over their root mean square, in buffers.gate; what they are cut down to behind them,
// and what is added to them in buffers.up: ExitHeads asks for room. The norm does not see the scale.
void LayerLoop::translate_fills(int32_t layer, std::span<const int32_t> write) {
  if (fitted == nullptr) return;
  const int64_t d = config.d_model;
  for (const ExitHeads::Exit& exit : fitted->all()) {
    const ExitHeads::Fill* const fill = exit.fill(layer);
    if (fill == nullptr) continue;
    int32_t* const places = buffers.ids;  // in `write`
    int64_t n = 0;
    for (size_t i = active.attend().size(); i < write.size(); ++i) {
      if (row(write[i]).left_at != exit.layer) continue;
      const auto state = buffers.state(write[i]);
      std::copy(state.begin(), state.end(), buffers.gate + n * d);
      row(write[i]).macs += fill->multiplies;
      places[n++] = static_cast<int32_t>(i);
    }
    if (n == 0) continue;
    const auto norm = [&](const float* weight, float eps) {
      run_rows(
          pool, kernels.norm, n, d,
          NormArgs{
              .src = buffers.gate, .index = nullptr, .cols = d, .weight = weight, .eps = eps, .dst = buffers.gate});
    };
    norm(fitted->ones(), HiddenLayer::kEpsilon);
    const int64_t r = fill->down.matrix.rows;
    float* const cut = buffers.gate + n * d;  // [n, r]
    const LinearJob down[] = {{&fill->down, n, cut, r}};
    product(buffers.gate, d, down);
    const LinearJob up[] = {{&fill->up, n, buffers.up, d}};
    product(cut, r, up);
    for (int64_t i = 0; i < n * d; ++i) buffers.gate[i] += buffers.up[i];
    norm(weights_of(layer).attention_norm, config.norm_eps);
    FATHOM_ASSERT(buffers.input == buffers.normed);  // translators are for families whose halves begin with a norm
    for (int64_t i = 0; i < n; ++i) std::copy_n(buffers.gate + i * d, d, buffers.normed + places[i] * d);
  }
}

}  // namespace fathom
