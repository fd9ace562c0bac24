// What families mean: LayerSpec values from keys and defaults. Next: tests/model/model_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "src/model/config_reader.h"
#include "src/model/families.h"
#include "tests/support/refused.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::tiny_writer;
using testing::TinyOptions;

Result<ModelConfig> config_of(const GgufWriter& writer) {
  const Bytes bytes = writer.bytes();
  FATHOM_TRY(const gguf::File file, gguf::read(bytes));
  return read_config(file);
}

const ValueSource& source_of(const ModelConfig& config, std::string_view name) {
  for (const ValueSource& source : config.sources) {
    if (source.name == name) return source;
  }
  throw std::invalid_argument("no source of " + std::string(name));
}

TEST(Config, every_family_reads_its_sizes_from_keys) {
  for (const Family& family : families()) {
    const ModelConfig config = config_of(tiny_writer({.family = std::string(family.name)})).value();
    EXPECT_EQ(config.family, family.name);
    EXPECT_EQ(config.n_layers, 4);
    EXPECT_EQ(config.d_model, 64);
    EXPECT_EQ(config.vocab, 384);
    ASSERT_EQ(config.layers.size(), 4u);
    EXPECT_EQ(config.layers[3].heads, 4);
    EXPECT_EQ(config.layers[3].kv_heads, family.encoder ? 4 : 2);
    EXPECT_EQ(config.layers[3].head_dim, 16);
    EXPECT_EQ(config.layers[3].feed_forward, 96);
    EXPECT_FLOAT_EQ(config.layers[3].attention_scale, 0.25f);
    EXPECT_EQ(source_of(config, "attention.head_count").source, std::string(family.name) + ".attention.head_count");
  }
}

TEST(Config, bert_reads_a_whole_text_and_has_no_head) {
  const ModelConfig config = config_of(tiny_writer({.family = "bert"})).value();
  EXPECT_TRUE(config.encodes());
  EXPECT_EQ(config.norm, NormKind::layer);
  EXPECT_TRUE(config.learned_positions);
  EXPECT_FALSE(config.tied_head);
  for (const LayerSpec& layer : config.layers) {
    EXPECT_TRUE(!layer.causal && layer.norm_sum && layer.qkv_bias && !layer.gated && layer.gate == Gate::gelu);
    EXPECT_EQ(layer.rope_dim, 0);
  }
  EXPECT_EQ(source_of(config, "pooling_type").source, "bert.pooling_type");
  EXPECT_EQ(source_of(config, "embedding.usual_tokens").source, "family default");
  GgufWriter pooled = tiny_writer({.family = "bert"});
  pooled.set_u32("bert.pooling_type", 3);
  testing::expect_refused(config_of(pooled), ErrorCode::unsupported, {"bert.pooling_type", "3", "first token"});
  GgufWriter causal = tiny_writer({.family = "bert"});
  causal.set_bool("bert.attention.causal", true);
  testing::expect_refused(config_of(causal), ErrorCode::unsupported, {"bert.attention.causal", "true", "encoder"});
}

TEST(Config, gemma3_sees_everything_in_every_sixth_layer_only) {
  const ModelConfig config = config_of(tiny_writer({.family = "gemma3", .n_layers = 13, .window = 8})).value();
  for (int32_t l = 0; l < 13; ++l) {
    const LayerSpec& layer = config.layers[static_cast<size_t>(l)];
    const bool global = l == 5 || l == 11;
    EXPECT_EQ(layer.window, global ? 0 : 8) << "layer " << l;
    EXPECT_EQ(layer.rope_base, global ? 1e6f : 1e4f) << "layer " << l;
    EXPECT_TRUE(layer.qk_norm && layer.norm_after && layer.gate == Gate::gelu_tanh && layer.pairing == Pairing::halves);
  }
  EXPECT_EQ(config.embedding_scale, 8.0f);
  EXPECT_EQ(source_of(config, "attention.sliding_window_pattern").source, "family default");
  EXPECT_EQ(source_of(config, "rope.freq_base_swa").source, "family default");
  EXPECT_EQ(source_of(config, "rope.freq_base").source, "gemma3.rope.freq_base");
}

