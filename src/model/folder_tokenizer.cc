// tokenizer.json and tokenizer_config.json as the tables that a GGUF file has. Next in the flow: weights_loader.cc.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <unordered_map>

#include "src/model/folder.h"
#include "src/text/pretokenizer.h"
#include "src/text/utf8.h"
#include "src/text/wordpiece.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokenizerBytes = size_t{128} << 20;
constexpr std::string_view kRemedy = "fetch the folder again";

Error unsupported(std::string message) { return {ErrorCode::unsupported, std::move(message)}; }

/// One step of cutting text into words, or of normalising it.
struct Step {
  std::string type;
  std::string pattern = {};
  bool individual_digits = false, use_regex = true, add_prefix_space = false, prepends = false;
  bool clean_text = true, handle_chinese_chars = true, lowercase = true;  // of BertNormalizer
  std::optional<bool> strip_accents = {};                                 // as `lowercase` where it is null
};

struct AddedToken {
  int64_t id = -1;
  std::string content = {};
  bool special = false;
};

/// What of tokenizer.json decides.
struct Description {
  std::string type = {}, unknown = {};
  std::string prefix = {};       // of WordPiece: of pieces that go on
  int64_t max_word_chars = 100;  // of WordPiece
  bool ignore_merges = false;
  std::vector<std::pair<std::string, int64_t>> vocab = {};
  std::vector<std::pair<std::string, std::string>> merges = {};
  std::vector<AddedToken> added = {};
  std::vector<Step> normalizer = {}, pre = {};
  std::vector<std::string> in_front = {};  // special tokens before a text
};

/// Reads the file in one pass without a document of it: its vocabulary would be most of one.
class Listener : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Listener(Description& out) : out_(out) {}
  size_t failed_at() const { return failed_at_; }

  bool null() override { return true; }
  bool binary(binary_t&) override { return false; }
  bool number_integer(number_integer_t x) override { return number(x); }
  bool number_unsigned(number_unsigned_t x) override {
    return number(static_cast<int64_t>(std::min<uint64_t>(x, std::numeric_limits<int64_t>::max())));
  }
  bool number_float(number_float_t, const string_t&) override { return true; }

  bool boolean(bool x) override {
    if (in("added_tokens") && path_.back() == "special") out_.added.back().special = x;
    if (is({"model", "ignore_merges"})) out_.ignore_merges = x;
    if (Step* const step = this->step()) {
      if (path_.back() == "individual_digits") step->individual_digits = x;
      if (path_.back() == "use_regex") step->use_regex = x;
      if (path_.back() == "add_prefix_space") step->add_prefix_space = x;
      if (path_.back() == "clean_text") step->clean_text = x;
      if (path_.back() == "handle_chinese_chars") step->handle_chinese_chars = x;
      if (path_.back() == "lowercase") step->lowercase = x;
      if (path_.back() == "strip_accents") step->strip_accents = x;
    }
    return true;
  }

  bool string(string_t& x) override {
    if (is({"model", "type"})) out_.type = x;
    if (is({"model", "unk_token"})) out_.unknown = x;
    if (is({"model", "continuing_subword_prefix"})) out_.prefix = x;
    if (is({"model", "merges", "[]"})) split_merge(x);
    if (is({"model", "merges", "[]", "[]"})) join_merge(x);
    if (in("added_tokens") && path_.back() == "content") out_.added.back().content = x;
    if (in("post_processor") && path_.size() > 4 && path_[path_.size() - 4] == "single") {
      if (path_[path_.size() - 2] == "Sequence") text_seen_ = true;
      if (path_[path_.size() - 2] == "SpecialToken" && path_.back() == "id" && !text_seen_) out_.in_front.push_back(x);
    }
    for (auto [name, steps] : {std::pair{"normalizer", &out_.normalizer}, {"pre_tokenizer", &out_.pre}}) {
      if (!in(name)) continue;
      if (path_.back() == "type" && x != "Sequence") steps->push_back({.type = x});
      if (steps->empty()) continue;
      if (path_.back() == "Regex" || path_.back() == "String") steps->back().pattern = x;
      if (path_.back() == "prepend_scheme") steps->back().prepends = x != "never";
    }
    return true;
  }

  bool start_object(size_t) override {
    if (path_.size() == 2 && in("added_tokens")) out_.added.emplace_back();
    path_.emplace_back();
    return path_.size() < kMostDepth;
  }
  bool key(string_t& x) override { return path_.back() = x, true; }
  bool end_object() override { return path_.pop_back(), true; }
  bool start_array(size_t) override {
    path_.emplace_back("[]");
    left_.clear();
    return path_.size() < kMostDepth;
  }
  bool end_array() override { return path_.pop_back(), true; }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    return failed_at_ = at, false;
  }

 private:
  static constexpr size_t kMostDepth = 32;

  bool in(std::string_view first) const { return !path_.empty() && path_.front() == first; }
  bool is(std::initializer_list<std::string_view> path) const {
    return std::equal(path_.begin(), path_.end(), path.begin(), path.end());
  }
  Step* step() {
    std::vector<Step>* const steps = in("normalizer") ? &out_.normalizer : in("pre_tokenizer") ? &out_.pre : nullptr;
    return steps != nullptr && !steps->empty() ? &steps->back() : nullptr;
  }

  bool number(int64_t x) {
    if (path_.size() == 3 && path_[0] == "model" && path_[1] == "vocab") out_.vocab.emplace_back(path_[2], x);
    if (in("added_tokens") && path_.back() == "id") out_.added.back().id = x;
    if (is({"model", "max_input_chars_per_word"})) out_.max_word_chars = x;
    return true;
  }
  void split_merge(const std::string& both) {
    const size_t space = both.find(' ');
    if (space != std::string::npos) out_.merges.emplace_back(both.substr(0, space), both.substr(space + 1));
  }
  void join_merge(const std::string& part) {
    if (left_.empty()) {
      left_ = part;
    } else {
      out_.merges.emplace_back(std::move(left_), part);
      left_.clear();
    }
  }

  Description& out_;
  std::vector<std::string> path_;  // keys, "[]" for an element
  std::string left_;               // of a merge that is a pair
  bool text_seen_ = false;         // of the template, the place of the text
  size_t failed_at_ = 0;
};

