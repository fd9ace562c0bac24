// Single values of a checked file: look-ups by name, numbers, strings, and names fit for messages.
// Next in the flow: config_reader.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/model/gguf.h"

namespace fathom::gguf {
namespace {

template <class T>
T load(const Value& value, uint64_t i) {
  T x;
  std::memcpy(&x, value.data.data() + i * sizeof(T), sizeof(T));
  return x;
}

template <class Out>
Out convert(const Value& value, uint64_t i) {
  switch (value.element) {
    case Kind::u8:
      return static_cast<Out>(load<uint8_t>(value, i));
    case Kind::i8:
      return static_cast<Out>(load<int8_t>(value, i));
    case Kind::u16:
      return static_cast<Out>(load<uint16_t>(value, i));
    case Kind::i16:
      return static_cast<Out>(load<int16_t>(value, i));
    case Kind::u32:
      return static_cast<Out>(load<uint32_t>(value, i));
    case Kind::i32:
      return static_cast<Out>(load<int32_t>(value, i));
    case Kind::u64:
      return static_cast<Out>(load<uint64_t>(value, i));
    case Kind::i64:
      return static_cast<Out>(load<int64_t>(value, i));
    case Kind::f32:
      return static_cast<Out>(load<float>(value, i));
    case Kind::f64:
      return static_cast<Out>(load<double>(value, i));
    case Kind::boolean:
      return static_cast<Out>(load<uint8_t>(value, i) != 0);
    case Kind::string:
    case Kind::array:
      break;
  }
  return Out{};
}

template <class Name>
Result<void> sort_names(std::vector<uint32_t>& order, size_t n, std::string_view what, Name name) {
  order.resize(n);
  for (size_t i = 0; i < n; ++i) order[i] = static_cast<uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
  for (size_t i = 1; i < n; ++i) {
    if (name(order[i - 1]) != name(order[i])) continue;
    return Error{ErrorCode::format,
                 fmt::format("{} {}: stands twice in the file: remove one", what, printable(name(order[i])))};
  }
  return {};
}

}  // namespace

std::string_view StringCursor::next() {
  uint64_t length;
  std::memcpy(&length, rest_.data(), sizeof(length));
  const std::string_view text(reinterpret_cast<const char*>(rest_.data()) + sizeof(length), length);
  rest_ = rest_.subspan(sizeof(length) + length);
  return text;
}

double number_at(const Value& value, uint64_t i) { return convert<double>(value, i); }

int64_t integer_at(const Value& value, uint64_t i) {
  FATHOM_ASSERT(is_integer(value.element) || value.element == Kind::boolean);
  if (value.element == Kind::u64) return static_cast<int64_t>(std::min<uint64_t>(load<uint64_t>(value, i), INT64_MAX));
  if (value.element == Kind::f32 || value.element == Kind::f64) return 0;
  return convert<int64_t>(value, i);
}

bool is_integer(Kind kind) {
  return kind != Kind::f32 && kind != Kind::f64 && kind != Kind::boolean && kind != Kind::string && kind != Kind::array;
}

bool is_number(Kind kind) { return is_integer(kind) || kind == Kind::f32 || kind == Kind::f64; }

std::string_view name_of(Kind kind) {
  static constexpr std::string_view kNames[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                "boolean", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(kind)];
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kLongest) out += "...";
  return out;
}

Result<void> File::index() {
  FATHOM_TRY(sort_names(keys_by_name_, keys.size(), "key", [this](uint32_t i) { return keys[i].name; }));
  return sort_names(tensors_by_name_, tensors.size(), "tensor",
                    [this](uint32_t i) -> std::string_view { return tensors[i].tensor.name; });
}

const Key* File::find_key(std::string_view name) const {
  const auto it = std::lower_bound(keys_by_name_.begin(), keys_by_name_.end(), name,
                                   [this](uint32_t i, std::string_view k) { return keys[i].name < k; });
  return it != keys_by_name_.end() && keys[*it].name == name ? &keys[*it] : nullptr;
}

const Value* File::find(std::string_view name) const {
  const Key* const key = find_key(name);
  return key != nullptr ? &key->value : nullptr;
}

const TensorRecord* File::tensor(std::string_view name) const {
  const auto it = std::lower_bound(tensors_by_name_.begin(), tensors_by_name_.end(), name,
                                   [this](uint32_t i, std::string_view k) { return tensors[i].tensor.name < k; });
  return it != tensors_by_name_.end() && tensors[*it].tensor.name == name ? &tensors[*it] : nullptr;
}

}  // namespace fathom::gguf
