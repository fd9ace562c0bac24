// Reading a policy's text form. Every error names its column, what stands there, and what to write.
// Next in the flow: policy.cc, which makes a Policy of the stages.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "src/policy/stage_table.h"

namespace fathom::policy_text {
namespace {

constexpr size_t kMaxText = 4096;
constexpr size_t kMaxQuoted = 32;

/// Text for a message: short, printable, on one line.
std::string quoted(std::string_view text) {
  std::string all(text.substr(0, kMaxQuoted));
  std::replace_if(
      all.begin(), all.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + all + (text.size() > kMaxQuoted ? "...'" : "'");
}

/// Insertions, deletions and changes from a to b (Levenshtein 1966); both are short.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

/// ": did you mean exit_when?" for a word near one of `known`, else ": write " and all of them.
std::string suggestion(std::string_view word, const std::vector<std::string_view>& known) {
  std::string_view best;
  size_t fewest = (std::min(word.size(), kMaxQuoted) + 2) / 3 + 1;
  for (std::string_view name : known) {
    const bool begins = word.size() >= 3 && name.starts_with(word);
    const size_t n = word.size() > kMaxQuoted ? fewest : begins ? 1 : edits(word, name);
    if (n < fewest) fewest = n, best = name;
  }
  if (!best.empty()) return fmt::format(": did you mean {}?", best);
  return fmt::format(": write {}", fmt::join(known, ", "));
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '+' || c == '-';
}

/// A word of the text and where it begins.
struct Token {
  std::string_view text;
  size_t begin = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  Result<std::vector<AnyStage>> policy();

 private:
  Result<void> stage();
  Result<void> joins(const Token& name, size_t index) const;
  Result<void> arguments(const Token& name, AnyStage& stage);
  Result<void> argument(const Token& name, AnyStage& stage, std::vector<bool>& given, size_t& next);
  Result<size_t> field_named(const Token& stage, const StageInfo& info, const Token& word) const;
  Result<void> value(const Token& stage, const Field& field, void* dst);
  Result<void> list(const Token& stage, const Field& field, LayerSet& dst);
  Result<void> list(const Token& stage, const Field& field, HeadSet& dst);
  Result<void> list(const Token& stage, const Field& field, ShareList& dst);
  Result<void> complete(const Token& name, AnyStage& stage, const std::vector<bool>& given) const;

  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Token word() {
    skip_space();
    const size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return {text_.substr(begin, at_ - begin), begin};
  }
  /// What stands at the reading place, for messages.
  std::string here() {
    skip_space();
    return at_ == text_.size() ? "the end of the text" : quoted(text_.substr(at_, 1));
  }
  static Error error(size_t at, std::string_view message) {
    return {ErrorCode::argument, fmt::format("policy, column {}: {}", at + 1, message)};
  }
  Error expected(std::string_view what) {
    const std::string found = here();
    return error(at_, fmt::format("{} found: write {}", found, what));
  }

  std::string_view text_;
  size_t at_ = 0;
  std::vector<AnyStage> stages_;
  std::vector<size_t> columns_;  // [stages] where each begins
  size_t n_read_ = 0;            // full_depth counts here and not in stages_
};

Result<std::vector<AnyStage>> Reader::policy() {
  if (text_.size() > kMaxText) {
    return error(kMaxText, fmt::format("the text has {} characters: write at most {}", text_.size(), kMaxText));
  }
  do {
    FATHOM_TRY(stage());
  } while (take('|'));
  skip_space();
  if (at_ != text_.size()) return expected("'|' and another stage, or nothing");
  size_t lacking = 0;
  if (const auto together = detail::check_together(placed(stages_), &lacking); !together) {
    return error(columns_[lacking], together.error().message);
  }
  return std::move(stages_);
}

Result<void> Reader::stage() {
  const Token name = word();
  if (name.text.empty()) return expected("a stage, for example full_depth or exit_at(layer=12)");
  if (++n_read_ > kMaxStages) return error(name.begin, fmt::format("stage {}: write at most {}", n_read_, kMaxStages));
  if (name.text == "full_depth") {
    if (take('(') && !take(')')) return expected("')': full_depth has no fields");
    return {};
  }
  std::vector<std::string_view> known = {"full_depth"};
  for (const StageInfo& info : stage_table()) known.push_back(info.name);
  const auto found = std::find(known.begin() + 1, known.end(), name.text);
  if (found == known.end()) {
    return error(name.begin, fmt::format("{} is no built-in stage (one of your own joins in C++ only){}",
                                         quoted(name.text), suggestion(name.text, known)));
  }
  const auto index = static_cast<size_t>(found - known.begin()) - 1;
  FATHOM_TRY(joins(name, index));
  AnyStage made = make_stage(index);
  FATHOM_TRY(arguments(name, made));
  stages_.push_back(made);
  columns_.push_back(name.begin);
  return {};
}

/// The rules of `|`: no proposal after a limit, one stage of a kind that configures.
Result<void> Reader::joins(const Token& name, size_t index) const {
  const StageKind kind = stage_table()[index].kind;
  for (const AnyStage& before : stages_) {
    if (kind == StageKind::proposal && info_of(before).kind == StageKind::limit) {
      return error(name.begin,
                   fmt::format("the proposal {} stands right of the limit {}, which has the last word: move {} to "
                               "its left",
                               name.text, info_of(before).name, name.text));
    }
    if (stage_table()[index].once && before.index() == index) {
      const char* what = kind == StageKind::setting ? "setting" : "stage";
      return error(name.begin, fmt::format("the {} {} is given twice: keep one", what, name.text));
    }
  }
  const AnyStage stage = make_stage(index);
  const auto before = placed(stages_);
  const auto here = detail::check_place(before, placed({&stage, 1}).front());
  return here ? here : error(name.begin, here.error().message);
}

Result<void> Reader::arguments(const Token& name, AnyStage& stage) {
  std::vector<bool> given(info_of(stage).fields.size());
  if (given.empty() && take('(') && !take(')')) return expected(fmt::format("')': {} has no fields", name.text));
  if (!given.empty() && take('(') && !take(')')) {
    size_t next = 0;  // the field of the next argument without a name; past the end once one had a name
    do {
      FATHOM_TRY(argument(name, stage, given, next));
    } while (take(','));
    if (!take(')')) return expected("',' and another field, or ')'");
  }
  return complete(name, stage, given);
}

Result<void> Reader::argument(const Token& name, AnyStage& stage, std::vector<bool>& given, size_t& next) {
  const StageInfo& info = info_of(stage);
  const size_t begin = at_;
  const Token first = word();
  size_t index = next;
  if (!first.text.empty() && take('=')) {
    FATHOM_TRY(index, field_named(name, info, first));
    if (given[index])
      return error(first.begin, fmt::format("{} of {} is given twice: keep one", first.text, name.text));
    next = info.fields.size();
  } else {
    at_ = begin;
    skip_space();
    if (index == info.fields.size()) {
      return error(at_, fmt::format("a value without a name after a named or the last field of {}: write {}={}",
                                    name.text, info.fields.back().name, value_range(info.fields.back(), 0)));
    }
    ++next;
  }
  given[index] = true;
  const Field& field = info.fields[index];
  return value(name, field, field.at(address_of(stage)));
}

Result<size_t> Reader::field_named(const Token& stage, const StageInfo& info, const Token& word) const {
  std::vector<std::string_view> known;
  for (const Field& field : info.fields) known.push_back(field.name);
  const auto found = std::find(known.begin(), known.end(), word.text);
  if (found != known.end()) return static_cast<size_t>(found - known.begin());
  return error(word.begin,
               fmt::format("{} has no field {}{}", stage.text, quoted(word.text), suggestion(word.text, known)));
}

template <class T>
bool read_number(std::string_view text, T& dst) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), dst);
  return code == std::errc() && end == text.data() + text.size();
}