Result<Description> read_description(const std::string& path) {
  FATHOM_TRY(const MappedFile mapped, MappedFile::open(path, "the model's tokenizer"));
  const std::span<const std::byte> bytes = mapped.bytes();
  if (bytes.size() > kMaxTokenizerBytes) {
    return Error{ErrorCode::capacity, fmt::format("tokenizer.json: {} bytes of at most {}: give a tokenizer",
                                                  bytes.size(), kMaxTokenizerBytes)};
  }
  Description description;
  Listener listener(description);
  std::string storage;
  const std::string_view text = text::valid_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, storage);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &listener)) {
    return Error{ErrorCode::format, fmt::format("tokenizer.json: no JSON at byte {}, or nested too deep: {}",
                                                listener.failed_at(), kRemedy)};
  }
  return description;
}

/// Tokens by id; what the file leaves out up to `vocab` is never used.
Result<void> place_tokens(const Description& from, int32_t vocab, TokenizerTables& tables) {
  tables.tokens.resize(size_t(vocab));
  tables.kinds.assign(size_t(vocab), TokenKind::unused);
  const auto place = [&](const std::string& token, int64_t id, TokenKind kind) -> Result<void> {
    if (id < 0 || id >= vocab) {
      return Error{ErrorCode::format, fmt::format("tokenizer.json: token \"{}\" has id {}, but the token table has {} "
                                                  "rows: {}",
                                                  gguf::printable(token), id, vocab, kRemedy)};
    }
    tables.tokens[size_t(id)] = token;
    tables.kinds[size_t(id)] = kind;
    return {};
  };
  for (const auto& [token, id] : from.vocab) {
    const bool unknown = !from.unknown.empty() && token == from.unknown;
    FATHOM_TRY(place(token, id, unknown ? TokenKind::unknown : TokenKind::normal));
    if (unknown) tables.unknown = static_cast<int32_t>(id);
  }
  for (const AddedToken& added : from.added) {
    if (added.content == from.unknown && !from.unknown.empty()) continue;
    FATHOM_TRY(place(added.content, added.id, added.special ? TokenKind::control : TokenKind::user_defined));
  }
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    if (tables.kinds[i] == TokenKind::unused) tables.tokens[i] = fmt::format("[PAD{}]", i);
  }
  return {};
}

