// The tokenizer section of a file, copied out of it. Next in the flow: weights_loader.cc.
#include <fmt/format.h>

#include <climits>

#include "src/model/config_reader.h"

namespace fathom {
namespace {

using gguf::Kind;
using gguf::Value;

/// Keys below "tokenizer.ggml.".
class Section {
 public:
  explicit Section(const gguf::File& file) : file_(file) {}

  const Value* find(std::string_view name) const { return file_.find("tokenizer.ggml." + std::string(name)); }

  Result<void> read(std::string_view name, std::string& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (value->kind != Kind::string) return wrong_type(name, *value, "a string");
    dst = gguf::StringCursor(*value).next();
    return {};
  }

  Result<void> read(std::string_view name, bool& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (value->kind != Kind::boolean) return wrong_type(name, *value, "a boolean");
    dst = gguf::integer_at(*value, 0) != 0;
    return {};
  }

  /// A token id; 2^32 - 1 and -1 mean none. Range is the tokenizer's to check.
  Result<void> read(std::string_view name, int32_t& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (!gguf::is_integer(value->kind)) return wrong_type(name, *value, "an integer");
    const int64_t id = gguf::integer_at(*value, 0);
    if (id == -1 || id == int64_t{UINT32_MAX}) return {};
    if (id < 0 || id > INT_MAX) {
      return Error{ErrorCode::format,
                   fmt::format("key tokenizer.ggml.{}: {} is not a token id: convert the model again", name, id)};
    }
    dst = static_cast<int32_t>(id);
    return {};
  }

  Result<void> read(std::string_view name, std::vector<std::string>& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_array() || value->element != Kind::string) return wrong_type(name, *value, "an array of strings");
    gguf::StringCursor cursor(*value);
    dst.reserve(value->count);
    for (uint64_t i = 0; i < value->count; ++i) dst.emplace_back(cursor.next());
    return {};
  }

  Result<void> read(std::string_view name, std::vector<float>& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_array() || !gguf::is_number(value->element)) return wrong_type(name, *value, "an array of numbers");
    dst.resize(value->count);
    for (uint64_t i = 0; i < value->count; ++i) dst[i] = static_cast<float>(gguf::number_at(*value, i));
    return {};
  }

  Result<void> read(std::string_view name, std::vector<TokenKind>& dst) const {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_array() || !gguf::is_integer(value->element))
      return wrong_type(name, *value, "an array of integers");
    dst.resize(value->count);
    for (uint64_t i = 0; i < value->count; ++i) {
      const int64_t kind = gguf::integer_at(*value, i);
      if (kind < 1 || kind > 6) {
        return Error{
            ErrorCode::format,
            fmt::format("key tokenizer.ggml.{}: token {} has kind {}, expected 1 to 6: convert the model again", name,
                        i, kind)};
      }
      dst[i] = static_cast<TokenKind>(kind);
    }
    return {};
  }

 private:
  static Error wrong_type(std::string_view name, const Value& value, std::string_view expected) {
    return {ErrorCode::format, fmt::format("key tokenizer.ggml.{}: holds {}, expected {}: convert the model again",
                                           name, gguf::name_of(value.element), expected)};
  }
  const gguf::File& file_;
};

/// Lengths first, so that nothing is copied from tables that do not fit the model.
Result<void> check_lengths(const Section& section, int32_t vocab) {
  for (const std::string_view name : {"tokens", "scores", "token_type"}) {
    const Value* value = section.find(name);
    if (value == nullptr && name != "tokens") continue;
    const uint64_t count = value == nullptr ? 0 : value->count;
    if (count != static_cast<uint64_t>(vocab)) {
      return Error{ErrorCode::format,
                   fmt::format("key tokenizer.ggml.{}: {} entries, but tensor token_embd.weight has {} rows: "
                               "convert the model again",
                               name, count, vocab)};
    }
  }
  return {};
}

}  // namespace

Result<TokenizerTables> read_tokenizer_tables(const gguf::File& file, int32_t vocab) {
  const Section section(file);
  TokenizerTables tables;
  FATHOM_TRY(section.read("model", tables.model));
  if (tables.model.empty()) {
    return Error{ErrorCode::format, "key tokenizer.ggml.model: is missing: convert the model with its tokenizer"};
  }
  if (tables.model == "none") tables.model = "no_vocab";
  if (tables.model == "no_vocab") return tables;
  FATHOM_TRY(check_lengths(section, vocab));
  FATHOM_TRY(section.read("pre", tables.pre));
  FATHOM_TRY(section.read("tokens", tables.tokens));
  FATHOM_TRY(section.read("scores", tables.scores));
  FATHOM_TRY(section.read("token_type", tables.kinds));
  FATHOM_TRY(section.read("merges", tables.merges));
  FATHOM_TRY(section.read("bos_token_id", tables.bos));
  FATHOM_TRY(section.read("eos_token_id", tables.eos));
  FATHOM_TRY(section.read("unknown_token_id", tables.unknown));
  FATHOM_TRY(section.read("padding_token_id", tables.padding));
  FATHOM_TRY(section.read("eot_token_id", tables.eot));
  if (tables.bos < 0) FATHOM_TRY(section.read("cls_token_id", tables.bos));
  if (tables.eos < 0) FATHOM_TRY(section.read("seperator_token_id", tables.eos));  // GGUF spells it so
  // SentencePiece and Llama 3 models want a beginning-of-text token unless their file says otherwise.
  tables.add_bos = tables.model == "llama" || tables.pre == "llama-bpe" || tables.pre == "llama3";
  FATHOM_TRY(section.read("add_bos_token", tables.add_bos));
  FATHOM_TRY(section.read("add_eos_token", tables.add_eos));
  FATHOM_TRY(section.read("add_space_prefix", tables.add_space_prefix));
  const Value* chat_template = file.find("tokenizer.chat_template");
  if (chat_template != nullptr && chat_template->kind == Kind::string) {
    tables.chat_template = gguf::StringCursor(*chat_template).next();
  }
  return tables;
}

}  // namespace fathom
