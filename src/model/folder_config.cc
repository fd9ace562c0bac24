// config.json as the keys that a GGUF file of the same model has. Next in the flow: folder_names.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "src/model/folder.h"

namespace fathom {
namespace {

constexpr double kMost = 1e12;
constexpr int64_t kMostWhole = int64_t{1} << 40;  // what is too much for a model is the config reader's to say
constexpr size_t kMostLayers = 1024;

struct Architecture {
  std::string_view theirs, family, activation;
};

constexpr Architecture kArchitectures[] = {
    {"BertModel", "bert", "gelu"},         {"Gemma3ForCausalLM", "gemma3", "gelu_pytorch_tanh"},
    {"LlamaForCausalLM", "llama", "silu"}, {"MistralForCausalLM", "llama", "silu"},
    {"Qwen2ForCausalLM", "qwen2", "silu"}, {"Qwen3ForCausalLM", "qwen3", "silu"},
};

struct Copied {
  const char* field;
  std::string_view key;
};

constexpr Copied kNeeded[] = {{"num_hidden_layers", "block_count"},
                              {"hidden_size", "embedding_length"},
                              {"intermediate_size", "feed_forward_length"},
                              {"num_attention_heads", "attention.head_count"},
                              {"max_position_embeddings", "context_length"}};
constexpr Copied kMayBeThere[] = {{"num_key_value_heads", "attention.head_count_kv"},
                                  {"head_dim", "attention.key_length"},
                                  {"head_dim", "attention.value_length"}};
// What no LayerSpec can say.
constexpr const char* kForeign[] = {"attn_logit_softcapping", "final_logit_softcapping", "num_experts",
                                    "num_local_experts", "quantization_config"};

const Architecture* find_architecture(const JsonField& config) {
  std::string name;
  config["architectures"].each(16, [&](const JsonField& one) {
    if (name.empty()) name = one.text();
  });
  const auto found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                  [&](const Architecture& a) { return a.theirs == name; });
  if (found != std::end(kArchitectures)) return &*found;
  std::string known;
  for (const Architecture& a : kArchitectures) known += fmt::format("{}{}", known.empty() ? "" : ", ", a.theirs);
  config["architectures"].fault(
      name.empty() ? ErrorCode::format : ErrorCode::unsupported,
      fmt::format("\"{}\" is not one of {}: take a model of these", gguf::printable(name), known));
  return nullptr;
}

// A frequency base or a scaling, which newer files keep together and by kind of layer.
void read_rotation(const JsonField& config, bool windowed, FolderTables& tables) {
  JsonField all = config["rope_parameters"] ? config["rope_parameters"] : config["rope_scaling"];
  JsonField local = config["rope_local_base_freq"];
  const char* local_field = "rope_local_base_freq";
  if (windowed && all["full_attention"]) {
    local = all["sliding_attention"]["rope_theta"];
    local_field = "rope_parameters.sliding_attention.rope_theta";
    all = all["full_attention"];
  }
  const JsonField theta = all["rope_theta"] ? all["rope_theta"] : config["rope_theta"];
  if (theta) tables.number("rope.freq_base", theta.number(0, kMost), "rope_theta");
  if (windowed && local) tables.number("rope.freq_base_swa", local.number(0, kMost), local_field);
  if (const JsonField share = config["partial_rotary_factor"]; share && share.number(0, 1) != 1) {
    share.fault(ErrorCode::unsupported, "heads are rotated in part: take a model without it");
  }
  const JsonField type = all["rope_type"] ? all["rope_type"] : all["type"];
  const std::string name = type.text_or("default");
  if (name == "default") return;
  tables.text("rope.scaling.type", name, "rope_scaling");
  for (const auto& [field, key] : {Copied{"factor", "rope.scaling.factor"},
                                   {"low_freq_factor", "rope.scaling.low_freq_factor"},
                                   {"high_freq_factor", "rope.scaling.high_freq_factor"},
                                   {"original_max_position_embeddings", "rope.scaling.original_context_length"}}) {
    if (all[field]) tables.number(key, all[field].number(0, kMost), fmt::format("rope_scaling.{}", field));
  }
}

// Which layers see a window only.
void read_windows(const JsonField& config, bool windowed, FolderTables& tables) {
  const JsonField window = config["sliding_window"];
  const bool off = config["use_sliding_window"].given() && !config["use_sliding_window"].flag();
  if (!window || off) return;
  if (!windowed) {
    const int64_t cells = window.whole(0, kMostWhole);
    if (cells < config["max_position_embeddings"].whole(1, kMostWhole)) {
      window.fault(ErrorCode::unsupported,
                   fmt::format("every layer sees {} cells only: take a model without it", cells));
    }
    return;
  }
  tables.integer("attention.sliding_window", window.whole(0, kMostWhole), "sliding_window");
  if (config["layer_types"]) {
    std::vector<bool> windows;
    config["layer_types"].each(kMostLayers, [&](const JsonField& type) {
      const std::string name = type.text();
      if (name != "sliding_attention" && name != "full_attention") {
        type.fault(ErrorCode::unsupported,
                   fmt::format("{}: give sliding_attention or full_attention", gguf::printable(name)));
      }
      windows.push_back(name == "sliding_attention");
    });
    tables.booleans("attention.sliding_window_pattern", windows, "layer_types");
    return;
  }
  const char* const field = config["sliding_window_pattern"] ? "sliding_window_pattern" : "_sliding_window_pattern";
  if (config[field]) {
    tables.integer("attention.sliding_window_pattern", config[field].whole(1, kMostLayers), field);
  }
}

void read_encoder(const JsonField& config, FolderTables& tables) {
  const JsonField epsilon = config["layer_norm_eps"];
  tables.number("attention.layer_norm_epsilon", epsilon ? epsilon.number(0, 1) : 1e-12, "layer_norm_eps");
  const JsonField positions = config["position_embedding_type"];
  if (const std::string type = positions.text_or("absolute"); type != "absolute") {
    positions.fault(
        ErrorCode::unsupported,
        fmt::format("{}: positions are not those of a table: take a model without it", gguf::printable(type)));
  }
  if (config["is_decoder"].given() && config["is_decoder"].flag()) {
    config["is_decoder"].fault(ErrorCode::unsupported, "BERT as a decoder: take an encoder");
  }
}

}  // namespace