TEST(Config, gemma3_keys_replace_its_defaults) {
  GgufWriter writer = tiny_writer({.family = "gemma3", .window_pattern = 2});
  writer.set_f32("gemma3.rope.freq_base_swa", 5000.0f);
  writer.set_f32("gemma3.rope.scaling.factor", 8.0f);
  writer.set_f32("gemma3.attention.scale", 0.125f);
  const ModelConfig config = config_of(writer).value();
  EXPECT_EQ(config.layers[0].window, 8);
  EXPECT_EQ(config.layers[1].window, 0);
  EXPECT_EQ(config.layers[0].rope_base, 5000.0f);
  EXPECT_EQ(config.layers[0].rope_scale, 1.0f) << "linear scaling belongs to layers that see everything";
  EXPECT_EQ(config.layers[1].rope_scale, 8.0f);
  EXPECT_EQ(config.layers[0].attention_scale, 0.125f);
}

TEST(Config, a_window_pattern_may_be_a_list_of_layers) {
  GgufWriter writer = tiny_writer({.family = "gemma3"});
  writer.set_i32s("gemma3.attention.sliding_window_pattern", {1, 0, 0, 1});
  const ModelConfig config = config_of(writer).value();
  EXPECT_EQ(config.layers[0].window, 8);
  EXPECT_EQ(config.layers[1].window, 0);
  EXPECT_EQ(config.layers[2].window, 0);
  EXPECT_EQ(config.layers[3].window, 8);
}

TEST(Config, only_the_62_layer_gemma_scales_scores_by_its_width) {
  const ModelConfig config = config_of(tiny_writer({.family = "gemma3", .n_layers = 62, .heads = 2})).value();
  EXPECT_FLOAT_EQ(config.layers[0].attention_scale, 1.0f / std::sqrt(32.0f));
}

TEST(Config, llama_rotates_neighbours_and_the_others_halves) {
  for (const Family& family : families()) {
    const ModelConfig config = config_of(tiny_writer({.family = std::string(family.name)})).value();
    EXPECT_EQ(config.layers[0].pairing == Pairing::adjacent, family.name == "llama");
    EXPECT_EQ(config.layers[0].qkv_bias, family.name == "qwen2" || family.name == "bert");
    EXPECT_EQ(config.layers[0].qk_norm, family.name == "qwen3" || family.name == "gemma3");
  }
}

TEST(Config, llama3_factors_come_from_the_tensor_or_from_four_numbers) {
  const ModelConfig tensor = config_of(tiny_writer({.family = "llama", .rope_factors = true})).value();
  EXPECT_EQ(tensor.rope_factors, (std::vector<float>{1, 1, 1, 1, 3.5f, 8, 8, 8}));
  GgufWriter writer = tiny_writer({.family = "llama"});
  writer.set_text("llama.rope.scaling.type", "llama3");
  writer.set_f32("llama.rope.scaling.factor", 32.0f);
  const ModelConfig keys = config_of(writer).value();
  ASSERT_EQ(keys.rope_factors.size(), 8u);
  // Base 500,000, 16 numbers: wavelengths 6.28, 32.4, 167, 861, 4443, 22910, ...; 8192 / 4 = 2048 and 8192 / 1 bound
  // the blend.
  for (int i = 0; i < 4; ++i) EXPECT_EQ(keys.rope_factors[static_cast<size_t>(i)], 1.0f) << i;
  const double wavelength = 2 * 3.14159265358979 * std::pow(500000.0, 8.0 / 16.0), smooth = (8192 / wavelength - 1) / 3;
  EXPECT_NEAR(keys.rope_factors[4], 1.0 / ((1 - smooth) / 32 + smooth), 1e-5);
  for (int i = 5; i < 8; ++i) EXPECT_EQ(keys.rope_factors[static_cast<size_t>(i)], 32.0f) << i;
}

TEST(Config, head_counts_may_differ_by_layer) {
  GgufWriter writer = tiny_writer();
  writer.set_i32s("qwen2.attention.head_count", {4, 2, 4, 2});
  writer.set_i32s("qwen2.attention.head_count_kv", {2, 2, 1, 1});
  const ModelConfig config = config_of(writer).value();
  EXPECT_EQ(config.layers[1].heads, 2);
  EXPECT_EQ(config.layers[2].kv_heads, 1);
}

}  // namespace
}  // namespace fathom
