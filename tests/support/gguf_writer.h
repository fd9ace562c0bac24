// GgufWriter: GGUF files in memory, right ones and, on purpose, wrong ones. Next: tests/support/tiny_model.h, built on
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::testing {

using Bytes = std::vector<std::byte>;

/// Every field is public, so that a test can break exactly one thing before bytes().
struct GgufWriter {
  struct Key {
    std::string name;
    uint32_t kind;  // gguf value type
    Bytes payload;
  };
  struct TensorEntry {
    std::string name;
    std::vector<uint64_t> dims;  // contiguous first
    uint32_t type;
    Bytes data;
    std::optional<uint64_t> offset;  // null: after the tensor before, aligned
  };

  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t alignment = 32;  // used for layout; written only when set_u32("general.alignment", ...) is called
  std::optional<uint64_t> n_keys, n_tensors;  // null: the true counts
  std::vector<Key> keys;
  std::vector<TensorEntry> tensors;

  // Setting a key again replaces it.
  void set_u32(const std::string& name, uint32_t value) { set(name, 4, payload_of(value)); }
  void set_i32(const std::string& name, int32_t value) { set(name, 5, payload_of(value)); }
  void set_f32(const std::string& name, float value) { set(name, 6, payload_of(value)); }
  void set_bool(const std::string& name, bool value) { set(name, 7, payload_of(static_cast<uint8_t>(value))); }
  void set_text(const std::string& name, std::string_view value);
  void set_texts(const std::string& name, const std::vector<std::string>& values);
  void set_i32s(const std::string& name, const std::vector<int32_t>& values);
  void set_f32s(const std::string& name, const std::vector<float>& values);
  void set(const std::string& name, uint32_t kind, Bytes payload);
  void remove(std::string_view name);  // a key or a tensor

  TensorEntry& tensor(std::string_view name);
  Bytes bytes() const;

  template <class T>
  static Bytes payload_of(T value) {
    Bytes out(sizeof(T));
    std::memcpy(out.data(), &value, sizeof(T));
    return out;
  }
};

}  // namespace fathom::testing
