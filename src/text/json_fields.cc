// Fields with their paths, and the count of brackets and commas before a document is built.
#include "src/text/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/text/utf8.h"

namespace fathom {
namespace {

// What is wrong with a text's shape; nothing: it may be built. Follows brackets, commas and quotes alone: as long as a
// text is JSON that is what the parser sees, and where it is not the parser stops.
std::optional<Error> fault_of_shape(std::string_view text, std::string_view name, const JsonLimits& limits) {
  struct Level {
    bool object;
    size_t fields;  // or elements
  };
  std::vector<Level> open;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (open.size() >= static_cast<size_t>(limits.depth)) {
        return Error{ErrorCode::format,
                     fmt::format("{}: nested deeper than {} at byte {}: {}", name, limits.depth, i, limits.remedy)};
      }
      open.push_back({c == '{', 1});
    } else if (c == ',' && !open.empty()) {
      if (++open.back().fields > limits.fields && open.back().object) {
        return Error{ErrorCode::capacity, fmt::format("{}: an object of more than {} fields at byte {}: leave some out",
                                                      name, limits.fields, i)};
      }
    } else if ((c == '}' || c == ']') && !open.empty()) {
      open.pop_back();
    }
  }
  return std::nullopt;
}

}  // namespace

Result<JsonValue> parse_json(std::string_view bytes, std::string_view name, const JsonLimits& limits) {
  if (bytes.size() > limits.bytes) {
    return Error{ErrorCode::capacity,
                 fmt::format("{}: {} bytes of at most {}: leave parts out", name, bytes.size(), limits.bytes)};
  }
  std::string storage;
  const std::string_view text = text::valid_text(bytes, storage);
  if (auto fault = fault_of_shape(text, name, limits)) return *std::move(fault);
  try {
    return JsonValue::parse(text);
  } catch (const JsonValue::parse_error& error) {
    return Error{ErrorCode::format, fmt::format("{}: no JSON at byte {}: {}", name, error.byte, limits.remedy)};
  } catch (const JsonValue::exception&) {  // a number beyond double
    return Error{ErrorCode::format, fmt::format("{}: a number is out of range: {}", name, limits.remedy)};
  }
}

std::string JsonField::join(std::string_view name) const {
  std::string path = path_;
  if (!path.empty()) path += '.';
  return path += text::printable(name);
}

std::string JsonField::shown() const {
  if (value_ == nullptr) return "missing";
  return text::printable(value_->dump(-1, ' ', false, JsonValue::error_handler_t::replace).substr(0, 60));
}

void JsonField::fault(ErrorCode code, std::string_view what) const {
  if (!*error_) *error_ = Error{code, fmt::format("{}: {}", path_.empty() ? "the document" : path_, what)};
}

JsonField JsonField::operator[](const char* name) const {
  if (!given()) return {nullptr, join(name), error_};
  if (!value_->is_object()) {
    fault(ErrorCode::format, fmt::format("{}: give an object with {}", shown(), name));
    return {nullptr, join(name), error_};
  }
  const auto found = value_->find(name);
  return {found != value_->end() ? &*found : nullptr, join(name), error_};
}

std::string JsonField::text() const {
  if (given() && value_->is_string()) return value_->get<std::string>();
  fault(ErrorCode::format, shown() + ": give a string");
  return {};
}

double JsonField::number(double least, double most) const {
  if (given() && value_->is_number()) {
    const double value = value_->get<double>();
    if (value >= least && value <= most) return value;  // NaN, which JSON has not, would fail
  }
  fault(ErrorCode::format, fmt::format("{}: give a number from {} to {}", shown(), least, most));
  return least;
}

int64_t JsonField::whole(int64_t least, int64_t most) const {
  if (given() && value_->is_number()) {
    const double value = value_->get<double>();
    const bool in_range = value >= static_cast<double>(least) && value <= static_cast<double>(most);
    if (in_range && value == std::floor(value)) return std::clamp(static_cast<int64_t>(value), least, most);
  }
  fault(ErrorCode::format, fmt::format("{}: give a whole number from {} to {}", shown(), least, most));
  return least;
}

bool JsonField::flag() const {
  if (!given()) return false;
  if (value_->is_boolean()) return value_->get<bool>();
  fault(ErrorCode::format, shown() + ": give true or false");
  return false;
}

std::string JsonField::dump() const {
  if (!given()) return {};
  if (value_->is_object()) return value_->dump(-1, ' ', false, JsonValue::error_handler_t::replace);
  fault(ErrorCode::format, shown() + ": give an object");
  return {};
}

std::optional<double> JsonField::maybe_number(double least, double most) const {
  return given() ? std::optional<double>(number(least, most)) : std::nullopt;
}

std::optional<int64_t> JsonField::maybe_whole(int64_t least, int64_t most) const {
  return given() ? std::optional<int64_t>(whole(least, most)) : std::nullopt;
}

std::optional<uint64_t> JsonField::maybe_seed() const {
  if (!given()) return std::nullopt;
  if (value_->is_number_unsigned()) return value_->get<uint64_t>();
  fault(ErrorCode::format, shown() + ": give a whole number from 0 to 18446744073709551615");
  return std::nullopt;
}

size_t JsonField::length(size_t most) const {
  if (!given()) return 0;
  if (!value_->is_array()) return fault(ErrorCode::format, shown() + ": give an array"), 0;
  if (value_->size() <= most) return value_->size();
  fault(ErrorCode::capacity, fmt::format("{} elements of at most {}: leave some out", value_->size(), most));
  return 0;
}

bool JsonField::has_fields(size_t most) const {
  if (!given()) return false;
  if (!value_->is_object()) return fault(ErrorCode::format, shown() + ": give an object"), false;
  if (value_->size() <= most) return true;
  fault(ErrorCode::capacity, fmt::format("{} fields of at most {}: leave some out", value_->size(), most));
  return false;
}

JsonField JsonField::element(size_t i) const { return {&(*value_)[i], fmt::format("{}[{}]", path_, i), error_}; }

}  // namespace fathom
