// Whole models that lie: keys, tensors and tokenizers that do not fit together, each with the words its error must
// hold. Next: tests/model/model_test.cc, models that open.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "src/model/gguf.h"
#include "tests/support/refused.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::tiny_gguf;
using testing::tiny_writer;

struct Case {
  const char* name;
  ErrorCode code;
  std::vector<const char*> words;
  std::function<void(GgufWriter&)> mutate;
  const char* family = "qwen2";
};

void expect_errors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    GgufWriter writer = tiny_writer({.family = c.family});
    c.mutate(writer);
    const Bytes bytes = writer.bytes();
    testing::expect_refused(Model::from_bytes(bytes), c.code, c.words);
  }
}

void set_float(GgufWriter& w, const char* tensor, size_t i, float value) {
  std::memcpy(w.tensor(tensor).data.data() + 4 * i, &value, sizeof(value));
}

TEST(HostileModel, a_family_that_is_not_known_is_named) {
  expect_errors({
      {"no architecture",
       ErrorCode::format,
       {"general.architecture", "missing"},
       [](GgufWriter& w) { w.remove("general.architecture"); }},
      {"architecture as a number",
       ErrorCode::format,
       {"general.architecture"},
       [](GgufWriter& w) { w.set_u32("general.architecture", 3); }},
      {"mamba",
       ErrorCode::unsupported,
       {"\"mamba\"", "gemma3, llama, qwen2, qwen3"},
       [](GgufWriter& w) { w.set_text("general.architecture", "mamba"); }},
      {"a family of line breaks",
       ErrorCode::unsupported,
       {"a\\x0ab"},
       [](GgufWriter& w) { w.set_text("general.architecture", "a\nb"); }},
      {"a mixture of experts",
       ErrorCode::unsupported,
       {"qwen2.expert_count", "8", "mixture of experts", "gemma3"},
       [](GgufWriter& w) { w.set_u32("qwen2.expert_count", 8); }},
      {"an encoder",
       ErrorCode::unsupported,
       {"qwen2.attention.causal", "false", "generates text"},
       [](GgufWriter& w) { w.set_bool("qwen2.attention.causal", false); }},
      {"soft-capped logits",
       ErrorCode::unsupported,
       {"final_logit_softcapping", "30"},
       [](GgufWriter& w) { w.set_f32("qwen2.final_logit_softcapping", 30.0f); }},
  });
}

