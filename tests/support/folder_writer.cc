// From a tiny GGUF file to the folder that it could have been converted from. Next: tests/model/folder_test.cc.
#include "tests/support/folder_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "src/model/gguf.h"
#include "src/text/pretokenizer.h"
#include "tests/support/folder_encoder.h"

namespace fathom::testing {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<std::string_view, std::string_view> kParts[] = {{"attn_norm", "input_layernorm"},
                                                                    {"attn_q", "self_attn.q_proj"},
                                                                    {"attn_k", "self_attn.k_proj"},
                                                                    {"attn_v", "self_attn.v_proj"},
                                                                    {"attn_output", "self_attn.o_proj"},
                                                                    {"attn_q_norm", "self_attn.q_norm"},
                                                                    {"attn_k_norm", "self_attn.k_norm"},
                                                                    {"ffn_gate", "mlp.gate_proj"},
                                                                    {"ffn_up", "mlp.up_proj"},
                                                                    {"ffn_down", "mlp.down_proj"},
                                                                    {"post_attention_norm", "post_attention_layernorm"},
                                                                    {"post_ffw_norm", "post_feedforward_layernorm"}};

std::string published_name(const std::string& name, bool gemma) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  const size_t layer_end = name.find('.', 4), kind = name.rfind('.');
  const std::string part = name.substr(layer_end + 1, kind - layer_end - 1);
  std::string theirs = gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm";
  if (part != "ffn_norm") {
    const auto found = std::find_if(std::begin(kParts), std::end(kParts), [&](auto& p) { return p.first == part; });
    if (found == std::end(kParts)) throw std::invalid_argument("no published name for " + name);
    theirs = found->second;
  }
  return fmt::format("model.layers.{}.{}{}", name.substr(4, layer_end - 4), theirs, name.substr(kind));
}

// Rows of each head: those that a converter made neighbours are half a head apart.
Bytes halves_of(const Bytes& data, size_t heads, size_t head_dim) {
  const size_t row = data.size() / (heads * head_dim);
  Bytes out(data.size());
  for (size_t h = 0; h < heads; ++h) {
    for (size_t i = 0; i < head_dim; ++i) {
      const size_t to = h * head_dim + i % 2 * (head_dim / 2) + i / 2;
      std::copy_n(data.begin() + std::ptrdiff_t((h * head_dim + i) * row), row, out.begin() + std::ptrdiff_t(to * row));
    }
  }
  return out;
}

void subtract_one(Bytes& data) {
  for (size_t i = 0; i < data.size(); i += sizeof(float)) {
    float x;
    std::memcpy(&x, data.data() + i, sizeof(x));
    x -= 1;
    std::memcpy(data.data() + i, &x, sizeof(x));
  }
}

std::string dtype_of(uint32_t gguf_id) {
  if (gguf_id == info(DType::f32).gguf_id) return "F32";
  if (gguf_id == info(DType::f16).gguf_id) return "F16";
  if (gguf_id == info(DType::bf16).gguf_id) return "BF16";
  throw std::invalid_argument("safetensors has no such type");
}

Json config_of(const TinyOptions& o) {
  const bool gemma = o.family == "gemma3";
  Json config = {{"architectures",
                  {o.family == "qwen2"   ? "Qwen2ForCausalLM"
                   : o.family == "qwen3" ? "Qwen3ForCausalLM"
                   : gemma               ? "Gemma3ForCausalLM"
                                         : "LlamaForCausalLM"}},
                 {"model_type", gemma ? "gemma3_text" : o.family},
                 {"hidden_size", o.d_model},
                 {"intermediate_size", o.feed_forward},
                 {"num_hidden_layers", o.n_layers},
                 {"num_attention_heads", o.heads},
                 {"num_key_value_heads", o.kv_heads},
                 {"head_dim", o.head_dim},
                 {"max_position_embeddings", o.context},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", o.family == "llama" ? 500000.0 : 1000000.0},
                 {"tie_word_embeddings", o.tied_head},
                 {"vocab_size", o.vocab}};
  if (gemma) {
    config["hidden_activation"] = "gelu_pytorch_tanh";
    config["sliding_window"] = o.window;
    config["query_pre_attn_scalar"] = o.head_dim;
    config["rope_local_base_freq"] = 10000.0;
    Json types = Json::array();
    const int32_t every = o.window_pattern != 0 ? o.window_pattern : 6;
    for (int32_t l = 1; l <= o.n_layers; ++l) types.push_back(l % every == 0 ? "full_attention" : "sliding_attention");
    config["layer_types"] = std::move(types);
  } else {
    config["hidden_act"] = "silu";
    config["sliding_window"] = nullptr;
  }
  return config;
}

