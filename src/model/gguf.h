// The bounded GGUF reader: a file's keys and tensor records, checked against its length before anything is believed.
// Next in the flow: model/config_reader.h, which makes a ModelConfig of the keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"

namespace fathom::gguf {

/// Types of metadata values, as GGUF numbers them.
enum class Kind : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// One metadata value: a range of the file, checked to lie inside it.
struct Value {
  Kind kind = Kind::u8;
  Kind element = Kind::u8;  // of an array; else the same as kind
  uint64_t count = 1;       // elements of an array
  std::span<const std::byte> data;

  bool is_array() const { return kind == Kind::array; }
};

struct Key {
  std::string_view name;  // lies in the file
  Value value;
  std::string_view origin = {};  // what it is called where it comes from, if that is no GGUF file
};

/// A tensor and the dimensions it was stored with, the contiguous one first.
struct TensorRecord {
  Tensor tensor;
  int n_dims = 0;
  int64_t dims[4] = {1, 1, 1, 1};
};

/// A checked file. Every view points into the bytes that were read.
struct File {
  uint32_t version = 0;
  uint64_t data_begin = 0;  // bytes before the tensor data
  std::vector<Key> keys;    // in the file's order
  std::vector<TensorRecord> tensors;

  /// Sorts keys and tensors by name; look-ups need it.
  ///   errors   format: a name twice
  Result<void> index();

  const Key* find_key(std::string_view name) const;
  const Value* find(std::string_view key) const;
  const TensorRecord* tensor(std::string_view name) const;

 private:
  std::vector<uint32_t> keys_by_name_, tensors_by_name_;  // sorted by name
};

// Limits, far above every real model: a hostile file cannot make the reader work or allocate beyond them.
inline constexpr uint64_t kMaxKeys = 1 << 16;
inline constexpr uint64_t kMaxTensors = 1 << 16;
inline constexpr uint64_t kMaxNameBytes = 1 << 10;
inline constexpr uint64_t kMaxArray = 1 << 25;
inline constexpr uint64_t kMaxMetadataBytes = uint64_t{1} << 28;
inline constexpr uint64_t kMaxAlignment = 1 << 16;

/// Reads keys and tensor records; touches no tensor data.
///   errors   format: not GGUF, cut short, a bound broken, names twice, tensors that overlap;
///            unsupported: version 1, big-endian, a tensor type Fathom cannot compute with (named)
///   cost     linear in the metadata, which is at most kMaxMetadataBytes
Result<File> read(std::span<const std::byte> bytes);

/// The elements of a string or an array of strings, in order.
class StringCursor {
 public:
  explicit StringCursor(const Value& value) : rest_(value.data) {}
  std::string_view next();

 private:
  std::span<const std::byte> rest_;
};

/// Element `i` of a number, boolean, or array of them, as a double or a 64-bit integer.
double number_at(const Value& value, uint64_t i);
int64_t integer_at(const Value& value, uint64_t i);

bool is_integer(Kind kind);
bool is_number(Kind kind);  // integers and floats
std::string_view name_of(Kind kind);

/// Bytes of a file made fit for a message: printable, one line, at most 80 characters.
std::string printable(std::string_view text);

}  // namespace fathom::gguf