Result<void> Reader::value(const Token& stage, const Field& field, void* dst) {
  if (field.type == FieldType::layers) return list(stage, field, *static_cast<LayerSet*>(dst));
  if (field.type == FieldType::heads) return list(stage, field, *static_cast<HeadSet*>(dst));
  if (field.type == FieldType::shares) return list(stage, field, *static_cast<ShareList*>(dst));
  const Token token = word();
  bool read = false;
  switch (field.type) {
    case FieldType::count:
    case FieldType::layer:
      read = read_number(token.text, *static_cast<int32_t*>(dst));
      break;
    case FieldType::number:
      read = read_number(token.text, *static_cast<float*>(dst));
      break;
    case FieldType::condition:
      read = read_number(token.text, static_cast<std::optional<float>*>(dst)->emplace());
      break;
    case FieldType::layers:
    case FieldType::heads:
    case FieldType::shares:
      break;
    case FieldType::word:
    case FieldType::signal: {
      const auto found = std::find(field.words.begin(), field.words.end(), token.text);
      read = found != field.words.end();
      if (read) *static_cast<uint8_t*>(dst) = static_cast<uint8_t>(found - field.words.begin());
      break;
    }
  }
  if (token.text.empty()) return expected(fmt::format("{}={}", field.name, value_range(field, 0)));
  if (!read || !value_error(field, dst, 0).empty()) {
    return error(token.begin,
                 fmt::format("{}: {}={}: write {}", stage.text, field.name, quoted(token.text), value_range(field, 0)));
  }
  return {};
}

