// Tensors and keys of tiny models. Next: tests/support/tiny_vocab.cc, their words; tiny_model.cc opens them.
#include <fmt/format.h>

#include <algorithm>

#include "tests/support/tiny_blocks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_vocab.h"

namespace fathom::testing {
namespace {

bool is_k_type(DType type) { return info(type).block_elements == 256; }
bool is_encoder(const TinyOptions& options) { return options.family == "bert"; }

TinyOptions widened(TinyOptions options) {
  if (is_k_type(options.type)) {
    options.d_model = std::max(options.d_model, 256);
    options.feed_forward = std::max(options.feed_forward, 256);
    options.head_dim = std::max(options.head_dim, 256 / options.heads);
  }
  if (is_encoder(options)) {
    options.kv_heads = options.heads;
    options.head_dim = options.d_model / options.heads;
  }
  return options;
}

/// Adds tensors to a writer; each has its own seed, so that leaving one out changes no other.
class Tensors {
 public:
  Tensors(GgufWriter& writer, const TinyOptions& options) : writer_(writer), options_(options) {}

  void matrix(const std::string& name, int32_t rows, int32_t cols, float deviation) {
    Random random(options_.seed, name);
    writer_.tensors.push_back({name,
                               {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)},
                               info(options_.type).gguf_id,
                               random_blocks(options_.type, int64_t{rows} * cols, deviation, random),
                               {}});
  }

  /// f32 numbers around `mean`.
  void vector(const std::string& name, int32_t n, float mean, float deviation) {
    writer_.tensors.push_back(
        {name, {static_cast<uint64_t>(n)}, info(DType::f32).gguf_id, numbers(name, n, mean, deviation), {}});
  }

  /// The same in rows, of whatever type the matrices are.
  void table(const std::string& name, int32_t rows, int32_t cols, float deviation) {
    writer_.tensors.push_back({name,
                               {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)},
                               info(DType::f32).gguf_id,
                               numbers(name, rows * cols, 0.0f, deviation),
                               {}});
  }

  /// Weights around 1 and a bias.
  void layer_norm(const std::string& name, int32_t n) {
    vector(name + ".weight", n, 1.0f, 0.125f);
    vector(name + ".bias", n, 0.0f, 0.125f);
  }

  /// A matrix and its bias.
  void linear(const std::string& name, int32_t rows, int32_t cols, float deviation) {
    matrix(name + ".weight", rows, cols, deviation);
    vector(name + ".bias", rows, 0.0f, 0.25f);
  }

  void raw_vector(const std::string& name, const std::vector<float>& values) {
    Bytes data;
    for (const float value : values) append(data, value);
    writer_.tensors.push_back({name, {values.size()}, info(DType::f32).gguf_id, std::move(data), {}});
  }

 private:
  Bytes numbers(const std::string& name, int32_t n, float mean, float deviation) const {
    Random random(options_.seed, name);
    Bytes data;
    for (int32_t i = 0; i < n; ++i) append(data, mean + deviation * random.normal());
    return data;
  }
  static void append(Bytes& data, float value) {
    const Bytes four = GgufWriter::payload_of(value);
    data.insert(data.end(), four.begin(), four.end());
  }
  GgufWriter& writer_;
  const TinyOptions& options_;
};

// Deviations of about 1 / sqrt(inputs) keep every sublayer's output near the size of its input.
float deviation(int32_t cols) { return cols <= 64 ? 0.125f : cols <= 96 ? 0.1f : 0.0625f; }

void add_keys(GgufWriter& writer, const TinyOptions& o) {
  const auto key = [&](const char* name) { return o.family + "." + name; };
  writer.set_text("general.architecture", o.family);
  writer.set_text("general.name", "tiny " + o.family);
  writer.set_u32(key("block_count"), static_cast<uint32_t>(o.n_layers));
  writer.set_u32(key("context_length"), static_cast<uint32_t>(o.context));
  writer.set_u32(key("embedding_length"), static_cast<uint32_t>(o.d_model));
  writer.set_u32(key("feed_forward_length"), static_cast<uint32_t>(o.feed_forward));
  writer.set_u32(key("attention.head_count"), static_cast<uint32_t>(o.heads));
  if (is_encoder(o)) {
    writer.set_f32(key("attention.layer_norm_epsilon"), 1e-12f);
    writer.set_bool(key("attention.causal"), false);
    writer.set_u32(key("pooling_type"), 1);
    return;
  }
  writer.set_u32(key("attention.head_count_kv"), static_cast<uint32_t>(o.kv_heads));
  writer.set_f32(key("attention.layer_norm_rms_epsilon"), 1e-6f);
  writer.set_u32(key("attention.key_length"), static_cast<uint32_t>(o.head_dim));
  writer.set_u32(key("attention.value_length"), static_cast<uint32_t>(o.head_dim));
  writer.set_f32(key("rope.freq_base"), o.family == "llama" ? 500000.0f : 1000000.0f);
  writer.set_u32(key("rope.dimension_count"), static_cast<uint32_t>(o.head_dim));
  if (o.family == "gemma3") {
    writer.set_u32(key("attention.sliding_window"), static_cast<uint32_t>(o.window));
    if (o.window_pattern != 0)
      writer.set_u32(key("attention.sliding_window_pattern"), static_cast<uint32_t>(o.window_pattern));
  }
}

