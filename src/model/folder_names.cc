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

// Behind "encoder.layer.N.", in front of ".weight" or ".bias".
constexpr NamePair kInEncoderLayer[] = {{"attention.self.query", "attn_q"},
                                        {"attention.self.key", "attn_k"},
                                        {"attention.self.value", "attn_v"},
                                        {"attention.output.dense", "attn_output"},
                                        {"attention.output.LayerNorm", "attn_output_norm"},
                                        {"intermediate.dense", "ffn_up"},
                                        {"output.dense", "ffn_down"},
                                        {"output.LayerNorm", "layer_output_norm"}};
constexpr NamePair kOutsideEncoder[] = {{"embeddings.word_embeddings.weight", "token_embd.weight"},
                                        {"embeddings.position_embeddings.weight", "position_embd.weight"},
                                        {"embeddings.token_type_embeddings.weight", "token_types.weight"},
                                        {"embeddings.LayerNorm.weight", "token_embd_norm.weight"},
                                        {"embeddings.LayerNorm.bias", "token_embd_norm.bias"}};

std::string_view other(std::span<const NamePair> pairs, std::string_view theirs) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const NamePair& p) { return p.theirs == theirs; });
  return found != pairs.end() ? found->ours : std::string_view();
}

}  // namespace

FolderName folder_name(std::string_view family, std::string_view tensor) {
  const bool around = family == "gemma3";  // norms on both sides, and stored less 1
  const bool encoder = family == "bert";
  const bool is_norm = tensor.ends_with("norm.weight");
  if (encoder && tensor.starts_with("bert.")) tensor.remove_prefix(5);  // as a part of a larger model
  if (const std::string_view ours = encoder ? other(kOutsideEncoder, tensor) : other(kOutside, tensor); !ours.empty()) {
    return {.name = std::string(ours), .known = true, .add_one = around && is_norm};
  }
  // The first token's answer to a question of training, and ids that count from 0.
  if (encoder && (tensor.starts_with("pooler.") || tensor == "embeddings.position_ids")) return {.known = true};
  const std::string_view kLayers = encoder ? "encoder.layer." : "model.layers.";
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
  std::string_view ours = encoder ? other(kInEncoderLayer, part) : other(kInLayer, part);
  if (ours.empty()) ours = around ? other(kNormsAround, part) : other(kNormsBefore, part);
  if (ours.empty()) return {};
  return {.name = "blk." + std::to_string(layer) + "." + std::string(ours) + std::string(kind),
          .known = true,
          .add_one = around && is_norm};
}

}  // namespace fathom
