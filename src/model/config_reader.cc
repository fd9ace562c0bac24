// Keys and family defaults to a ModelConfig. Next in the flow: rope_config.cc (rotation and its scaling), then
// tokenizer_reader.cc.
#include "src/model/config_reader.h"

#include <fmt/format.h>

#include <cmath>

#include "src/model/families.h"
#include "src/model/metadata.h"
#include "src/model/rope_config.h"

namespace fathom {
namespace {

std::string_view name_of(Pairing pairing) { return pairing == Pairing::halves ? "halves" : "adjacent"; }

std::string quoted(const gguf::Value* value) {
  return value != nullptr && value->kind == gguf::Kind::string ? gguf::printable(gguf::StringCursor(*value).next())
                                                               : "";
}

Result<const Family*> read_family(const gguf::File& file) {
  const gguf::Value* value = file.find("general.architecture");
  if (value == nullptr || value->kind != gguf::Kind::string) {
    return Error{ErrorCode::format,
                 "key general.architecture: is missing or not a string: give a language model's GGUF"};
  }
  const Family* family = find_family(gguf::StringCursor(*value).next());
  if (family == nullptr) {
    return Error{ErrorCode::unsupported,
                 fmt::format("key general.architecture: family \"{}\" is not one of {}: take a model of these",
                             quoted(value), known_families())};
  }
  return family;
}

/// Keys that would change the forward pass in ways no LayerSpec can say.
Result<void> refuse_foreign_features(const Metadata& keys, const Family& family) {
  static constexpr std::string_view kMustBeZero[] = {"expert_count",
                                                     "attn_logit_softcapping",
                                                     "final_logit_softcapping",
                                                     "attention.max_alibi_bias",
                                                     "attention.clamp_kqv",
                                                     "logit_scale",
                                                     "residual_scale",
                                                     "embedding_scale",
                                                     "attention.shared_kv_layers"};
  for (const std::string_view name : kMustBeZero) {
    const gguf::Value* value = keys.find(name);
    if (value == nullptr || value->is_array() || !gguf::is_number(value->kind) || gguf::number_at(*value, 0) == 0)
      continue;
    const std::string_view what = name == "expert_count" ? "a mixture of experts" : "a feature Fathom does not compute";
    return Error{ErrorCode::unsupported,
                 fmt::format("key {}: {:g} asks for {}: take a dense model of {}", keys.key(name),
                             gguf::number_at(*value, 0), what, known_families())};
  }
  const gguf::Value* causal = keys.find("attention.causal");
  if (causal != nullptr && causal->kind == gguf::Kind::boolean &&
      (gguf::integer_at(*causal, 0) == 0) != family.encoder) {
    return Error{ErrorCode::unsupported, fmt::format("key {}: {} does not go with family {}: take {}",
                                                     keys.key("attention.causal"), family.encoder, family.name,
                                                     family.encoder ? "an encoder" : "a model that generates text")};
  }
  return {};
}

Result<void> read_sizes(const gguf::File& file, const Family& family, Metadata& keys, ModelConfig& config) {
  FATHOM_TRY(config.n_layers, keys.integer("block_count", 1, kMaxLayers));
  FATHOM_TRY(config.d_model, keys.integer("embedding_length", 2, kMaxWidth));
  FATHOM_TRY(config.context, keys.integer("context_length", 1, kMaxContext));
  const char* const eps = family.encoder ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
  FATHOM_TRY(config.norm_eps, keys.number(eps, 0.0f, 1.0f));
  const gguf::TensorRecord* table = file.tensor("token_embd.weight");
  if (table == nullptr) {
    return Error{ErrorCode::format, "tensor token_embd.weight: is missing: give a language model's GGUF"};
  }
  if (table->tensor.rows > kMaxVocab) {
    return Error{ErrorCode::shape,
                 fmt::format("tensor token_embd.weight: {} rows, at most {} are read: the file is damaged",
                             table->tensor.rows, kMaxVocab)};
  }
  config.vocab = static_cast<int32_t>(table->tensor.rows);
  keys.note("vocab", fmt::to_string(config.vocab), "tensor token_embd.weight");
  if (family.encoder) return {};
  config.tied_head = file.tensor("output.weight") == nullptr;
  keys.note("head", config.tied_head ? "token_embd.weight" : "output.weight",
            config.tied_head ? "no tensor output.weight" : "tensor output.weight");
  return {};
}

Result<int32_t> read_head_dim(Metadata& keys, const ModelConfig& config, const std::vector<int32_t>& heads) {
  const int32_t value_length = keys.find("attention.key_length") == nullptr ? config.d_model / heads[0] : 0;
  if (value_length != 0 && config.d_model % heads[0] != 0) {
    return Error{
        ErrorCode::shape,
        fmt::format("key {}: {} heads do not divide embedding_length {}, and {} is missing: convert "
                    "the model again",
                    keys.key("attention.head_count"), heads[0], config.d_model, keys.key("attention.key_length"))};
  }
  FATHOM_TRY(const int32_t head_dim, keys.integer("attention.key_length", 1, 1 << 14, value_length));
  FATHOM_TRY(const int32_t value_dim, keys.integer("attention.value_length", 1, 1 << 14, head_dim));
  if (head_dim % 2 != 0) {
    return Error{ErrorCode::shape,
                 fmt::format("key {}: head_dim {} is odd, rotation needs pairs: convert the model again",
                             keys.key("attention.key_length"), head_dim)};
  }
  if (value_dim != head_dim) {
    return Error{ErrorCode::unsupported,
                 fmt::format("key {}: {} differs from key_length {}: take a model where they are equal",
                             keys.key("attention.value_length"), value_dim, head_dim)};
  }
  return head_dim;
}

/// Heads, widths and head_dim of every layer.
Result<void> read_shapes(Metadata& keys, ModelConfig& config) {
  const int32_t n = config.n_layers;
  FATHOM_TRY(const std::vector<int32_t> heads, keys.integers("attention.head_count", n, 1, 1 << 14));
  std::vector<int32_t> kv_heads = heads;
  if (keys.find("attention.head_count_kv") != nullptr) {
    FATHOM_TRY(kv_heads, keys.integers("attention.head_count_kv", n, 1, 1 << 14));
  } else {
    keys.note("attention.head_count_kv", fmt::to_string(heads[0]), std::string(kFamilyDefault));
  }
  FATHOM_TRY(const std::vector<int32_t> feed_forward, keys.integers("feed_forward_length", n, 1, kMaxWidth));
  FATHOM_TRY(const int32_t head_dim, read_head_dim(keys, config, heads));
  config.layers.resize(static_cast<size_t>(n));
  for (size_t l = 0; l < config.layers.size(); ++l) {
    if (heads[l] % kv_heads[l] != 0) {
      return Error{ErrorCode::shape,
                   fmt::format("key {}: {} KV heads do not divide {} heads in layer {}: convert the model again",
                               keys.key("attention.head_count_kv"), kv_heads[l], heads[l], l + 1)};
    }
    if (int64_t{heads[l]} * head_dim > kMaxWidth) {
      return Error{ErrorCode::shape,
                   fmt::format("key {}: {} heads of {} in layer {} are wider than {}: the file is damaged",
                               keys.key("attention.head_count"), heads[l], head_dim, l + 1, kMaxWidth)};
    }
    config.layers[l] = {
        .heads = heads[l], .kv_heads = kv_heads[l], .head_dim = head_dim, .feed_forward = feed_forward[l]};
  }
  return {};
}

/// Which layers see a window only: attention.sliding_window_pattern is n (every n-th layer sees all) or a list.
Result<std::vector<int32_t>> read_windows(Metadata& keys, const Family& family, int32_t n_layers) {
  std::vector<int32_t> windows(static_cast<size_t>(n_layers), 0);
  if (!family.windowed) return windows;
  FATHOM_TRY(const int32_t window, keys.integer("attention.sliding_window", 0, kMaxContext, 0));
  if (window == 0) return windows;
  const std::string_view name = "attention.sliding_window_pattern";
  const gguf::Value* pattern = keys.find(name);
  if (pattern != nullptr && pattern->is_array()) {
    if (pattern->count != windows.size() ||
        !(gguf::is_integer(pattern->element) || pattern->element == gguf::Kind::boolean)) {
      return Error{ErrorCode::format,
                   fmt::format("key {}: {} values of {}, expected {} booleans: convert the model again", keys.key(name),
                               pattern->count, gguf::name_of(pattern->element), n_layers)};
    }
    for (size_t l = 0; l < windows.size(); ++l) windows[l] = gguf::integer_at(*pattern, l) != 0 ? window : 0;
    keys.note(std::string(name), "by layer", keys.key(name));
    return windows;
  }
  FATHOM_TRY(const int32_t every, keys.integer(name, 1, kMaxLayers, family.default_window_pattern));
  for (size_t l = 0; l < windows.size(); ++l) {
    windows[l] = (l + 1) % static_cast<size_t>(every) == 0 ? 0 : window;
  }
  return windows;
}

Result<void> read_attention_scale(Metadata& keys, const Family& family, ModelConfig& config) {
  const int32_t head_dim = config.layers[0].head_dim;
  const bool wide = family.wide_scale_layers == config.n_layers;
  const auto width = static_cast<float>(wide ? config.d_model / config.layers[0].heads : head_dim);
  // A scale of 0 in a file means: the family's own.
  const gguf::Value* given = keys.find("attention.scale");
  const bool absent = given != nullptr && gguf::is_number(given->kind) && gguf::number_at(*given, 0) == 0;
  float scale = 1.0f / std::sqrt(width);
  if (absent) {
    keys.note("attention.scale", fmt::format("{:g}", scale), std::string(kFamilyDefault));
  } else {
    FATHOM_TRY(scale, keys.number("attention.scale", 0.0f, 1e6f, scale));
  }
  for (LayerSpec& layer : config.layers) layer.attention_scale = scale;
  return {};
}

Result<Pairing> read_pairing(const Metadata& keys, const Family& family) {
  FATHOM_TRY(const std::string name, keys.text("rope.pairing", name_of(family.pairing)));
  for (const Pairing pairing : {Pairing::halves, Pairing::adjacent}) {
    if (name == name_of(pairing)) return pairing;
  }
  return Error{ErrorCode::unsupported,
               fmt::format("key {}: \"{}\" is not one of halves, adjacent: convert the model again",
                           keys.key("rope.pairing"), gguf::printable(name))};
}

void apply_family(const gguf::File& file, const Family& family, Pairing pairing, Metadata& keys, ModelConfig& config) {
  for (size_t l = 0; l < config.layers.size(); ++l) {
    LayerSpec& layer = config.layers[l];
    layer.gate = family.gate;
    layer.gated = family.gated;
    layer.pairing = pairing;
    layer.qk_norm = family.qk_norm;
    layer.norm_after = family.norm_after;
    layer.qkv_bias = family.qkv_bias || file.tensor(fmt::format("blk.{}.attn_q.bias", l)) != nullptr;
  }
  config.embedding_scale = family.scaled_embedding ? std::sqrt(static_cast<float>(config.d_model)) : 1.0f;
  const auto yes = [](bool b) { return std::string(b ? "yes" : "no"); };
  keys.note("gate", std::string(name_of(family.gate)), std::string(kFamilyDefault));
  keys.note("pairing", std::string(name_of(pairing)),
            pairing == family.pairing ? std::string(kFamilyDefault) : keys.key("rope.pairing"));
  keys.note("qk_norm", yes(family.qk_norm), std::string(kFamilyDefault));
  keys.note("norm_after", yes(family.norm_after), std::string(kFamilyDefault));
  keys.note("qkv_bias", yes(config.layers[0].qkv_bias),
            family.qkv_bias == config.layers[0].qkv_bias ? std::string(kFamilyDefault) : "tensor blk.0.attn_q.bias");
  keys.note("embedding_scale", fmt::format("{:g}", config.embedding_scale), std::string(kFamilyDefault));
}

/// What an encoder has in place of rotation and a head.
Result<void> apply_encoder(Metadata& keys, ModelConfig& config) {
  config.norm = NormKind::layer;
  config.learned_positions = true;
  for (LayerSpec& layer : config.layers) {
    layer.causal = false;
    layer.norm_sum = true;
  }
  enum : int32_t { kNone, kMean, kFirst };  // GGUF's numbers
  FATHOM_TRY(const int32_t pooling, keys.integer("pooling_type", 0, 1 << 10, kMean));
  if (pooling != kMean && pooling != kFirst) {
    return Error{ErrorCode::unsupported,
                 fmt::format("key {}: {} is neither 1 (mean) nor 2 (first token): take a model with one of these",
                             keys.key("pooling_type"), pooling)};
  }
  config.pooling = pooling == kFirst ? Pooling::first : Pooling::mean;
  FATHOM_TRY(const int32_t unit, keys.integer("embedding.unit_length", 0, 1, 1));
  config.unit_length = unit != 0;
  FATHOM_TRY(config.usual_tokens, keys.integer("embedding.usual_tokens", 3, config.context, config.context));
  return {};
}

}  // namespace

Result<ModelConfig> read_config(const gguf::File& file) {
  FATHOM_TRY(const Family* family, read_family(file));
  Metadata keys(file, family->name);
  ModelConfig config;
  config.family = family->name;
  config.name = quoted(file.find("general.name"));
  keys.note("family", config.family, "general.architecture");
  FATHOM_TRY(refuse_foreign_features(keys, *family));
  FATHOM_TRY(read_sizes(file, *family, keys, config));
  FATHOM_TRY(read_shapes(keys, config));
  FATHOM_TRY(const std::vector<int32_t> windows, read_windows(keys, *family, config.n_layers));
  for (size_t l = 0; l < windows.size(); ++l) config.layers[l].window = windows[l];
  if (family->encoder) {
    FATHOM_TRY(apply_encoder(keys, config));
  } else {
    FATHOM_TRY(read_rope(file, *family, keys, config));
  }
  FATHOM_TRY(read_attention_scale(keys, *family, config));
  FATHOM_TRY(const Pairing pairing, read_pairing(keys, *family));
  apply_family(file, *family, pairing, keys, config);
  config.sources = keys.take_sources();
  return config;
}

}  // namespace fathom