void add_layer(Tensors& tensors, const TinyOptions& o, int32_t l) {
  const auto name = [l](const char* part) { return fmt::format("blk.{}.{}", l, part); };
  const int32_t d = o.d_model, q = o.heads * o.head_dim, kv = o.kv_heads * o.head_dim;
  tensors.vector(name("attn_norm.weight"), d, 1.0f, 0.125f);
  tensors.matrix(name("attn_q.weight"), q, d, deviation(d));
  tensors.matrix(name("attn_k.weight"), kv, d, deviation(d));
  tensors.matrix(name("attn_v.weight"), kv, d, deviation(d));
  tensors.matrix(name("attn_output.weight"), d, q, deviation(q));
  if (o.family == "qwen2") {
    tensors.vector(name("attn_q.bias"), q, 0.0f, 0.25f);
    tensors.vector(name("attn_k.bias"), kv, 0.0f, 0.25f);
    tensors.vector(name("attn_v.bias"), kv, 0.0f, 0.25f);
  }
  if (o.family == "qwen3" || o.family == "gemma3") {
    tensors.vector(name("attn_q_norm.weight"), o.head_dim, 1.0f, 0.125f);
    tensors.vector(name("attn_k_norm.weight"), o.head_dim, 1.0f, 0.125f);
  }
  tensors.vector(name("ffn_norm.weight"), d, 1.0f, 0.125f);
  tensors.matrix(name("ffn_gate.weight"), o.feed_forward, d, 2 * deviation(d));
  tensors.matrix(name("ffn_up.weight"), o.feed_forward, d, deviation(d));
  tensors.matrix(name("ffn_down.weight"), d, o.feed_forward, deviation(o.feed_forward));
  if (o.family == "gemma3") {
    tensors.vector(name("post_attention_norm.weight"), d, 0.5f, 0.0625f);
    tensors.vector(name("post_ffw_norm.weight"), d, 0.5f, 0.0625f);
  }
}

void add_encoder_layer(Tensors& tensors, const TinyOptions& o, int32_t l) {
  const auto name = [l](const char* part) { return fmt::format("blk.{}.{}", l, part); };
  const int32_t d = o.d_model;
  for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
    tensors.linear(name(part), d, d, deviation(d));
  }
  tensors.layer_norm(name("attn_output_norm"), d);
  tensors.linear(name("ffn_up"), o.feed_forward, d, 2 * deviation(d));
  tensors.linear(name("ffn_down"), d, o.feed_forward, deviation(o.feed_forward));
  tensors.layer_norm(name("layer_output_norm"), d);
}

void add_encoder(Tensors& tensors, const TinyOptions& o) {
  tensors.table("position_embd.weight", o.context, o.d_model, 0.25f);
  tensors.table("token_types.weight", 2, o.d_model, 0.25f);
  tensors.layer_norm("token_embd_norm", o.d_model);
  for (int32_t l = 0; l < o.n_layers; ++l) add_encoder_layer(tensors, o, l);
}

}  // namespace

GgufWriter tiny_writer(const TinyOptions& given) {
  const TinyOptions o = widened(given);
  GgufWriter writer;
  add_keys(writer, o);
  add_vocab(writer, o);
  Tensors tensors(writer, o);
  tensors.matrix("token_embd.weight", o.vocab, o.d_model, o.family == "gemma3" ? 2 * deviation(o.d_model) : 0.25f);
  if (is_encoder(o)) {
    add_encoder(tensors, o);
    return writer;
  }
  tensors.vector("output_norm.weight", o.d_model, 1.0f, 0.125f);
  if (!o.tied_head) tensors.matrix("output.weight", o.vocab, o.d_model, 2 * deviation(o.d_model));
  if (o.rope_factors) {
    std::vector<float> factors(static_cast<size_t>(o.head_dim / 2), 8.0f);
    for (size_t i = 0; i < factors.size() / 2; ++i) factors[i] = 1.0f;
    factors[factors.size() / 2] = 3.5f;
    tensors.raw_vector("rope_freqs.weight", factors);
  }
  for (int32_t l = 0; l < o.n_layers; ++l) add_layer(tensors, o, l);
  return writer;
}

Bytes tiny_gguf(const TinyOptions& options) { return tiny_writer(options).bytes(); }

}  // namespace fathom::testing