std::vector<std::string> texts_of(const gguf::File& file, const char* key) {
  std::vector<std::string> out;
  const gguf::Value* const value = file.find(key);
  if (value == nullptr) return out;
  gguf::StringCursor cursor(*value);
  for (uint64_t i = 0; i < value->count; ++i) out.emplace_back(cursor.next());
  return out;
}

// Merges of sentencepiece: pairs of tokens whose joint is one, by its score.
Json merges_of(const std::vector<std::string>& tokens, const gguf::Value& scores) {
  std::vector<std::pair<double, Json>> all;
  for (size_t i = 0; i < tokens.size(); ++i) {
    for (size_t cut = 1; cut < tokens[i].size(); ++cut) {
      const std::string left = tokens[i].substr(0, cut), right = tokens[i].substr(cut);
      const auto is_token = [&](const std::string& t) {
        return std::find(tokens.begin(), tokens.end(), t) != tokens.end();
      };
      if (is_token(left) && is_token(right)) all.emplace_back(-gguf::number_at(scores, i), Json::array({left, right}));
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Json merges = Json::array();
  for (auto& [score, pair] : all) merges.push_back(std::move(pair));
  return merges;
}

void add_tokenizer(FolderWriter& writer, const gguf::File& file) {
  const std::vector<std::string> tokens = texts_of(file, "tokenizer.ggml.tokens");
  const bool on_bytes = gguf::StringCursor(*file.find("tokenizer.ggml.model")).next() == "gpt2";
  const gguf::Value& kinds = *file.find("tokenizer.ggml.token_type");
  Json vocab = Json::object(), added = Json::array();
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto kind = static_cast<TokenKind>(gguf::integer_at(kinds, i));
    if (kind == TokenKind::unused) continue;  // rows that no token has
    const bool special = kind == TokenKind::control;
    if (special || kind == TokenKind::user_defined) {
      added.push_back({{"id", i}, {"content", tokens[i]}, {"special", special}});
    } else {
      vocab[tokens[i]] = i;
    }
  }
  Json merges =
      on_bytes ? Json(texts_of(file, "tokenizer.ggml.merges")) : merges_of(tokens, *file.find("tokenizer.ggml.scores"));
  Json& t = writer.tokenizer;
  t = {{"version", "1.0"}, {"added_tokens", std::move(added)}};
  if (on_bytes) {
    const std::string pre(gguf::StringCursor(*file.find("tokenizer.ggml.pre")).next());
    const text::Pretokenizer::Recipe& recipe = *text::Pretokenizer::recipe(pre);
    t["normalizer"] = recipe.nfc ? Json{{"type", "NFC"}} : Json();
    t["pre_tokenizer"] = {{"type", "Sequence"},
                          {"pretokenizers",
                           {{{"type", "Split"}, {"pattern", {{"Regex", recipe.patterns.front()}}}, {"invert", false}},
                            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    t["model"] = {{"type", "BPE"}, {"ignore_merges", recipe.whole_words}};
  } else {
    t["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\xE2\x96\x81"}};
    t["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "MergedWithPrevious"}};
    t["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair", Json::array()}};
    t["model"] = {{"type", "BPE"}, {"unk_token", "<unk>"}, {"byte_fallback", true}};
  }
  t["model"]["vocab"] = std::move(vocab);
  t["model"]["merges"] = std::move(merges);
  const auto name_of_id = [&](const char* key) { return tokens[size_t(gguf::integer_at(*file.find(key), 0))]; };
  writer.tokenizer_config = {{"bos_token", name_of_id("tokenizer.ggml.bos_token_id")},
                             {"eos_token", {{"content", name_of_id("tokenizer.ggml.eos_token_id")}}}};
}

}  // namespace

FolderWriter::TensorEntry& FolderWriter::tensor(std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const TensorEntry& t) { return t.name == name; });
  if (found == tensors.end()) throw std::invalid_argument(fmt::format("no tensor {}", name));
  return *found;
}

