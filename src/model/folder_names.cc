// Names of tensors: Hugging Face's and GGUF's. Next in the flow: folder_tokenizer.cc.
#include <algorithm>
#include <charconv>
#include <iterator>

#include "src/model/folder.h"

namespace fathom {
namespace {

struct NamePair {
  std::string_view theirs, ours;
};

constexpr NamePair kOutside[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

// Behind "model.layers.N.", in front of ".weight" or ".bias".
constexpr NamePair kInLayer[] = {
    {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"}, {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

// The norms around the sublayers: one name means two things.
constexpr NamePair kNormsBefore[] = {{"post_attention_layernorm", "ffn_norm"}};
constexpr NamePair kNormsAround[] = {{"post_attention_layernorm", "post_attention_norm"},
                                     {"pre_feedforward_layernorm", "ffn_norm"},
                                     {"post_feedforward_layernorm", "post_ffw_norm"}};

std::string_view other(std::span<const NamePair> pairs, std::string_view theirs) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const NamePair& p) { return p.theirs == theirs; });
  return found != pairs.end() ? found->ours : std::string_view();
}

}  // namespace

FolderName folder_name(std::string_view family, std::string_view tensor) {
  const bool around = family == "gemma3";  // norms on both sides, and stored less 1
  const bool is_norm = tensor.ends_with("norm.weight");
  if (const std::string_view ours = other(kOutside, tensor); !ours.empty()) {
    return {.name = std::string(ours), .known = true, .add_one = around && is_norm};
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (!tensor.starts_with(kLayers)) return {};
  tensor.remove_prefix(kLayers.size());
  int32_t layer = 0;
  const auto [end, failed] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), layer);
  if (failed != std::errc() || layer < 0 || end == tensor.data() + tensor.size() || *end != '.') return {};
  tensor.remove_prefix(static_cast<size_t>(end - tensor.data()) + 1);
  if (tensor == "self_attn.rotary_emb.inv_freq") return {.known = true};  // follows from the base
  const size_t dot = tensor.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view part = tensor.substr(0, dot), kind = tensor.substr(dot);
  if (kind != ".weight" && kind != ".bias") return {};
  std::string_view ours = other(kInLayer, part);
  if (ours.empty()) ours = around ? other(kNormsAround, part) : other(kNormsBefore, part);
  if (ours.empty()) return {};
  return {.name = "blk." + std::to_string(layer) + "." + std::string(ours) + std::string(kind),
          .known = true,
          .add_one = around && is_norm};
}

}  // namespace fathom
