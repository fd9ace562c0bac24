// The lines, value by value as the parser meets them: what is nested is refused where it begins. Next:
// generate_batch.cc.
#include "src/cli/prompt_lines.h"

#include <fmt/format.h>

#include <limits>

#include "src/cli/depth_picture.h"

namespace fathom::cli {
namespace {

constexpr std::string_view kForm = R"(write one object a line, such as {"text": "Once upon"})";

// A value of the file in quotes, cut where it is long, harmless to a terminal.
std::string shown(std::string_view value) {
  constexpr size_t kMost = 40;
  const std::string text = harmless(to_line(Json(std::string(value.substr(0, kMost)))));
  return value.size() > kMost ? text + "..." : text;
}

class LineReader final : public nlohmann::json_sax<Json> {
 public:
  explicit LineReader(const LineForm& form) : form_(form) {}

  PromptLine line;
  std::string fault;  // the first one; empty: none

  bool null() override { return misplaced("null"); }
  bool boolean(bool value) override { return misplaced(value ? "true" : "false"); }
  bool number_float(number_float_t, const string_t& digits) override { return misplaced(digits); }
  bool binary(binary_t&) override { return misplaced("bytes"); }
  bool start_array(size_t) override { return misplaced("[...]"); }
  bool end_array() override { return true; }

  bool number_integer(number_integer_t value) override {
    if (field_ != Field::id) return misplaced(fmt::to_string(value));
    line.id = value;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (field_ == Field::seed) return line.seed = value, true;
    if (field_ != Field::id) return misplaced(fmt::to_string(value));
    line.id = value;
    return true;
  }
  bool string(string_t& value) override {
    if (field_ == Field::id) return line.id = std::move(value), true;
    if (field_ != Field::text) return misplaced(shown(value));
    if (value.empty() && !form_.empty_text) return fail("text is empty: give at least one character");
    line.text = std::move(value);
    return true;
  }
  bool start_object(size_t) override {
    if (begun_) return misplaced("{...}");
    return begun_ = true;
  }
  bool key(string_t& name) override {
    for (const Field field : {Field::text, Field::id, Field::seed}) {
      if (name != name_of(field) || (field == Field::seed && !form_.seed)) continue;
      if (seen_[static_cast<size_t>(field)]) return fail(fmt::format("{} is given twice: give it once", name));
      field_ = field;
      return seen_[static_cast<size_t>(field)] = true;
    }
    return fail(fmt::format("no field {} is known: give {} alone", shown(name),
                            form_.seed ? "text, id and seed" : "text and id"));
  }
  bool end_object() override {
    if (seen_[static_cast<size_t>(Field::text)]) return true;
    return fail(fmt::format("text is missing: {}", kForm));
  }
  bool parse_error(size_t position, const std::string& last, const nlohmann::detail::exception&) override {
    return fail(fmt::format("no JSON at byte {}, at {}: {}", position, shown(last), kForm));
  }

 private:
  enum class Field : uint8_t { none, text, id, seed };

  static std::string_view name_of(Field field) {
    constexpr std::string_view kNames[] = {"", "text", "id", "seed"};
    return kNames[static_cast<size_t>(field)];
  }
  bool fail(std::string why) {
    if (fault.empty()) fault = std::move(why);
    return false;
  }
  bool misplaced(std::string_view value) {
    const std::string wanted =
        field_ == Field::text ? "give a string"
        : field_ == Field::id ? "give a string or a whole number of 64 bits"
                              : fmt::format("give a whole number from 0 to {}", std::numeric_limits<uint64_t>::max());
    if (!begun_) return fail(fmt::format("{} is no object: {}", value, kForm));
    return fail(fmt::format("{} {}: {}", name_of(field_), value, wanted));
  }

  LineForm form_;
  bool begun_ = false;
  bool seen_[4] = {};
  Field field_ = Field::none;
};

}  // namespace

Result<PromptLine> read_prompt_line(std::string_view text, const LineForm& form) {
  LineReader reader(form);
  if (text.find_first_not_of(" \t\r") == std::string_view::npos) {
    reader.fault = "the line is empty: take it out";
  } else {
    Json::sax_parse(text, &reader);
  }
  if (!reader.fault.empty()) return Error{ErrorCode::format, std::move(reader.fault)};
  return std::move(reader.line);
}

Result<std::vector<PromptLine>> read_prompt_lines(std::string_view jsonl, std::string_view name) {
  std::vector<PromptLine> lines;
  while (!jsonl.empty()) {
    const std::string_view text = jsonl.substr(0, jsonl.find('\n'));
    jsonl.remove_prefix(std::min(text.size() + 1, jsonl.size()));
    Result<PromptLine> line = read_prompt_line(text, {});
    if (!line) {
      return Error{ErrorCode::format, fmt::format("{}, line {}: {}", name, lines.size() + 1, line.error().message)};
    }
    lines.push_back(*std::move(line));
  }
  return lines;
}

}  // namespace fathom::cli
