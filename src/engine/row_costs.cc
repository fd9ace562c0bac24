// Timing products by rows: layers in turn, so that no measurement meets what another has brought into the caches.
#include "src/engine/row_costs.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<size_t, 3> kMeasured = {0, 2, 3};  // of PassCosts::kRows
constexpr int32_t kTimes = 3;
constexpr double kSliceBytes = 6e6;  // of the head, in one timing
constexpr double kGather = 1.5;      // a short list costs so much more than its share of the head: packing, one region

template <class F>
double seconds_of(F&& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void run_layer(LayerLoop& loop, int32_t layer, int64_t n) {
  const LayerSpec& spec = loop.spec_of(layer);
  const LayerWeights& w = loop.weights_of(layer);
  const StepBuffers& b = loop.buffers;
  const int64_t d = loop.config.d_model, q_cols = spec.heads * spec.head_dim, kv_cols = spec.kv_heads * spec.head_dim;
  const LinearJob qkv[] = {{&w.q, n, b.q, q_cols}, {&w.k, n, b.k, kv_cols}, {&w.v, n, b.v, kv_cols}};
  const LinearJob out[] = {{&w.o, n, b.projected, d}};
  const LinearJob in[] = {{&w.gate, n, b.gate, spec.feed_forward}, {&w.up, n, b.up, spec.feed_forward}};
  const LinearJob down[] = {{&w.down, n, b.projected, d}};
  loop.product(b.normed, d, qkv);
  loop.product(b.mixed, q_cols, out);
  loop.product(b.normed, d, in);
  loop.product(b.gate, spec.feed_forward, down);
}

double layer_bytes(const LayerWeights& w) {
  double sum = 0;
  for (const Linear* linear : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) sum += double(linear->packed_bytes);
  return sum;
}

// Panels [first, end) of the head, which may be packed in two parts: no slice of it is a matrix of its own.
void run_head(LayerLoop& loop, int64_t n, int64_t first, int64_t end) {
  const Linear& head = loop.weights.head;
  const LinearJob job[] = {{&head, n, loop.buffers.logits, head.matrix.rows}};
  const Activations src = loop.activations(loop.buffers.normed, loop.config.d_model, job);
  const LinearArgs args{.matrix = head.matrix,
                        .packed = head.packed,
                        .src = src.f32,
                        .src_quant = src.quant,
                        .n = n,
                        .bias = head.bias,
                        .dst = loop.buffers.logits,
                        .dst_stride = head.matrix.rows};
  const int64_t share = std::max<int64_t>(1, (end - first) / (4 * loop.pool.threads()));
  loop.pool.run((end - first + share - 1) / share,
                [&](int64_t i) { head.kernel->run(args, first + i * share, std::min(end, first + (i + 1) * share)); });
}

// Two rows cost a quarter of what four add (measured .2 to .35); sixteen are two times eight, the most that one reading
// of the weights serves.
void complete(std::array<double, PassCosts::kRows.size()>& seconds) {
  seconds[2] = std::max(seconds[2], seconds[0]);
  seconds[3] = std::max(seconds[3], seconds[2]);
  seconds[1] = seconds[0] + (seconds[2] - seconds[0]) / 4;
  seconds[4] = 2 * seconds[3];
}

}  // namespace

RowCosts RowCosts::measure(LayerLoop& loop, int64_t max_rows) {
  const Linear& head = loop.weights.head;
  const int64_t panels = head.panels(), n_timings = kTimes * std::ssize(kMeasured);
  const double panel_bytes = double(head.packed_bytes) / double(panels);
  const int64_t slice = std::clamp<int64_t>(int64_t(kSliceBytes / panel_bytes), 1, std::max<int64_t>(1, panels / 9));
  double body = 0;
  for (int32_t l = 1; l <= loop.config.n_layers; ++l) body += layer_bytes(loop.weights_of(l));
  RowCosts out;
  for (const size_t k : kMeasured) out.layers[k] = out.head[k] = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n_timings; ++i) {
    const size_t k = kMeasured[size_t(i) % kMeasured.size()];
    const int64_t n = std::min<int64_t>(PassCosts::kRows[k], max_rows);
    const auto layer = static_cast<int32_t>(1 + i * loop.config.n_layers / n_timings);
    const double of_layer = seconds_of([&] { run_layer(loop, layer, n); });
    out.layers[k] = std::min(out.layers[k], of_layer * body / layer_bytes(loop.weights_of(layer)));
    const int64_t first = i * (panels - slice) / n_timings;
    const double of_slice = seconds_of([&] { run_head(loop, n, first, first + slice); });
    out.head[k] = std::min(out.head[k], of_slice * double(panels) / double(slice));
  }
  complete(out.layers);
  complete(out.head);
  return out;
}

PassCosts RowCosts::passes(int64_t hot_tokens, int64_t vocab) const {
  PassCosts costs;
  const double one = layers[0] + head[0];
  for (size_t k = 0; k < costs.confirm.size(); ++k) costs.confirm[k] = (layers[k] + head[k]) / one;
  if (hot_tokens == 0) return costs;
  const double listed = std::min(1.0, kGather * double(hot_tokens) / double(vocab));
  for (size_t k = 0; k < costs.settle.size(); ++k) costs.settle[k] = head[k] / one;
  costs.own = (layers[0] + listed * head[0]) / one;
  costs.own_measured = true;
  return costs;
}

}  // namespace fathom
