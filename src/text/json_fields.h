// Checked reading of JSON that anyone may have written: a value knows its path, and the first fault is kept.
// Next: json_fields.cc.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

using JsonValue = nlohmann::ordered_json;

struct JsonLimits {
  size_t bytes = size_t{32} << 20;
  int depth = 16;        // arrays and objects inside one another
  size_t fields = 1024;  // of one object, which looks at all of them for each
  std::string_view remedy = "give a file that fathom wrote";
};

/// Parses after counting brackets and commas, so that nothing deep or wide is ever built. Bytes that are no UTF-8
/// become U+FFFD.
///   name     what errors call the text
///   errors   capacity: too long, too many fields; format: no JSON, at which byte, or nested too deep
Result<JsonValue> parse_json(std::string_view text, std::string_view name, const JsonLimits& limits = {});

/// A value in a document. Reading what is wrong gives a harmless value and notes the fault in `error`, once: a reader
/// reads all it wants and looks at the end.
class JsonField {
 public:
  JsonField(const JsonValue* value, std::string path, std::optional<Error>* error)
      : value_(value), path_(std::move(path)), error_(error) {}

  /// Whether there is anything: null is as good as missing.
  bool given() const { return value_ != nullptr && !value_->is_null(); }
  explicit operator bool() const { return given(); }
  bool is_object() const { return given() && value_->is_object(); }
  bool is_text() const { return given() && value_->is_string(); }

  /// A field of an object; of a missing value, a missing one.
  JsonField operator[](const char* name) const;

  // What must be there.
  std::string text() const;
  double number(double least, double most) const;
  int64_t whole(int64_t least, int64_t most) const;

  // What may be missing.
  std::string text_or(std::string_view otherwise) const { return given() ? text() : std::string(otherwise); }
  bool flag() const;         // missing: false
  std::string dump() const;  // an object's JSON; missing: empty
  std::optional<double> maybe_number(double least, double most) const;
  std::optional<int64_t> maybe_whole(int64_t least, int64_t most) const;
  std::optional<uint64_t> maybe_seed() const;  // all 64 bits, of which a double would lose some

  /// Calls visit(JsonField) for each element of an array; none where it is missing.
  template <class Visit>
  void each(size_t most, Visit&& visit) const {
    const size_t n = length(most);
    for (size_t i = 0; i < n; ++i) visit(element(i));
  }
  /// Calls visit(name, JsonField) for each field of an object; none where it is missing.
  template <class Visit>
  void each_named(size_t most, Visit&& visit) const {
    if (!has_fields(most)) return;
    for (const auto& [name, value] : value_->items()) visit(name, JsonField(&value, join(name), error_));
  }

  /// Notes that the value is wrong: "path: what".
  void fault(ErrorCode code, std::string_view what) const;

 private:
  std::string join(std::string_view name) const;
  std::string shown() const;
  size_t length(size_t most) const;
  bool has_fields(size_t most) const;
  JsonField element(size_t i) const;

  const JsonValue* value_;
  std::string path_;
  std::optional<Error>* error_;
};

}  // namespace fathom