void read_folder_config(const JsonField& config, FolderTables& tables) {
  const Architecture* const architecture = find_architecture(config);
  if (architecture == nullptr) return;
  const bool windowed = architecture->family == "gemma3";
  tables.family(architecture->family);
  for (const char* field : kForeign) {
    if (config[field]) config[field].fault(ErrorCode::unsupported, "take a model without it");
  }
  const char* const activation = config["hidden_activation"] ? "hidden_activation" : "hidden_act";
  if (const std::string name = config[activation].text_or(architecture->activation); name != architecture->activation) {
    config[activation].fault(ErrorCode::unsupported, fmt::format("{}, but the family's is {}: take a model with it",
                                                                 gguf::printable(name), architecture->activation));
  }
  for (const Copied& c : kNeeded) tables.integer(c.key, config[c.field].whole(0, kMostWhole), c.field);
  for (const Copied& c : kMayBeThere) {
    if (config[c.field]) tables.integer(c.key, config[c.field].whole(0, kMostWhole), c.field);
  }
  if (architecture->family == "bert") return read_encoder(config, tables);
  const JsonField epsilon = config["rms_norm_eps"];
  tables.number("attention.layer_norm_rms_epsilon", epsilon ? epsilon.number(0, 1) : 1e-6, "rms_norm_eps");
  if (const JsonField scale = config["query_pre_attn_scalar"]) {
    tables.number("attention.scale", 1 / std::sqrt(std::max(scale.number(0, kMost), 1e-12)), "query_pre_attn_scalar");
  }
  // GGUF's converters turn Llama's heads so that pairs are neighbours; here they are as they were trained.
  tables.text("rope.pairing", "halves", "architectures");
  read_rotation(config, windowed, tables);
  read_windows(config, windowed, tables);
}

}  // namespace fathom