TEST(HostileModel, a_key_that_is_missing_or_out_of_range_is_named) {
  expect_errors({
      {"no layers key",
       ErrorCode::format,
       {"qwen2.block_count", "missing", "no default"},
       [](GgufWriter& w) { w.remove("qwen2.block_count"); }},
      {"no eps",
       ErrorCode::format,
       {"qwen2.attention.layer_norm_rms_epsilon", "missing"},
       [](GgufWriter& w) { w.remove("qwen2.attention.layer_norm_rms_epsilon"); }},
      {"no layers",
       ErrorCode::format,
       {"qwen2.block_count", "0 is outside 1 to 1024"},
       [](GgufWriter& w) { w.set_u32("qwen2.block_count", 0); }},
      {"1025 layers",
       ErrorCode::format,
       {"qwen2.block_count", "1025"},
       [](GgufWriter& w) { w.set_u32("qwen2.block_count", 1025); }},
      {"layers below nothing",
       ErrorCode::format,
       {"qwen2.block_count", "-1"},
       [](GgufWriter& w) { w.set_i32("qwen2.block_count", -1); }},
      {"layers as text",
       ErrorCode::format,
       {"qwen2.block_count", "string", "integer"},
       [](GgufWriter& w) { w.set_text("qwen2.block_count", "4"); }},
      {"layers as 4.0",
       ErrorCode::format,
       {"qwen2.block_count", "f32"},
       [](GgufWriter& w) { w.set_f32("qwen2.block_count", 4.0f); }},
      {"d of 2^31",
       ErrorCode::format,
       {"qwen2.embedding_length", "2147483648"},
       [](GgufWriter& w) { w.set_u32("qwen2.embedding_length", 1u << 31); }},
      {"context of 2^25",
       ErrorCode::format,
       {"qwen2.context_length", "33554432"},
       [](GgufWriter& w) { w.set_u32("qwen2.context_length", 1u << 25); }},
      {"no heads",
       ErrorCode::format,
       {"qwen2.attention.head_count", "0 is outside"},
       [](GgufWriter& w) { w.set_u32("qwen2.attention.head_count", 0); }},
      {"heads for three layers",
       ErrorCode::format,
       {"qwen2.attention.head_count", "array of 3", "expected 4"},
       [](GgufWriter& w) {
         w.set_i32s("qwen2.attention.head_count", {4, 4, 4});
       }},
      {"4 heads over 3 KV heads",
       ErrorCode::shape,
       {"head_count_kv", "3 KV heads do not divide 4"},
       [](GgufWriter& w) { w.set_u32("qwen2.attention.head_count_kv", 3); }},
      {"odd head_dim",
       ErrorCode::shape,
       {"qwen2.attention.key_length", "15 is odd"},
       [](GgufWriter& w) {
         w.set_u32("qwen2.attention.key_length", 15);
         w.set_u32("qwen2.attention.value_length", 15);
         w.set_u32("qwen2.rope.dimension_count", 14);
       }},
      {"values of another width",
       ErrorCode::unsupported,
       {"value_length", "32 differs"},
       [](GgufWriter& w) { w.set_u32("qwen2.attention.value_length", 32); }},
      {"eps of 0",
       ErrorCode::format,
       {"layer_norm_rms_epsilon", "0 is not above 0"},
       [](GgufWriter& w) { w.set_f32("qwen2.attention.layer_norm_rms_epsilon", 0.0f); }},
      {"eps not a number",
       ErrorCode::format,
       {"layer_norm_rms_epsilon", "nan"},
       [](GgufWriter& w) { w.set_f32("qwen2.attention.layer_norm_rms_epsilon", std::nanf("")); }},
      {"an infinite rope base",
       ErrorCode::format,
       {"rope.freq_base", "inf"},
       [](GgufWriter& w) { w.set_f32("qwen2.rope.freq_base", std::numeric_limits<float>::infinity()); }},
      {"rope wider than a head",
       ErrorCode::format,
       {"rope.dimension_count", "32 is outside 2 to 16"},
       [](GgufWriter& w) { w.set_u32("qwen2.rope.dimension_count", 32); }},
      {"odd rope",
       ErrorCode::shape,
       {"rope.dimension_count", "7 is odd"},
       [](GgufWriter& w) { w.set_u32("qwen2.rope.dimension_count", 7); }},
      {"yarn",
       ErrorCode::unsupported,
       {"qwen2.rope.scaling.type", "\"yarn\"", "linear"},
       [](GgufWriter& w) { w.set_text("qwen2.rope.scaling.type", "yarn"); }},
      {"a pattern for two layers",
       ErrorCode::format,
       {"sliding_window_pattern", "2 values", "4 booleans"},
       [](GgufWriter& w) {
         w.set_i32s("gemma3.attention.sliding_window_pattern", {1, 0});
       },
       "gemma3"},
      {"a window below nothing",
       ErrorCode::format,
       {"gemma3.attention.sliding_window", "-8"},
       [](GgufWriter& w) { w.set_i32("gemma3.attention.sliding_window", -8); },
       "gemma3"},
  });
}

