// Typed access to keys: every error names the key, what was found, and what is expected.
// Next in the flow: config_reader.cc.
#include "src/model/metadata.h"

#include <fmt/format.h>

#include <cmath>

namespace fathom {

Error Metadata::missing(std::string_view name) const {
  return {ErrorCode::format,
          fmt::format("key {}: is missing and family {} has no default: convert the model again", key(name), family_)};
}

Result<int32_t> Metadata::checked(std::string_view name, const gguf::Value& value, uint64_t i, int32_t least,
                                  int32_t most) const {
  const int64_t x = gguf::integer_at(value, i);
  if (x < least || x > most) {
    return Error{ErrorCode::format,
                 fmt::format("key {}: {} is outside {} to {}: convert the model again", key(name), x, least, most)};
  }
  return static_cast<int32_t>(x);
}

Result<int32_t> Metadata::integer(std::string_view name, int32_t least, int32_t most, std::optional<int32_t> fallback) {
  FATHOM_TRY(const std::vector<int32_t> one, integers(name, 1, least, most, fallback));
  return one[0];
}

Result<std::vector<int32_t>> Metadata::integers(std::string_view name, int32_t n, int32_t least, int32_t most,
                                                std::optional<int32_t> fallback) {
  const gguf::Value* value = find(name);
  std::vector<int32_t> values(static_cast<size_t>(n));
  if (value == nullptr) {
    if (!fallback) return missing(name);
    values.assign(values.size(), *fallback);
    note(std::string(name), fmt::to_string(*fallback), std::string(kFamilyDefault));
    return values;
  }
  if (!gguf::is_integer(value->element)) {
    return Error{ErrorCode::format, fmt::format("key {}: holds {}, expected an integer: convert the model again",
                                                key(name), gguf::name_of(value->element))};
  }
  if (value->is_array() && value->count != static_cast<uint64_t>(n)) {
    return Error{ErrorCode::format, fmt::format("key {}: an array of {}, expected {}: convert the model again",
                                                key(name), value->count, n)};
  }
  for (int32_t i = 0; i < n; ++i) {
    FATHOM_TRY(values[static_cast<size_t>(i)],
               checked(name, *value, value->is_array() ? static_cast<uint64_t>(i) : 0, least, most));
  }
  note(std::string(name), value->is_array() ? fmt::format("{}", fmt::join(values, ",")) : fmt::to_string(values[0]),
       key(name));
  return values;
}

Result<float> Metadata::number(std::string_view name, float above, float most, std::optional<float> fallback) {
  const gguf::Value* value = find(name);
  if (value == nullptr) {
    if (!fallback) return missing(name);
    note(std::string(name), fmt::format("{:g}", *fallback), std::string(kFamilyDefault));
    return *fallback;
  }
  if (!gguf::is_number(value->kind)) {
    return Error{ErrorCode::format, fmt::format("key {}: is a {}, expected a number: convert the model again",
                                                key(name), gguf::name_of(value->kind))};
  }
  const auto x = static_cast<float>(gguf::number_at(*value, 0));
  if (!std::isfinite(x) || x <= above || x > most) {
    return Error{ErrorCode::format,
                 fmt::format("key {}: {:g} is not above {:g} and at most {:g}: convert the model again", key(name), x,
                             above, most)};
  }
  note(std::string(name), fmt::format("{:g}", x), key(name));
  return x;
}

Result<std::string> Metadata::text(std::string_view name, std::string_view fallback) const {
  const gguf::Value* value = find(name);
  if (value == nullptr) return std::string(fallback);
  if (value->kind != gguf::Kind::string) {
    return Error{ErrorCode::format, fmt::format("key {}: is a {}, expected a string: convert the model again",
                                                key(name), gguf::name_of(value->kind))};
  }
  return std::string(gguf::StringCursor(*value).next());
}

}  // namespace fathom
