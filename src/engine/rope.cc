// RopeTables: Su et al. 2021, equation 34; frequency factors and linear scaling as GGUF files carry them.
#include "fathom/engine/rope.h"

#include <algorithm>
#include <cmath>

namespace fathom {

RopeTables::RopeTables(const ModelConfig& config) {
  for (const LayerSpec& spec : config.layers) {
    const auto same = [&](const Table& t) {
      return t.base == spec.rope_base && t.scale == spec.rope_scale && t.dim == spec.rope_dim;
    };
    const auto found = std::find_if(tables_.begin(), tables_.end(), same);
    of_layer_.push_back(static_cast<int32_t>(found - tables_.begin()));
    if (found != tables_.end()) continue;
    Table table{
        .base = spec.rope_base, .scale = spec.rope_scale, .dim = spec.rope_dim, .frequencies = {}, .cos_sin = {}};
    for (int32_t i = 0; i < spec.rope_dim / 2; ++i) {
      const double factor = config.rope_factors.empty() ? 1.0 : config.rope_factors[static_cast<size_t>(i)];
      table.frequencies.push_back(std::pow(double(spec.rope_base), -2.0 * i / spec.rope_dim) / factor /
                                  spec.rope_scale);
    }
    tables_.push_back(std::move(table));
  }
}

void RopeTables::fill(ThreadPool& pool, std::span<const RowState> rows) {
  constexpr size_t kRowsAPart = 16;  // about 50 us
  n_rows_ = rows.size();
  for (Table& table : tables_) {
    const auto dim = static_cast<size_t>(table.dim);
    if (dim == 0) continue;
    table.cos_sin.resize(std::max(table.cos_sin.size(), rows.size() * dim));
    pool.run(static_cast<int64_t>((rows.size() + kRowsAPart - 1) / kRowsAPart), [&](int64_t part) {
      const size_t begin = static_cast<size_t>(part) * kRowsAPart, end = std::min(rows.size(), begin + kRowsAPart);
      float* out = table.cos_sin.data() + begin * dim;
      for (const RowState& row : rows.subspan(begin, end - begin)) {
        for (double frequency : table.frequencies) {
          const double angle = row.position * frequency;
          *out++ = static_cast<float>(std::cos(angle));
          *out++ = static_cast<float>(std::sin(angle));
        }
      }
    });
  }
}

const float* RopeTables::of(int32_t layer, std::span<const int32_t> which) {
  const Table& table = tables_[static_cast<size_t>(of_layer_[static_cast<size_t>(layer - 1)])];
  const size_t dim = static_cast<size_t>(table.dim);
  if (which.size() == n_rows_ && std::is_sorted(which.begin(), which.end())) return table.cos_sin.data();
  gathered_.resize(std::max(gathered_.size(), which.size() * dim));
  for (size_t i = 0; i < which.size(); ++i) {
    std::copy_n(table.cos_sin.data() + static_cast<size_t>(which[i]) * dim, dim, gathered_.data() + i * dim);
  }
  return gathered_.data();
}

}  // namespace fathom