TEST(HostileModel, a_tensor_that_does_not_fit_the_family_is_named) {
  expect_errors({
      {"no token table",
       ErrorCode::format,
       {"token_embd.weight", "missing"},
       [](GgufWriter& w) { w.remove("token_embd.weight"); }},
      {"no final norm",
       ErrorCode::format,
       {"output_norm.weight", "missing"},
       [](GgufWriter& w) { w.remove("output_norm.weight"); }},
      {"no matrix of layer 4",
       ErrorCode::format,
       {"blk.3.ffn_up.weight", "missing"},
       [](GgufWriter& w) { w.remove("blk.3.ffn_up.weight"); }},
      {"no bias",
       ErrorCode::format,
       {"blk.2.attn_k.bias", "missing"},
       [](GgufWriter& w) { w.remove("blk.2.attn_k.bias"); }},
      {"no qk-norm",
       ErrorCode::format,
       {"blk.0.attn_q_norm.weight", "missing"},
       [](GgufWriter& w) { w.remove("blk.0.attn_q_norm.weight"); },
       "qwen3"},
      {"no norm after",
       ErrorCode::format,
       {"blk.1.post_ffw_norm.weight", "missing"},
       [](GgufWriter& w) { w.remove("blk.1.post_ffw_norm.weight"); },
       "gemma3"},
      {"a matrix lying down",
       ErrorCode::shape,
       {"blk.0.ffn_up.weight", "found 96 x 64", "expected 64 x 96"},
       [](GgufWriter& w) {
         w.tensor("blk.0.ffn_up.weight").dims = {96, 64};
       }},
      {"a matrix of three dimensions",
       ErrorCode::shape,
       {"blk.0.ffn_up.weight", "found 64 x 48 x 2"},
       [](GgufWriter& w) {
         w.tensor("blk.0.ffn_up.weight").dims = {64, 48, 2};
       }},
      {"a short norm",
       ErrorCode::shape,
       {"blk.0.attn_norm.weight", "found 32", "expected 64"},
       [](GgufWriter& w) { w.tensor("blk.0.attn_norm.weight").dims = {32}; }},
      {"a wide token table",
       ErrorCode::shape,
       {"token_embd.weight", "found 128", "expected 64"},
       [](GgufWriter& w) {
         w.set_text("tokenizer.ggml.model", "no_vocab");
         w.tensor("token_embd.weight").dims = {128, 192};
       }},
      {"a short head",
       ErrorCode::shape,
       {"output.weight", "64 x 383", "64 x 384"},
       [](GgufWriter& w) {
         w.tensor("output.weight").dims = {64, 383};
       }},
      {"more layers than tensors",
       ErrorCode::format,
       {"blk.4.attn_norm.weight", "missing"},
       [](GgufWriter& w) { w.set_u32("qwen2.block_count", 5); }},
      {"fewer layers than tensors",
       ErrorCode::unsupported,
       {"blk.3.", "not part of"},
       [](GgufWriter& w) { w.set_u32("qwen2.block_count", 3); }},
      {"a tensor nobody reads",
       ErrorCode::unsupported,
       {"blk.0.attn_sinks.weight", "not part of"},
       [](GgufWriter& w) {
         auto extra = w.tensor("output_norm.weight");
         extra.name = "blk.0.attn_sinks.weight";
         w.tensors.push_back(extra);
       }},
      {"a norm in blocks",
       ErrorCode::unsupported,
       {"output_norm.weight", "Q8_0", "F32"},
       [](GgufWriter& w) { w.tensor("output_norm.weight").type = 8; }},
      {"a norm with a NaN",
       ErrorCode::format,
       {"blk.1.ffn_norm.weight", "element 7", "nan"},
       [](GgufWriter& w) { set_float(w, "blk.1.ffn_norm.weight", 7, std::nanf("")); }},
      {"a bias with an infinity",
       ErrorCode::format,
       {"blk.0.attn_v.bias", "element 0", "inf"},
       [](GgufWriter& w) { set_float(w, "blk.0.attn_v.bias", 0, std::numeric_limits<float>::infinity()); }},
      {"a rope factor of 0",
       ErrorCode::format,
       {"rope_freqs.weight", "element 2", "positive"},
       [](GgufWriter& w) {
         auto extra = w.tensor("output_norm.weight");
         extra.name = "rope_freqs.weight";
         extra.dims = {8};
         extra.data.resize(32);
         w.tensors.push_back(extra);
         set_float(w, "rope_freqs.weight", 2, 0.0f);
       }},
      {"too many rope factors",
       ErrorCode::shape,
       {"rope_freqs.weight", "64", "expected 8"},
       [](GgufWriter& w) {
         auto extra = w.tensor("output_norm.weight");
         extra.name = "rope_freqs.weight";
         w.tensors.push_back(extra);
       }},
  });
}

