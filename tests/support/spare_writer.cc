// Weights of the models with spare depth, written down and not trained. Next: tests/calibrate/spare_model_test.cc.
#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

#include "fathom/core/dtype.h"
#include "kernels/ref/half.h"
#include "tests/support/spare_codes.h"
#include "tests/support/spare_model.h"
#include "tests/support/tiny_blocks.h"

namespace fathom::testing {
namespace {

// Numbers of a state. Its square sum without flag and answer is 11.0625 units: 4 token, 1 bit, 4 anchor, 25/16 bit
// before, 1/2 free.
constexpr float kAnchor = 2, kBefore = 1.25f, kFlag = 1.25f, kFree = 0.5f;
constexpr double kSquares = 11.0625, kSquaresAtFirst = 9.5, kFlagSquares = 1.5625;  // units
constexpr float kOpen = 8;  // the gate of a neuron that knows its row: SiLU is the identity there but for 0.03 %

constexpr float kNoise = 1.0f / 512, kFaintNoise = 1.0f / 2048;

Bytes q8_0_blocks(const std::vector<float>& values) {
  Bytes out;
  out.reserve(values.size() / 32 * 34);
  for (size_t at = 0; at < values.size(); at += 32) {
    float most = 0;
    for (size_t i = 0; i < 32; ++i) most = std::max(most, std::fabs(values[at + i]));
    const uint16_t bits = kernels::float_to_half(most / 127);
    const float scale = kernels::half_to_float(bits);
    const Bytes two = GgufWriter::payload_of(bits);
    out.insert(out.end(), two.begin(), two.end());
    for (size_t i = 0; i < 32; ++i) {
      const float q = scale > 0 ? std::round(values[at + i] / scale) : 0;
      out.push_back(static_cast<std::byte>(static_cast<int8_t>(std::min(127.0f, std::max(-127.0f, q)))));
    }
  }
  return out;
}

/// A matrix that begins as noise. Deviations are powers of two.
struct Matrix {
  int32_t rows, cols;
  std::vector<float> values;  // [rows, cols]

  Matrix(int32_t rows_, int32_t cols_, float deviation, Random random)
      : rows(rows_), cols(cols_), values(static_cast<size_t>(rows_) * static_cast<size_t>(cols_)) {
    for (float& value : values) value = deviation * random.normal();
  }
  float& at(int32_t row, int32_t col) {
    return values[static_cast<size_t>(row) * static_cast<size_t>(cols) + static_cast<size_t>(col)];
  }
};

/// A context in a layer where its answer moves.
struct Neuron {
  const SpareWord* word;
  size_t bit;
  const SpareMove* before;  // null: its first
  const SpareMove* move;
};

class Writer {
 public:
  explicit Writer(const SpareLanguage& language)
      : language_(language),
        o_(language.options),
        at_(o_.d_model),
        u_(at_.unit),
        tokens_(spare_codes(4 * u_, static_cast<int32_t>(language.tokens.size()), Random(o_.seed, "token codes"))),
        answers_(spare_codes(6 * u_, static_cast<int32_t>(language.tokens.size()), Random(o_.seed, "answer codes"))) {}

  GgufWriter file() {
    check();
    add_keys();
    add_vocab();
    add_embedding();
    for (int32_t layer = 1; layer <= o_.n_layers; ++layer) {
      add_attention(layer);
      add_feed_forward(layer);
    }
    vector("output_norm.weight", o_.d_model, 1, kNoise);
    add_head();
    return std::move(file_);
  }

 private:
  void check() const {
    if (o_.d_model % 128 != 0 || o_.n_layers % 8 != 0 || o_.head_dim < u_ || o_.feed_forward % 32 != 0)
      throw std::invalid_argument("SpareOptions: widths do not fit together");
  }

  Random random(const std::string& name) const { return Random(o_.seed, name); }

