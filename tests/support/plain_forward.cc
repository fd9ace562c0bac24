// The forward pass as its papers write it, a loop for each sum. Next: tests/golden/tiny_golden_test.cc.
#include "tests/support/plain_forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "kernels/ref/dequant.h"

namespace fathom::testing {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

float to_bf16(float x) {
  const uint32_t bits = kernels::float_to_bits(x);
  return kernels::bits_to_float((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);  // to nearest, ties to even
}

float to_half(double x) { return kernels::half_to_float(kernels::float_to_half(static_cast<float>(x))); }

/// One block in 8 bits; `scale` of the largest magnitude is 127.
void round_block(std::span<double> block, float most, bool half_scale) {
  float largest = 0;
  for (const double x : block) largest = std::max(largest, std::abs(static_cast<float>(x)));
  const float scale = largest / most;
  const float kept = half_scale ? to_half(scale) : scale;
  for (double& x : block) x = scale == 0 ? 0 : std::nearbyint(static_cast<float>(x) * (most / largest)) * double{kept};
}

Row rounded(const Row& row, PlainRounding rounding) {
  Row out = row;
  const size_t block = rounding == PlainRounding::q8_k ? 256 : 32;
  const float most = rounding == PlainRounding::q12 ? 2039.0f : 127.0f;
  switch (rounding) {
    case PlainRounding::none:
      break;
    case PlainRounding::f16:
      for (double& x : out) x = to_half(x);
      break;
    case PlainRounding::bf16:
      for (double& x : out) x = to_bf16(static_cast<float>(x));
      break;
    case PlainRounding::q8:
    case PlainRounding::q12:
    case PlainRounding::q8_0:
    case PlainRounding::q8_k:
      for (size_t i = 0; i < out.size(); i += block) {
        round_block(std::span(out).subspan(i, std::min(block, out.size() - i)), most, rounding == PlainRounding::q8_0);
      }
      break;
  }
  return out;
}

class PlainForward {
 public:
  PlainForward(const Model& model, std::span<const int32_t> ids, const PlainOptions& options)
      : model_(model), config_(model.config()), ids_(ids), options_(options) {}

  Rows logits() {
    Rows x = states();
    const Row final_norm = vector("output_norm.weight");
    for (Row& row : x) row = norm(row, final_norm, {});
    return product(matrix(config_.tied_head ? "token_embd.weight" : "output.weight"), x, {});
  }

  Row embedding() {
    const Rows x = states();
    Row sum = x[0];
    for (double& value : sum) value *= stands_for_[0];
    for (size_t r = 1; r < x.size() && config_.pooling == Pooling::mean; ++r) {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += stands_for_[r] * x[r][i];
    }
    double squares = 0;
    for (const double value : sum) squares += value * value;
    const double count =
        config_.pooling == Pooling::mean ? std::accumulate(stands_for_.begin(), stands_for_.end(), 0.0) : 1.0;
    for (double& value : sum) value /= config_.unit_length ? std::sqrt(squares) : count;
    return sum;
  }

 private:
  /// Behind the last layer.
  Rows states() {
    const Rows table = matrix("token_embd.weight");
    Rows x;
    for (const int32_t id : ids_) {
      x.push_back(table[static_cast<size_t>(id)]);
      for (double& value : x.back()) value *= config_.embedding_scale;
    }
    if (config_.learned_positions) add_positions(x);
    keep(x);
    stands_for_.assign(x.size(), 1.0);
    shorten(x, 0);
    for (size_t l = 0; l < config_.layers.size(); ++l) {
      layer(x, l, "blk." + std::to_string(l) + ".");
      shorten(x, static_cast<int32_t>(l) + 1);
    }
    return x;
  }

  // A row that stands for no token is gone.
  void shorten(Rows& x, int32_t behind) {
    const PlainTokens* const how = options_.tokens;
    if (how == nullptr || how->layer != behind) return;
    const size_t last = x.size() - 1;
    for (size_t r = 1; r < last && how->fuse; ++r) {
      size_t into = r - 1;
      while (stands_for_[into] == 0) --into;
      if (r > 1 && ids_[r] == ids_[r - 1]) join(x, r, into);
    }
    std::vector<size_t> may_go;
    for (size_t r = 1; r < last; ++r) {
      if (stands_for_[r] > 0) may_go.push_back(r);
    }
    const auto left = static_cast<int32_t>(may_go.size()) + 2;
    if (how->drop_to > 0) {
      std::sort(may_go.begin(), may_go.end(), [&](size_t a, size_t b) { return received_[a] < received_[b]; });
      for (int32_t i = 0; i < left - how->drop_to; ++i) stands_for_[may_go[static_cast<size_t>(i)]] = 0;
    }
    if (how->merge_to > 0) merge(x, may_go, left - how->merge_to);
  }

  void join(Rows& x, size_t from, size_t into) {
    for (size_t i = 0; i < x[into].size(); ++i) {
      x[into][i] =
          (stands_for_[into] * x[into][i] + stands_for_[from] * x[from][i]) / (stands_for_[into] + stands_for_[from]);
    }
    stands_for_[into] += stands_for_[from];
    stands_for_[from] = 0;
  }

  void merge(Rows& x, const std::vector<size_t>& rows, int32_t n) {
    struct Pair {
      double cosine;
      size_t from, into;
    };
    const auto dot = [&](size_t a, size_t b) {
      return std::inner_product(keys_[a].begin(), keys_[a].end(), keys_[b].begin(), 0.0);
    };
    std::vector<Pair> pairs;
    for (size_t i = 1; i < rows.size(); i += 2) {
      Pair best{-2, rows[i], 0};
      for (size_t j = 0; j < rows.size(); j += 2) {
        const double cosine = dot(rows[i], rows[j]) / std::sqrt(dot(rows[i], rows[i]) * dot(rows[j], rows[j]));
        if (cosine > best.cosine) best = {cosine, rows[i], rows[j]};
      }
      pairs.push_back(best);
    }
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.cosine > b.cosine; });
    pairs.resize(std::min(pairs.size(), static_cast<size_t>(std::max(n, 0))));
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.from < b.from; });
    for (const Pair& pair : pairs) join(x, pair.from, pair.into);
  }

  void add_positions(Rows& x) const {
    const Rows positions = matrix("position_embd.weight"), segments = matrix("token_types.weight");
    for (size_t p = 0; p < x.size(); ++p) {
      for (size_t i = 0; i < x[p].size(); ++i) x[p][i] += positions[p][i] + segments[0][i];
    }
    x = normed(x, "token_embd_norm");
  }

  const Tensor* find(const std::string& name) const {
    for (const Tensor& tensor : model_.tensors()) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }

  Rows matrix(const std::string& name) const {
    const Tensor* tensor = find(name);
    if (tensor == nullptr) throw std::invalid_argument("no tensor " + name);
    const size_t bytes = row_bytes(tensor->type, static_cast<size_t>(tensor->cols));
    std::vector<float> one(static_cast<size_t>(tensor->cols));
    Rows rows;
    for (int64_t r = 0; r < tensor->rows; ++r) {
      kernels::dequantize_row(tensor->type, tensor->data + static_cast<size_t>(r) * bytes, one.data(), tensor->cols);
      rows.emplace_back(one.begin(), one.end());
    }
    return rows;
  }
  Row vector(const std::string& name) const { return matrix(name)[0]; }
  Row vector_or_none(const std::string& name) const { return find(name) == nullptr ? Row{} : vector(name); }

  Rows product(const Rows& weight, const Rows& x, const Row& bias) const {
    Rows y;
    for (const Row& exact : x) {
      const Row row = rounded(exact, options_.rounding);
      y.emplace_back();
      for (size_t o = 0; o < weight.size(); ++o) {
        double sum = bias.empty() ? 0.0 : bias[o];
        for (size_t i = 0; i < row.size(); ++i) sum += weight[o][i] * row[i];
        y.back().push_back(sum);
      }
    }
    return y;
  }
  Rows linear(const std::string& name, const Rows& x) const {
    return product(matrix(name + ".weight"), x, vector_or_none(name + ".bias"));
  }

  Row norm(const Row& x, const Row& weight, const Row& bias) const {
    const auto n = static_cast<double>(x.size());
    double mean = 0, squares = 0;
    if (config_.norm == NormKind::layer) mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
    for (const double value : x) squares += (value - mean) * (value - mean);
    const double scale = 1.0 / std::sqrt(squares / n + config_.norm_eps);
    Row y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = (x[i] - mean) * scale * weight[i] + (bias.empty() ? 0 : bias[i]);
    return y;
  }

  /// Normalises every head, then rotates it.
  void prepare_heads(Rows& x, const LayerSpec& spec, const std::string& norm_name) const {
    const Row weight = vector_or_none(norm_name);
    const auto dim = static_cast<size_t>(spec.head_dim);
    for (size_t position = 0; position < x.size(); ++position) {
      for (size_t begin = 0; begin < x[position].size(); begin += dim) {
        const auto first = x[position].begin() + static_cast<std::ptrdiff_t>(begin);
        Row head(first, first + spec.head_dim);
        if (!weight.empty()) head = norm(head, weight, {});
        rotate(head, spec, static_cast<double>(position));
        std::copy(head.begin(), head.end(), first);
      }
    }
  }

  void rotate(Row& head, const LayerSpec& spec, double position) const {
    const auto half = static_cast<size_t>(spec.rope_dim / 2);
    for (size_t i = 0; i < half; ++i) {
      double angle =
          position / spec.rope_scale * std::pow(spec.rope_base, -static_cast<double>(i) / static_cast<double>(half));
      if (!config_.rope_factors.empty()) angle /= config_.rope_factors[i];
      const size_t a = spec.pairing == Pairing::adjacent ? 2 * i : i;
      const size_t b = spec.pairing == Pairing::adjacent ? 2 * i + 1 : i + half;
      const double x = head[a], y = head[b];
      head[a] = x * std::cos(angle) - y * std::sin(angle);
      head[b] = x * std::sin(angle) + y * std::cos(angle);
    }
  }

  Rows attention(const Rows& q, const Rows& k, const Rows& v, const LayerSpec& spec) {
    const auto dim = static_cast<size_t>(spec.head_dim);
    Row own(q.size());
    received_.assign(q.size(), 0.0);
    keys_ = k;
    Rows y(q.size(), Row(q[0].size(), 0.0));
    for (size_t p = 0; p < q.size(); ++p) {
      const size_t begin =
          spec.window != 0 && p + 1 > static_cast<size_t>(spec.window) ? p + 1 - static_cast<size_t>(spec.window) : 0;
      const size_t end = spec.causal ? p + 1 : q.size();
      for (size_t h = 0; h < static_cast<size_t>(spec.heads); ++h) {
        const size_t q_at = h * dim, kv_at = h / static_cast<size_t>(spec.heads / spec.kv_heads) * dim;
        Row weights;
        for (size_t c = begin; c < end; ++c) {
          double score = 0;
          for (size_t i = 0; i < dim; ++i) score += q[p][q_at + i] * k[c][kv_at + i];
          weights.push_back(score * spec.attention_scale + std::log(stands_for_[c]));
        }
        const double largest = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - largest);
        own[p] += weights[p - begin] / sum / spec.heads;
        for (size_t c = begin; c < end && stands_for_[p] > 0; ++c) received_[c] += weights[c - begin] / sum;
        for (size_t c = begin; c < end; ++c) {
          for (size_t i = 0; i < dim; ++i) y[p][q_at + i] += weights[c - begin] / sum * v[c][kv_at + i];
        }
      }
    }
    if (options_.own_shares != nullptr) options_.own_shares->push_back(own);
    return y;
  }

  double gate(Gate kind, double x) const {
    if (kind == Gate::silu) return x / (1.0 + std::exp(-x));
    if (kind == Gate::gelu) return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    if (options_.gelu_table && std::abs(x) >= 10) return x > 0 ? x : 0;
    const double in = options_.gelu_table ? to_half(x) : x;
    constexpr double kRootTwoOverPi = 0.79788456080286535588;
    const double y = 0.5 * in * (1.0 + std::tanh(kRootTwoOverPi * (in + 0.044715 * in * in * in)));
    return options_.gelu_table ? to_half(y) : y;
  }

  Rows normed(const Rows& x, const std::string& name) const {
    const Row weight = vector(name + ".weight"), bias = vector_or_none(name + ".bias");
    Rows y;
    for (const Row& row : x) y.push_back(norm(row, weight, bias));
    return y;
  }

  bool runs(size_t row, size_t layer) const {
    return options_.depths.empty() || layer < static_cast<size_t>(options_.depths[row]);
  }

  /// Adds a half's output to the rows that run the layer (from 0); its norm is on what is added, or on the sum.
  void add(Rows& x, Rows y, size_t layer, const std::string& norm_name) const {
    const LayerSpec& spec = config_.layers[layer];
    if (spec.norm_after) y = normed(y, norm_name);
    for (size_t r = 0; r < x.size(); ++r) {
      for (size_t i = 0; i < x[r].size(); ++i) y[r][i] += x[r][i];
    }
    if (spec.norm_sum) y = normed(y, norm_name);
    for (size_t r = 0; r < x.size(); ++r) {
      if (runs(r, layer)) x[r] = y[r];
    }
    keep(x);
  }

  void keep(const Rows& x) const {
    if (options_.states != nullptr) options_.states->push_back(x);
  }

  void layer(Rows& x, size_t l, const std::string& name) {
    const LayerSpec& spec = config_.layers[l];
    const Rows in = spec.norm_sum ? x : normed(x, name + "attn_norm");
    Rows q = linear(name + "attn_q", in), k = linear(name + "attn_k", in);
    prepare_heads(q, spec, name + "attn_q_norm.weight");
    prepare_heads(k, spec, name + "attn_k_norm.weight");
    const Rows mixed = attention(q, k, linear(name + "attn_v", in), spec);
    add(x, linear(name + "attn_output", mixed), l, name + (spec.norm_sum ? "attn_output_norm" : "post_attention_norm"));
    const Rows inner = feed_forward(spec.norm_sum ? x : normed(x, name + "ffn_norm"), spec, name);
    add(x, linear(name + "ffn_down", inner), l, name + (spec.norm_sum ? "layer_output_norm" : "post_ffw_norm"));
  }

  Rows feed_forward(const Rows& in, const LayerSpec& spec, const std::string& name) const {
    const Rows up = linear(name + "ffn_up", in);
    Rows inner = spec.gated ? linear(name + "ffn_gate", in) : up;
    for (size_t r = 0; r < inner.size(); ++r) {
      for (size_t i = 0; i < inner[r].size(); ++i) {
        inner[r][i] = gate(spec.gate, inner[r][i]) * (spec.gated ? up[r][i] : 1);
      }
    }
    return inner;
  }

  const Model& model_;
  const ModelConfig& config_;
  std::span<const int32_t> ids_;
  PlainOptions options_;
  Row stands_for_;  // [ids] tokens; 0: the row is gone
  Row received_;    // [ids] of the last layer's attention, summed over rows and heads
  Rows keys_;       // [ids] of the last layer
};

}  // namespace

std::vector<std::vector<double>> plain_logits(const Model& model, std::span<const int32_t> ids,
                                              const PlainOptions& options) {
  return PlainForward(model, ids, options).logits();
}

std::vector<double> plain_embedding(const Model& model, std::span<const int32_t> ids, const PlainOptions& options) {
  return PlainForward(model, ids, options).embedding();
}

}  // namespace fathom::testing