TEST(HostileModel, a_tokenizer_that_does_not_fit_is_named) {
  expect_errors({
      {"no tokenizer",
       ErrorCode::format,
       {"tokenizer.ggml.model", "missing"},
       [](GgufWriter& w) { w.remove("tokenizer.ggml.model"); }},
      {"an unknown tokenizer",
       ErrorCode::unsupported,
       {"rwkv"},
       [](GgufWriter& w) { w.set_text("tokenizer.ggml.model", "rwkv"); }},
      {"an unknown pre-tokenizer",
       ErrorCode::unsupported,
       {"klingon"},
       [](GgufWriter& w) { w.set_text("tokenizer.ggml.pre", "klingon"); }},
      {"no tokens",
       ErrorCode::format,
       {"tokenizer.ggml.tokens", "0 entries", "384 rows"},
       [](GgufWriter& w) { w.remove("tokenizer.ggml.tokens"); }},
      {"two tokens",
       ErrorCode::format,
       {"tokenizer.ggml.tokens", "2 entries", "384 rows"},
       [](GgufWriter& w) {
         w.set_texts("tokenizer.ggml.tokens", {"a", "b"});
       }},
      {"tokens as numbers",
       ErrorCode::format,
       {"tokenizer.ggml.tokens", "i32", "array of strings"},
       [](GgufWriter& w) { w.set_i32s("tokenizer.ggml.tokens", std::vector<int32_t>(384)); }},
      {"one score",
       ErrorCode::format,
       {"tokenizer.ggml.scores", "1 entries", "384 rows"},
       [](GgufWriter& w) { w.set_f32s("tokenizer.ggml.scores", {1.0f}); },
       "gemma3"},
      {"a kind of 9",
       ErrorCode::format,
       {"tokenizer.ggml.token_type", "kind 9", "1 to 6"},
       [](GgufWriter& w) { w.set_i32s("tokenizer.ggml.token_type", std::vector<int32_t>(384, 9)); }},
      {"an end token past the vocabulary",
       ErrorCode::format,
       {"384"},
       [](GgufWriter& w) { w.set_u32("tokenizer.ggml.eos_token_id", 384); }},
      {"a merge of unknown tokens",
       ErrorCode::format,
       {"merge"},
       [](GgufWriter& w) { w.set_texts("tokenizer.ggml.merges", {"zq qz"}); }},
  });
}

TEST(HostileModel, options_that_cannot_be_are_named) {
  const Bytes bytes = tiny_gguf();
  OpenOptions options;
  options.target = "cpu/abacus";
  const Result<Model> target = Model::from_bytes(bytes, options);
  ASSERT_FALSE(target);
  EXPECT_NE(target.error().message.find("\"cpu/abacus\""), std::string::npos);
  EXPECT_NE(target.error().message.find("ref"), std::string::npos) << "the message lists what there is";
  EXPECT_EQ(Model::from_bytes(bytes, {.threads = 0}).error().code, ErrorCode::argument);
  EXPECT_EQ(Model::from_bytes(bytes, {.threads = 1 << 20}).error().code, ErrorCode::argument);
  EXPECT_FALSE(Model::from_bytes({}));
  EXPECT_EQ(Model::from_bytes(std::span(bytes).subspan(1)).error().code, ErrorCode::argument);
}

TEST(HostileModel, a_path_that_is_no_file_is_named) {
  for (const char* path : {"/nonexistent/model.gguf", "/", "/dev/null", "/dev/zero"}) {
    const Result<Model> model = Model::open(path);
    ASSERT_FALSE(model) << path;
    EXPECT_EQ(model.error().code, ErrorCode::file);
    EXPECT_NE(model.error().message.find(path), std::string::npos) << model.error().message;
  }
}

RC_GTEST_PROP(HostileModel, damaged_files_give_a_model_or_one_line, ()) {
  static const Bytes whole = tiny_gguf({.n_layers = 1, .vocab = 320, .window = 4});
  Bytes bytes = whole;
  const int n = *rc::gen::inRange(1, 6);
  for (int i = 0; i < n; ++i) {
    // Most of the lies are told in the metadata, the first 7 KB.
    const auto at = *rc::gen::inRange<size_t>(0, std::min<size_t>(bytes.size(), 8000));
    bytes[at] = static_cast<std::byte>(*rc::gen::inRange(0, 256));
  }
  if (*rc::gen::inRange(0, 4) == 0) bytes.resize(*rc::gen::inRange<size_t>(0, bytes.size()));
  const Result<Model> model = Model::from_bytes(bytes);
  if (!model) RC_ASSERT(model.error().message.find('\n') == std::string::npos);
}

}  // namespace
}  // namespace fathom
