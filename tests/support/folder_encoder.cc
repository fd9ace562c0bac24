// BertModel's folder: names, configuration, words, and how sentence-transformers pools. Next: folder_writer.cc.
#include "tests/support/folder_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace fathom::testing {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<std::string_view, std::string_view> kOutside[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight"},
    {"position_embd.weight", "embeddings.position_embeddings.weight"},
    {"token_types.weight", "embeddings.token_type_embeddings.weight"},
    {"token_embd_norm.weight", "embeddings.LayerNorm.weight"},
    {"token_embd_norm.bias", "embeddings.LayerNorm.bias"}};
constexpr std::pair<std::string_view, std::string_view> kInLayer[] = {
    {"attn_q", "attention.self.query"},
    {"attn_k", "attention.self.key"},
    {"attn_v", "attention.self.value"},
    {"attn_output", "attention.output.dense"},
    {"attn_output_norm", "attention.output.LayerNorm"},
    {"ffn_up", "intermediate.dense"},
    {"ffn_down", "output.dense"},
    {"layer_output_norm", "output.LayerNorm"}};

template <size_t n>
std::string_view other(const std::pair<std::string_view, std::string_view> (&pairs)[n], std::string_view ours) {
  const auto* const found = std::find_if(pairs, pairs + n, [&](const auto& pair) { return pair.first == ours; });
  return found == pairs + n ? std::string_view() : found->second;
}

Json config_of(const TinyOptions& o) {
  return {{"architectures", {"BertModel"}},
          {"model_type", "bert"},
          {"hidden_act", "gelu"},
          {"hidden_size", o.d_model},
          {"intermediate_size", o.feed_forward},
          {"num_hidden_layers", o.n_layers},
          {"num_attention_heads", o.heads},
          {"max_position_embeddings", o.context},
          {"layer_norm_eps", 1e-12},
          {"position_embedding_type", "absolute"},
          {"type_vocab_size", 2},
          {"vocab_size", o.vocab}};
}

/// Published as `##ing`, in a GGUF file `ing`; and `the`, in a GGUF file with a space mark in front.
std::string published_token(std::string_view token, TokenKind kind) {
  constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
  if (kind != TokenKind::normal) return std::string(token);
  if (token.starts_with(kSpaceMark)) return std::string(token.substr(kSpaceMark.size()));
  return "##" + std::string(token);
}

Json tokenizer_of(const gguf::File& file) {
  gguf::StringCursor tokens(*file.find("tokenizer.ggml.tokens"));
  const gguf::Value& kinds = *file.find("tokenizer.ggml.token_type");
  Json vocab = Json::object(), added = Json::array();
  for (uint64_t i = 0; i < kinds.count; ++i) {
    const auto kind = static_cast<TokenKind>(gguf::integer_at(kinds, i));
    const std::string token = published_token(tokens.next(), kind);
    if (kind == TokenKind::unused) continue;  // rows that no token has
    vocab[token] = i;
    if (kind != TokenKind::normal) added.push_back({{"id", i}, {"content", token}, {"special", true}});
  }
  return {{"version", "1.0"},
          {"added_tokens", std::move(added)},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", std::move(vocab)}}}};
}

Json module(int32_t number, const char* path, const char* type) {
  return {{"idx", number},
          {"name", std::to_string(number)},
          {"path", path},
          {"type", fmt::format("sentence_transformers.models.{}", type)}};
}

}  // namespace

std::string published_encoder_name(const std::string& name) {
  if (const std::string_view theirs = other(kOutside, name); !theirs.empty()) return std::string(theirs);
  const size_t layer_end = name.find('.', 4), kind = name.rfind('.');
  const std::string_view theirs = other(kInLayer, name.substr(layer_end + 1, kind - layer_end - 1));
  if (theirs.empty()) throw std::invalid_argument("no published name for " + name);
  return fmt::format("encoder.layer.{}.{}{}", name.substr(4, layer_end - 4), theirs, name.substr(kind));
}

void describe_encoder(const TinyOptions& options, const gguf::File& file, FolderWriter& writer) {
  writer.config = config_of(options);
  writer.tokenizer = tokenizer_of(file);
  writer.tokenizer_config = {
      {"cls_token", "[CLS]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"unk_token", "[UNK]"}};
  writer.beside["modules.json"] = {module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"),
                                   module(2, "2_Normalize", "Normalize")};
  writer.beside["1_Pooling/config.json"] = {{"word_embedding_dimension", options.d_model},
                                            {"pooling_mode_cls_token", false},
                                            {"pooling_mode_mean_tokens", true},
                                            {"pooling_mode_max_tokens", false}};
  writer.beside["sentence_bert_config.json"] = {{"max_seq_length", options.context}, {"do_lower_case", false}};
}

}  // namespace fathom::testing