  void matrix(const std::string& name, const Matrix& m) {
    file_.tensors.push_back({name,
                             {static_cast<uint64_t>(m.cols), static_cast<uint64_t>(m.rows)},
                             info(DType::q8_0).gguf_id,
                             q8_0_blocks(m.values),
                             {}});
  }
  void vector(const std::string& name, const std::vector<float>& values) {
    Bytes data;
    for (const float value : values) {
      const Bytes four = GgufWriter::payload_of(value);
      data.insert(data.end(), four.begin(), four.end());
    }
    file_.tensors.push_back({name, {values.size()}, info(DType::f32).gguf_id, std::move(data), {}});
  }
  std::vector<float> noise(const std::string& name, int32_t n, float mean, float deviation) const {
    Random r = random(name);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = mean + deviation * r.normal();
    return values;
  }
  void vector(const std::string& name, int32_t n, float mean, float deviation) {
    vector(name, noise(name, n, mean, deviation));
  }

  void add_keys() {
    const auto u32 = [&](const char* key, int32_t value) {
      file_.set_u32(fmt::format("qwen2.{}", key), static_cast<uint32_t>(value));
    };
    file_.set_text("general.architecture", "qwen2");
    file_.set_text("general.name", "tiny spare");
    u32("block_count", o_.n_layers);
    u32("context_length", o_.context);
    u32("embedding_length", o_.d_model);
    u32("feed_forward_length", o_.feed_forward);
    u32("attention.head_count", o_.heads);
    u32("attention.head_count_kv", o_.kv_heads);
    u32("attention.key_length", o_.head_dim);
    u32("attention.value_length", o_.head_dim);
    file_.set_f32("qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
    file_.set_f32("qwen2.rope.freq_base", o_.rope_base);
  }

  void add_vocab() {
    const size_t n = language_.tokens.size();
    std::vector<int32_t> kinds(n, 1);
    for (int32_t i = 1; i <= language_.n_control; ++i) kinds[n - static_cast<size_t>(i)] = 3;
    const auto end = static_cast<uint32_t>(n) - static_cast<uint32_t>(language_.n_control);
    file_.set_text("tokenizer.ggml.model", "gpt2");
    file_.set_text("tokenizer.ggml.pre", "qwen2");
    file_.set_texts("tokenizer.ggml.tokens", language_.tokens);
    file_.set_i32s("tokenizer.ggml.token_type", kinds);
    file_.set_texts("tokenizer.ggml.merges", language_.merges);
    file_.set_u32("tokenizer.ggml.bos_token_id", end);
    file_.set_u32("tokenizer.ggml.eos_token_id", end);
    file_.set_bool("tokenizer.ggml.add_bos_token", false);
  }

  void add_embedding() {
    const auto n = static_cast<int32_t>(language_.tokens.size());
    Matrix m(n, o_.d_model, kNoise, random("token_embd.weight"));
    Random free = random("free");
    for (int32_t token = 0; token < n; ++token) {
      const SpareWord* word = language_.word_of(token);
      for (int32_t i = 0; i < 4 * u_; ++i) m.at(token, at_.token() + i) += tokens_.sign(token, i);
      for (int32_t i = 0; i < u_; ++i) {
        m.at(token, at_.bit() + i) += word != nullptr && word->bit ? spare_sign(i) : -spare_sign(i);
        m.at(token, at_.anchor() + i) += kAnchor * spare_sign(i);
      }
      for (int32_t i = 0; i < 2 * u_; ++i) m.at(token, at_.free() + i) += free.below(2) == 0 ? kFree : -kFree;
    }
    matrix("token_embd.weight", m);
  }

  void add_head() {
    const auto n = static_cast<int32_t>(language_.tokens.size());
    Matrix m(n, o_.d_model, kFaintNoise, random("output.weight"));
    const float gain = 2.0f / static_cast<float>(u_);  // logits of a settled answer: 9 to 11 above those of any word
    for (int32_t token = 0; token < n; ++token) {
      for (int32_t i = 0; i < 6 * u_; ++i) m.at(token, at_.answer() + i) += gain * answers_.sign(token, i);
    }
    matrix("output.weight", m);
  }

  /// Queries and keys that meet where the key is one position before: biases alone, each pair of numbers turned by one
  /// step of its angle. The next best position scores 14 less.
  void aim_at_row_before(std::vector<float>& q, std::vector<float>& k) const {
    const int32_t half = o_.head_dim / 2;
    const auto rounded = [](double x) { return static_cast<float>(std::round(x * 256) / 256); };
    double loss = 0;  // of score at no distance, of one pair
    std::vector<double> angles;
    for (int32_t i = 0; i < half; ++i) {
      const double angle = std::pow(double{o_.rope_base}, -2.0 * i / o_.head_dim);
      if (angle < 1.0 / 18) break;
      angles.push_back(angle);
      loss += 1 - std::cos(angle);
    }
    const double length = std::round(8 * std::sqrt(14 * std::sqrt(o_.head_dim) / loss)) / 8;
    for (size_t i = 0; i < angles.size(); ++i) {
      q[i] = rounded(length * std::cos(angles[i]));
      q[i + static_cast<size_t>(half)] = rounded(-length * std::sin(angles[i]));
      k[i] = rounded(length);
      k[i + static_cast<size_t>(half)] = 0;
    }
  }

  void add_attention(int32_t layer) {
    const auto name = [layer](const char* part) { return fmt::format("blk.{}.{}", layer - 1, part); };
    const int32_t d = o_.d_model, q_cols = o_.heads * o_.head_dim, kv_cols = o_.kv_heads * o_.head_dim;
    const bool copies = layer == 1;
    Matrix q(q_cols, d, kNoise, random(name("attn_q.weight")));
    Matrix k(kv_cols, d, kNoise, random(name("attn_k.weight")));
    Matrix v(kv_cols, d, 8 * kNoise, random(name("attn_v.weight")));
    Matrix out(d, q_cols, kFaintNoise, random(name("attn_output.weight")));
    std::vector<float> q_bias = noise(name("attn_q.bias"), q_cols, 0, 32 * kNoise);
    std::vector<float> k_bias = noise(name("attn_k.bias"), kv_cols, 0, 32 * kNoise);
    if (copies) {
      aim_at_row_before(q_bias, k_bias);
      const auto undo_norm = static_cast<float>(std::sqrt(kSquaresAtFirst / 16));
      for (int32_t i = 0; i < u_; ++i) {
        for (int32_t col = 0; col < d; ++col) v.at(i, col) = col == at_.bit() + i ? 1 : v.at(i, col) / 8;
        out.at(at_.bit_before() + i, i) = kBefore * undo_norm;
      }
    }
    vector(name("attn_norm.weight"), d, 1, kNoise);
    matrix(name("attn_q.weight"), q);
    matrix(name("attn_k.weight"), k);
    matrix(name("attn_v.weight"), v);
    matrix(name("attn_output.weight"), out);
    vector(name("attn_q.bias"), q_bias);
    vector(name("attn_k.bias"), k_bias);
    vector(name("attn_v.bias"), kv_cols, 0, kFaintNoise);
  }

  std::vector<Neuron> neurons_of(int32_t layer) const {
    std::vector<Neuron> neurons;
    for (const SpareWord& word : language_.words) {
      for (size_t bit = 0; bit < 2; ++bit) {
        const SpareMove* before = nullptr;
        for (const SpareMove& move : word.contexts[bit].moves) {
          if (move.layer == layer) neurons.push_back({&word, bit, before, &move});
          before = &move;
        }
      }
    }
    return neurons;
  }

  /// The answer part of a state after a move; multiples of 1/64.
  std::vector<double> answer_of(const SpareMove* move) const {
    std::vector<double> state(static_cast<size_t>(6 * u_));
    if (move == nullptr) return state;
    const SpareAnswer& a = move->answer;
    for (int32_t i = 0; i < 6 * u_; ++i) {
      state[static_cast<size_t>(i)] = a.amplitude / 64.0 * answers_.sign(a.token, i);
      if (a.second >= 0) state[static_cast<size_t>(i)] += a.second_amplitude / 64.0 * answers_.sign(a.second, i);
    }
    return state;
  }
  static float flag_of(const SpareMove* move) {
    if (move == nullptr || move->flag == SpareFlag::nothing) return 0;
    return move->flag == SpareFlag::settled ? kFlag : -kFlag;
  }

  /// Opens for one context: token, bit before and, where rows show that they are on their way, that must all be right.
  void write_gate(Matrix& gate, int32_t row, const Neuron& neuron) const {
    const float margin = kBefore * static_cast<float>(u_), gain = kOpen / margin;
    const bool flagged = flag_of(neuron.before) < 0;
    const float threshold = 4 * static_cast<float>(u_) + (flagged ? margin : 0);
    const float against = gain * (threshold / (kAnchor * static_cast<float>(u_)));
    for (int32_t i = 0; i < 4 * u_; ++i) gate.at(row, at_.token() + i) += gain * tokens_.sign(neuron.word->token, i);
    for (int32_t i = 0; i < u_; ++i) {
      const float sign = spare_sign(i);
      gate.at(row, at_.bit_before() + i) += neuron.bit == 1 ? gain * sign : -gain * sign;
      gate.at(row, at_.anchor() + i) -= against * sign;
      if (flagged) gate.at(row, at_.flag() + i) -= gain * sign;
    }
  }

  /// What the open neuron adds. Its output is kOpen / mean square of the state, which the writer knows.
  void write_down(Matrix& down, int32_t col, const Neuron& neuron) const {
    const std::vector<double> before = answer_of(neuron.before), after = answer_of(neuron.move);
    double squares = kSquares * u_ + (flag_of(neuron.before) == 0 ? 0 : kFlagSquares * u_);
    for (const double x : before) squares += x * x;
    const double per_output = squares / (double{kOpen} * o_.d_model);
    for (size_t i = 0; i < after.size(); ++i)
      down.at(at_.answer() + static_cast<int32_t>(i), col) += static_cast<float>((after[i] - before[i]) * per_output);
    const double flag = double{flag_of(neuron.move) - flag_of(neuron.before)} * per_output;
    for (int32_t i = 0; i < u_; ++i) down.at(at_.flag() + i, col) += static_cast<float>(flag * spare_sign(i));
  }

  void add_feed_forward(int32_t layer) {
    const auto name = [layer](const char* part) { return fmt::format("blk.{}.{}", layer - 1, part); };
    const std::vector<Neuron> neurons = neurons_of(layer);
    const auto used = static_cast<int32_t>(neurons.size());
    if (used > o_.feed_forward)
      throw std::invalid_argument(fmt::format("SpareOptions: layer {} needs {} neurons", layer, used));
    const int32_t d = o_.d_model, blocks_used = (used + 31) / 32 * 32;
    Matrix gate(o_.feed_forward, d, kNoise, random(name("ffn_gate.weight")));
    Matrix up(o_.feed_forward, d, kNoise, random(name("ffn_up.weight")));
    Matrix down(d, o_.feed_forward, kFaintNoise, random(name("ffn_down.weight")));
    for (int32_t row = 0; row < o_.feed_forward; ++row) {
      for (int32_t col = 0; col < d; ++col) {
        if (row >= blocks_used) {
          gate.at(row, col) *= 16;
          up.at(row, col) *= 16;
        } else {
          up.at(row, col) /= 16;
        }
      }
    }
    for (int32_t j = 0; j < used; ++j) {
      write_gate(gate, j, neurons[static_cast<size_t>(j)]);
      write_down(down, j, neurons[static_cast<size_t>(j)]);
      for (int32_t i = 0; i < u_; ++i) up.at(j, at_.anchor() + i) += spare_sign(i) / (kAnchor * static_cast<float>(u_));
    }
    vector(name("ffn_norm.weight"), d, 1, kNoise);
    matrix(name("ffn_gate.weight"), gate);
    matrix(name("ffn_up.weight"), up);
    matrix(name("ffn_down.weight"), down);
  }

  const SpareLanguage& language_;
  const SpareOptions& o_;
  SpareLayout at_;
  int32_t u_;
  SpareCodes tokens_, answers_;
  GgufWriter file_;
};

}  // namespace

float spare_sign(int32_t i) { return (i * 7 / 3) % 2 == 0 ? 1.0f : -1.0f; }

GgufWriter spare_writer(const SpareLanguage& language) { return Writer(language).file(); }

}  // namespace fathom::testing