void FolderWriter::remove(std::string_view name) { tensors.erase(tensors.begin() + (&tensor(name) - tensors.data())); }

Bytes FolderWriter::safetensors(size_t first, size_t last) const {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t at = 0;
  for (size_t i = first; i < last; ++i) {
    const TensorEntry& t = tensors[i];
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.data.size()}}};
    at += t.data.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  Bytes out(sizeof(length) + text.size());
  std::memcpy(out.data(), &length, sizeof(length));
  std::memcpy(out.data() + sizeof(length), text.data(), text.size());
  for (size_t i = first; i < last; ++i) out.insert(out.end(), tensors[i].data.begin(), tensors[i].data.end());
  return out;
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void FolderWriter::write(const std::string& folder, size_t shards) const {
  std::filesystem::create_directories(folder);
  write_file(folder + "/config.json", config.dump());
  write_file(folder + "/tokenizer.json", tokenizer.dump());
  write_file(folder + "/tokenizer_config.json", tokenizer_config.dump());
  for (const auto& [name, json] : beside) {
    const std::filesystem::path path = folder + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path.string(), json.dump());
  }
  Json weight_map = Json::object();
  for (size_t s = 0; s < shards; ++s) {
    const size_t first = s * tensors.size() / shards, last = (s + 1) * tensors.size() / shards;
    const std::string name =
        shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards);
    const Bytes bytes = safetensors(first, last);
    write_file(folder + "/" + name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    for (size_t i = first; i < last; ++i) weight_map[tensors[i].name] = name;
  }
  if (shards > 1) {
    write_file(folder + "/model.safetensors.index.json",
               Json{{"metadata", {{"total_size", 0}}}, {"weight_map", std::move(weight_map)}}.dump());
  }
}

FolderWriter tiny_folder(const TinyOptions& options) {
  const GgufWriter gguf = tiny_writer(options);
  const Bytes bytes = gguf.bytes();
  const gguf::File file = gguf::read(bytes).value();
  const bool gemma = options.family == "gemma3", encoder = options.family == "bert";
  FolderWriter writer;
  if (encoder) {
    describe_encoder(options, file, writer);
  } else {
    writer.config = config_of(options);
    add_tokenizer(writer, file);
  }
  for (const GgufWriter::TensorEntry& t : gguf.tensors) {
    FolderWriter::TensorEntry entry{.name = encoder ? published_encoder_name(t.name) : published_name(t.name, gemma),
                                    .dtype = dtype_of(t.type),
                                    .shape = {t.dims.rbegin(), t.dims.rend()},
                                    .data = t.data};
    const bool turned =
        options.family == "llama" && (t.name.ends_with("attn_q.weight") || t.name.ends_with("attn_k.weight"));
    if (turned) entry.data = halves_of(t.data, t.dims[1] / size_t(options.head_dim), size_t(options.head_dim));
    if (gemma && t.name.ends_with("norm.weight")) subtract_one(entry.data);
    writer.tensors.push_back(std::move(entry));
  }
  return writer;
}

}  // namespace fathom::testing
