// describe_json: a model as data for `fathom info`. Next in the flow: src/cli/.
#include "fathom/model/describe.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "src/model/config_reader.h"

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;

/// "1-5,7" of layers counted from 1.
std::string ranges(const std::vector<int32_t>& layers) {
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t end = i + 1;
    while (end < layers.size() && layers[end] == layers[end - 1] + 1) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", layers[i] + 1);
    if (end - i > 1) text += fmt::format("-{}", layers[end - 1] + 1);
    i = end;
  }
  return text;
}

Json spec_json(const LayerSpec& spec) {
  return {{"heads", spec.heads},
          {"kv_heads", spec.kv_heads},
          {"head_dim", spec.head_dim},
          {"feed_forward", spec.feed_forward},
          {"gate", name_of(spec.gate)},
          {"gated", spec.gated},
          {"pairing", spec.pairing == Pairing::halves ? "halves" : "adjacent"},
          {"rope_dim", spec.rope_dim},
          {"rope_base", spec.rope_base},
          {"rope_scale", spec.rope_scale},
          {"causal", spec.causal},
          {"window", spec.window},
          {"attention_scale", spec.attention_scale},
          {"qk_norm", spec.qk_norm},
          {"qkv_bias", spec.qkv_bias},
          {"norm_after", spec.norm_after},
          {"norm_sum", spec.norm_sum}};
}

/// Null for a model that predicts tokens.
Json encoder_json(const ModelConfig& config) {
  if (!config.encodes()) return nullptr;
  return {{"pooling", config.pooling == Pooling::mean ? "mean" : "first"},
          {"unit_length", config.unit_length},
          {"usual_tokens", config.usual_tokens}};
}

Json layers_json(const ModelConfig& config) {
  Json groups = Json::array();
  std::vector<bool> done(config.layers.size(), false);
  for (size_t l = 0; l < config.layers.size(); ++l) {
    if (done[l]) continue;
    std::vector<int32_t> equal;
    for (size_t m = l; m < config.layers.size(); ++m) {
      if (done[m] || !(config.layers[m] == config.layers[l])) continue;
      done[m] = true;
      equal.push_back(static_cast<int32_t>(m));
    }
    Json group = {{"layers", ranges(equal)}};
    group.update(spec_json(config.layers[l]));
    groups.push_back(std::move(group));
  }
  return groups;
}

Json memory_json(const Model& model) {
  const Weights& weights = model.weights();
  // A row keeps one key and one value in each layer; a layer with a window still keeps all of them.
  int64_t numbers = 0;
  for (const LayerSpec& spec : model.config().layers) numbers += int64_t{2} * spec.kv_heads * spec.head_dim;
  const int64_t context = model.config().context;
  return {{"packed_bytes", weights.packed.size()},
          {"vector_bytes", weights.vectors.size()},
          {"embedding_bytes", weights.embedding.bytes()},
          {"kv_bytes_per_token", {{"f16", 2 * numbers}, {"f32", 4 * numbers}}},
          {"kv_bytes_at_context", {{"f16", 2 * numbers * context}, {"f32", 4 * numbers * context}}}};
}

/// A kernel, the type it multiplies by and, where it rounds them, the bits of activations: "cpu/avx2/q8_0/12".
std::string label(const Linear& linear) {
  std::string text = fmt::format("{}/{}", linear.kernel->name, info(linear.matrix.type).name);
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
  const Activation form = linear.kernel->activation;
  switch (form) {
    case Activation::f32:
      return text;
    case Activation::q8:
      return text + "/8";
    case Activation::q12:
      return text + "/12";
    case Activation::bf16:
      return text + "/16";
  }
  return text;
}

/// The matrices of one place in all layers, by the kernels that serve them.
void add_linear(Json& kernels, const char* operation, const Weights& weights, Linear LayerWeights::*place) {
  std::map<std::string, std::vector<int32_t>> by_kernel;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    by_kernel[label(weights.layers[l].*place)].push_back(static_cast<int32_t>(l));
  }
  for (const auto& [name, layers] : by_kernel) {
    kernels.push_back({{"operation", operation}, {"kernel", name}, {"layers", ranges(layers)}});
  }
}

template <class Entry>
void add_entry(Json& kernels, const char* operation, const Model& model, Entry KernelTable::*entry) {
  for (const KernelTable* table : model.tables()) {
    if ((table->*entry).name == nullptr) continue;
    kernels.push_back({{"operation", operation}, {"kernel", (table->*entry).name}});
    return;
  }
  kernels.push_back({{"operation", operation}, {"kernel", nullptr}});
}