int32_t id_of(const TokenizerTables& tables, std::string_view token) {
  const auto found = std::find(tables.tokens.begin(), tables.tokens.end(), token);
  return found != tables.tokens.end() && !token.empty() ? static_cast<int32_t>(found - tables.tokens.begin()) : -1;
}

std::string types_of(std::span<const Step> steps) {
  std::string all;
  for (const Step& step : steps) all += fmt::format("{}{}", all.empty() ? "" : ", ", gguf::printable(step.type));
  return all.empty() ? "nothing" : all;
}

/// The name of the way to cut words that the steps describe.
Result<std::string> pretokenizer_of(const Description& from) {
  std::string_view name;
  const std::span<const Step> pre = from.pre;
  if (pre.size() == 1 && pre[0].use_regex) {
    name = "gpt-2";
  } else if (pre.size() == 2 && pre[0].type == "Digits" && pre[0].individual_digits && pre[1].use_regex) {
    name = "smollm";
  } else if (pre.size() == 2 && pre[0].type == "Split" && !pre[1].use_regex) {
    name = text::Pretokenizer::name_of(pre[0].pattern);
  }
  const text::Pretokenizer::Recipe* const recipe = text::Pretokenizer::recipe(name);
  if (recipe == nullptr || pre.back().type != "ByteLevel" || pre.back().add_prefix_space) {
    return unsupported(
        fmt::format("tokenizer.json pre_tokenizer: {} with pattern \"{}\" is none that is known: take a "
                    "model with another, or its GGUF file",
                    types_of(pre), pre.empty() ? "" : gguf::printable(pre[0].pattern)));
  }
  const bool nfc = from.normalizer.size() == 1 && from.normalizer[0].type == "NFC";
  if (nfc != recipe->nfc || (!nfc && !from.normalizer.empty()) || from.ignore_merges != recipe->whole_words) {
    return unsupported(
        fmt::format("tokenizer.json: normalizer {} and ignore_merges {} do not go with pre_tokenizer {}: "
                    "take the model's GGUF file",
                    types_of(from.normalizer), from.ignore_merges, name));
  }
  return std::string(name);
}

Result<void> fill_byte_bpe(const Description& from, TokenizerTables& tables) {
  tables.model = "gpt2";
  FATHOM_TRY(tables.pre, pretokenizer_of(from));
  tables.merges.reserve(from.merges.size());
  for (const auto& [left, right] : from.merges) tables.merges.push_back(fmt::format("{} {}", left, right));
  return {};
}

/// SentencePiece joins the pair whose token has the highest score; here the order of the merges says the same.
Result<void> fill_sentencepiece(const Description& from, TokenizerTables& tables) {
  bool marks_spaces = false;
  tables.add_space_prefix = false;
  for (const std::vector<Step>* steps : {&from.normalizer, &from.pre}) {
    for (const Step& step : *steps) {
      const bool replaces = step.type == "Replace" && step.pattern == " ";
      const bool metaspace = step.type == "Metaspace", prepend = step.type == "Prepend";
      const bool splits = step.type == "Split" && step.pattern == " ";  // behind a Replace it finds nothing
      if (!replaces && !metaspace && !prepend && !splits) {
        return unsupported(fmt::format("tokenizer.json: step {} is none that is known: take the model's GGUF file",
                                       gguf::printable(step.type)));
      }
      marks_spaces |= replaces || metaspace;
      tables.add_space_prefix |= prepend || (metaspace && step.prepends);
    }
  }
  if (!marks_spaces) {
    return unsupported(
        "tokenizer.json: a BPE that neither works on bytes nor marks spaces: take the model's GGUF file");
  }
  tables.model = "llama";
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t i = 0; i < tables.tokens.size(); ++i) ids.emplace(tables.tokens[i], static_cast<int32_t>(i));
  const auto never = -static_cast<float>(from.merges.size()) - 1;
  tables.scores.assign(tables.tokens.size(), never);
  for (size_t rank = 0; rank < from.merges.size(); ++rank) {
    const auto found = ids.find(from.merges[rank].first + from.merges[rank].second);
    if (found == ids.end()) {
      return Error{ErrorCode::format, fmt::format("tokenizer.json merge {}: joins to no token: {}", rank, kRemedy)};
    }
    float& score = tables.scores[size_t(found->second)];
    score = std::max(score, -static_cast<float>(rank));
  }
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    const std::string& token = tables.tokens[i];
    if (token.size() == 6 && token.starts_with("<0x") && token.back() == '>') tables.kinds[i] = TokenKind::byte;
  }
  return {};
}

