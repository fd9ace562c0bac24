// The line, value by value as the parser meets them: only the text and its id are kept. Next: documents.cc.
#include "src/calibrate/document_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "src/text/utf8.h"

namespace fathom {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kForm = R"(write one object a line, such as {"text": "Once upon"})";
constexpr int kMaxDepth = 64;

class LineReader final : public nlohmann::json_sax<Json> {
 public:
  DocumentLine line;
  std::string fault;  // the first one; empty: none

  bool null() override { return other("null"); }
  bool boolean(bool value) override { return other(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return whole(fmt::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return whole(fmt::to_string(value)); }
  bool number_float(number_float_t, const string_t& digits) override { return other(digits); }
  bool binary(binary_t&) override { return other("bytes"); }
  bool string(string_t& value) override {
    if (depth_ != 1 || field_ == nullptr) return other(text::printable(value));
    if (field_ == kId) return line.id = std::move(value), true;
    line.text = std::move(value);
    line.prompt = field_ == kPrompt;
    return found_ = true;
  }
  bool start_array(size_t) override { return other("[...]") && deeper(); }
  bool end_array() override { return --depth_, true; }
  bool start_object(size_t) override { return (depth_ == 0 || other("{...}")) && deeper(); }
  bool end_object() override {
    if (--depth_ > 0 || found_) return true;
    return fail(fmt::format("neither text nor prompt is there: {}", kForm));
  }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    field_ = name == kText ? kText : name == kPrompt ? kPrompt : name == kId ? kId : nullptr;
    if (field_ == nullptr || field_ == kId || !found_) return true;
    if (line.prompt == (field_ == kPrompt)) return fail(fmt::format("{} is given twice: give it once", name));
    return fail("both text and prompt are given: keep text, or prompt where the model is to continue it");
  }
  bool parse_error(size_t position, const std::string& last, const nlohmann::detail::exception&) override {
    return fail(fmt::format("no JSON at byte {}, at \"{}\": {}", position, text::printable(last), kForm));
  }

 private:
  static constexpr const char* kText = "text";
  static constexpr const char* kPrompt = "prompt";
  static constexpr const char* kId = "id";

  bool fail(std::string why) {
    if (fault.empty()) fault = std::move(why);
    return false;
  }
  bool whole(std::string value) {
    if (depth_ == 1 && field_ == kId) return line.id = std::move(value), true;
    return other(value);
  }
  // A value that is no document.
  bool other(std::string_view value) {
    if (depth_ == 0) return fail(fmt::format("{} is no object: {}", value, kForm));
    if (depth_ == 1 && field_ != nullptr && field_ != kId)
      return fail(fmt::format("{} is {}: give a string", field_, value));
    return true;
  }
  bool deeper() {
    if (++depth_ <= kMaxDepth) return true;
    return fail(fmt::format("nested more than {} levels deep: leave out what is neither text nor prompt", kMaxDepth));
  }

  int depth_ = 0;
  const char* field_ = nullptr;  // what the value at hand belongs to, of the three that are read
  bool found_ = false;
};

}  // namespace

Result<DocumentLine> read_document_line(std::string_view line) {
  LineReader reader;
  Json::sax_parse(line, &reader);
  if (!reader.fault.empty()) return Error{ErrorCode::format, std::move(reader.fault)};
  return std::move(reader.line);
}

}  // namespace fathom