Json kernels_json(const Model& model) {
  Json kernels = Json::array();
  const Weights& weights = model.weights();
  add_linear(kernels, "attn_q", weights, &LayerWeights::q);
  add_linear(kernels, "attn_k", weights, &LayerWeights::k);
  add_linear(kernels, "attn_v", weights, &LayerWeights::v);
  add_linear(kernels, "attn_output", weights, &LayerWeights::o);
  if (model.config().layers[0].gated) add_linear(kernels, "ffn_gate", weights, &LayerWeights::gate);
  add_linear(kernels, "ffn_up", weights, &LayerWeights::up);
  add_linear(kernels, "ffn_down", weights, &LayerWeights::down);
  if (!weights.head.empty()) kernels.push_back({{"operation", "head"}, {"kernel", label(weights.head)}});
  add_entry(kernels, "embed", model, &KernelTable::embed);
  add_entry(kernels, "norm", model, &KernelTable::norm);
  add_entry(kernels, "quantize", model, &KernelTable::quantize);
  add_entry(kernels, "round", model, &KernelTable::round);
  add_entry(kernels, "gated", model, &KernelTable::gated);
  add_entry(kernels, "add", model, &KernelTable::add);
  add_entry(kernels, "rope", model, &KernelTable::rope);
  add_entry(kernels, "similarity", model, &KernelTable::similarity);
  add_entry(kernels, "logit_stats", model, &KernelTable::logit_stats);
  add_entry(kernels, "kv_write", model, &KernelTable::kv_write);
  add_entry(kernels, "attention", model, &KernelTable::attention);
  return kernels;
}

Json tensors_json(const Model& model, Json& types, int64_t& parameters) {
  Json tensors = Json::array();
  std::map<std::string, std::pair<int64_t, int64_t>> by_type;  // tensors, bytes
  for (const Tensor& tensor : model.tensors()) {
    const std::string type(info(tensor.type).name);
    tensors.push_back({{"name", tensor.name},
                       {"type", type},
                       {"rows", tensor.rows},
                       {"cols", tensor.cols},
                       {"bytes", tensor.bytes()}});
    by_type[type].first += 1;
    by_type[type].second += static_cast<int64_t>(tensor.bytes());
    parameters += tensor.rows * tensor.cols;
  }
  types = Json::object();
  for (const auto& [type, sum] : by_type) types[type] = {{"tensors", sum.first}, {"bytes", sum.second}};
  return tensors;
}

Json sources_json(const ModelConfig& config) {
  Json sources = Json::array();
  for (const ValueSource& s : config.sources)
    sources.push_back({{"name", s.name}, {"value", s.value}, {"source", s.source}});
  return sources;
}

Json tokenizer_json(const Tokenizer& tokenizer) {
  const TokenizerTables& tables = tokenizer.tables();
  return {{"model", tables.model},
          {"pre", tables.pre},
          {"vocab", tokenizer.vocab()},
          {"bos", tokenizer.bos()},
          {"eos", tokenizer.eos()},
          {"adds_bos", tokenizer.adds_bos()},
          {"chat_template", !tables.chat_template.empty()}};
}

}  // namespace

std::string describe_json(const Model& model) {
  const ModelConfig& config = model.config();
  Json types;
  int64_t parameters = 0;
  const Json tensors = tensors_json(model, types, parameters);
  const Json json = {
      {"family", config.family},
      {"name", config.name},
      {"parameters", parameters},
      {"n_layers", config.n_layers},
      {"d_model", config.d_model},
      {"vocab", config.vocab},
      {"context", config.context},
      {"norm_eps", config.norm_eps},
      {"embedding_scale", config.embedding_scale},
      {"tied_head", config.tied_head},
      {"encoder", encoder_json(config)},
      {"rope_factors", config.rope_factors},
      {"file_bytes", model.file_bytes()},
      {"layers", layers_json(config)},
      {"sources", sources_json(config)},
      {"memory", memory_json(model)},
      {"kernels", kernels_json(model)},
      {"tokenizer", tokenizer_json(model.tokenizer())},
      {"fingerprint",
       {{"model", fmt::format("{:016x}", model.fingerprint().model)},
        {"tokenizer", fmt::format("{:016x}", model.fingerprint().tokenizer)},
        {"numeric_path", model.fingerprint().numeric_path}}},
      {"limits", {{"layers", kMaxLayers}, {"width", kMaxWidth}, {"context", kMaxContext}, {"vocab", kMaxVocab}}},
      {"types", types},
      {"tensors", tensors},
  };
  // Names may hold bytes that are not UTF-8: they are replaced, never thrown at.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace fathom