/// GGUF names pieces as SentencePiece does: what begins a word is marked, what goes on is not.
Result<void> fill_wordpiece(const Description& from, TokenizerTables& tables) {
  constexpr std::string_view kGoesOn = "##";
  const bool known =
      from.normalizer.size() == 1 && from.normalizer[0].type == "BertNormalizer" && from.normalizer[0].clean_text &&
      from.normalizer[0].handle_chinese_chars &&
      from.normalizer[0].strip_accents.value_or(from.normalizer[0].lowercase) == from.normalizer[0].lowercase &&
      from.pre.size() == 1 && from.pre[0].type == "BertPreTokenizer" &&
      (from.prefix.empty() || from.prefix == kGoesOn) && from.max_word_chars == 100;
  if (!known) {
    return unsupported(
        fmt::format("tokenizer.json: WordPiece behind normalizer {} and pre_tokenizer {}, or with other "
                    "settings than BERT's: take another model",
                    types_of(from.normalizer), types_of(from.pre)));
  }
  tables.model = "bert";
  tables.pre = from.normalizer[0].lowercase ? "uncased" : std::string(text::kCased);
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    if (tables.kinds[i] != TokenKind::normal) continue;
    std::string& token = tables.tokens[i];
    token = token.starts_with(kGoesOn) ? token.substr(kGoesOn.size()) : std::string(text::kSpaceMark) + token;
  }
  return {};
}

/// "eos_token": "</s>" or {"content": "</s>"}.
std::string special_text(const JsonField& field) {
  if (!field) return {};
  return field.is_object() ? field["content"].text_or("") : field.text();
}

Result<void> read_tokenizer_config(const fs::path& folder, TokenizerTables& tables) {
  const std::string path = (folder / "tokenizer_config.json").string();
  if (!fs::exists(path)) return {};
  FATHOM_TRY(const JsonValue document, read_folder_json(path, {.fields = 4096, .remedy = kRemedy}));
  std::optional<Error> error;
  const JsonField config(&document, "", &error);
  const auto named = [&](const char* usual, const char* of_encoders) {
    return id_of(tables, special_text(config[usual] ? config[usual] : config[of_encoders]));
  };
  tables.bos = named("bos_token", "cls_token");
  tables.eos = named("eos_token", "sep_token");
  tables.padding = id_of(tables, special_text(config["pad_token"]));
  if (config["chat_template"].is_text()) tables.chat_template = config["chat_template"].text();
  if (error) return Error{error->code, fmt::format("tokenizer_config.json: {}", error->message)};
  return {};
}

/// Newer folders keep the template in a file of its own.
Result<void> read_chat_template(const fs::path& folder, TokenizerTables& tables) {
  const std::string path = (folder / "chat_template.jinja").string();
  if (!fs::exists(path)) return {};
  FATHOM_TRY(const MappedFile mapped, MappedFile::open(path, "the model's chat template"));
  tables.chat_template.assign(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  return {};
}

}  // namespace

Result<TokenizerTables> read_folder_tokenizer(const std::string& path, int32_t vocab) {
  const fs::path folder(path);
  FATHOM_TRY(const Description from, read_description((folder / "tokenizer.json").string()));
  const bool wordpiece = from.type == "WordPiece";
  if (from.type != "BPE" && !wordpiece) {
    return unsupported(
        fmt::format("tokenizer.json: a model of type \"{}\" is none of BPE, WordPiece: take a model "
                    "with one of these",
                    gguf::printable(from.type)));
  }
  TokenizerTables tables;
  FATHOM_TRY(place_tokens(from, vocab, tables));
  const bool on_bytes =
      std::any_of(from.pre.begin(), from.pre.end(), [](const Step& step) { return step.type == "ByteLevel"; });
  FATHOM_TRY(wordpiece  ? fill_wordpiece(from, tables)
             : on_bytes ? fill_byte_bpe(from, tables)
                        : fill_sentencepiece(from, tables));
  FATHOM_TRY(read_tokenizer_config(folder, tables));
  FATHOM_TRY(read_chat_template(folder, tables));
  for (const std::string& token : from.in_front)
    tables.add_bos |= id_of(tables, token) == tables.bos && tables.bos >= 0;
  return tables;
}

}  // namespace fathom