Result<void> Reader::list(const Token& stage, const Field& field, LayerSet& dst) {
  if (!take('[')) return expected(fmt::format("{}={}", field.name, value_range(field, 0)));
  do {
    const Token token = word();
    if (token.text.empty()) return expected("a layer");
    int32_t layer = 0;
    if (!read_number(token.text, layer) || layer < 1 || layer > kMaxPolicyLayers) {
      return error(token.begin, fmt::format("{}: {} has {}: write {}", stage.text, field.name, quoted(token.text),
                                            value_range(field, 0)));
    }
    if (dst.has(layer))
      return error(token.begin, fmt::format("{}: layer {} is listed twice: keep one", stage.text, layer));
    dst.add(layer);
  } while (take(','));
  if (!take(']')) return expected("',' and another layer, or ']'");
  return {};
}

Result<void> Reader::list(const Token& stage, const Field& field, HeadSet& dst) {
  if (!take('[')) return expected(fmt::format("{}={}", field.name, value_range(field, 0)));
  do {
    const Token layer = word();
    if (layer.text.empty()) return expected("layer:head");
    if (!take(':')) return expected("':' and a head of the layer");
    const Token head = word();
    if (head.text.empty()) return expected("a head of the layer");
    int32_t l = 0, h = 0;
    const bool read = read_number(layer.text, l) && read_number(head.text, h);
    if (read && dst.has(l, h)) {
      return error(layer.begin, fmt::format("{}: head {}:{} is listed twice: keep one", stage.text, l, h));
    }
    if (read) dst.add(l, h);
    if (!read || dst.has_refused()) {
      const std::string_view written = text_.substr(layer.begin, head.begin + head.text.size() - layer.begin);
      return error(layer.begin, fmt::format("{}: {} has {}: write {}", stage.text, field.name, quoted(written),
                                            value_range(field, 0)));
    }
  } while (take(','));
  if (!take(']')) return expected("',' and another layer:head, or ']'");
  return {};
}

/// One share stands alone, several in brackets.
Result<void> Reader::list(const Token& stage, const Field& field, ShareList& dst) {
  const bool several = take('[');
  do {
    const Token token = word();
    if (token.text.empty()) return expected(fmt::format("{}={}", field.name, value_range(field, 0)));
    float share = 0;
    if (!read_number(token.text, share) || !(share >= field.low && share <= field.high) ||
        dst.size() == kMaxPolicyShares) {
      return error(token.begin, fmt::format("{}: {} has {}: write {}", stage.text, field.name, quoted(token.text),
                                            value_range(field, 0)));
    }
    dst.add(share);
  } while (several && take(','));
  if (several && !take(']')) return expected("',' and another share, or ']'");
  return {};
}

/// Required fields are there, and one of those of which one must be.
Result<void> Reader::complete(const Token& name, AnyStage& stage, const std::vector<bool>& given) const {
  const StageInfo& info = info_of(stage);
  for (size_t i = 0; i < given.size(); ++i) {
    const Field& field = info.fields[i];
    if (!field.required || given[i]) continue;
    return error(name.begin, fmt::format("{} lacks {}: write {}({}={})", info.name, field.name, info.name, field.name,
                                         value_range(field, 0)));
  }
  if (info.one_of_first > 0 && std::find(given.begin(), given.begin() + static_cast<long>(info.one_of_first), true) ==
                                   given.begin() + static_cast<long>(info.one_of_first)) {
    return error(name.begin, fmt::format("{} lacks a condition: give {}", info.name, one_of(info)));
  }
  if (std::string unfit = info.unfit != nullptr ? info.unfit(address_of(stage)) : ""; !unfit.empty()) {
    return error(name.begin, fmt::format("{}: {}", info.name, unfit));
  }
  return {};
}

}  // namespace

Result<std::vector<AnyStage>> read_stages(std::string_view text) { return Reader(text).policy(); }

}  // namespace fathom::policy_text
