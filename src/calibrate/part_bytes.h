// Numbers as bytes and back, little endian: what sections of fitted parts are made of. Reading is bounded: a count is
// believed only as far as there are bytes for it. Next in the flow: src/calibrate/parts.cc, router_parts.cc.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/agreement.h"
#include "fathom/core/result.h"
#include "kernels/ref/half.h"

namespace fathom {

class PartWriter {
 public:
  void u32(size_t value) {
    const auto number = static_cast<uint32_t>(value);
    raw(&number, sizeof number);
  }
  void name(std::string_view text) {
    u32(text.size());
    raw(text.data(), text.size());
  }
  void floats(std::span<const float> values) { raw(values.data(), values.size_bytes()); }
  void tokens(std::span<const int32_t> values) { raw(values.data(), values.size_bytes()); }
  void bf16(std::span<const float> values) {
    for (const float value : values) {
      const uint16_t bits = kernels::float_to_bfloat16(value);
      raw(&bits, sizeof bits);
    }
  }
  void map(const AgreementMap& map) {
    const std::vector<float> numbers = map.to_floats();
    u32(numbers.size());
    floats(numbers);
  }
  std::vector<std::byte> bytes;

 private:
  void raw(const void* data, size_t n) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + n);
  }
};

class PartReader {
 public:
  /// Reads a section of this name, which errors say.
  PartReader(std::string_view section, std::span<const std::byte> bytes) : section_(section), left_(bytes) {}

  ///   errors   format: cut off, or a value above `most`
  Result<uint32_t> u32(const char* what, uint32_t most) {
    uint32_t value = 0;
    FATHOM_TRY(copy(&value, sizeof value));
    if (value <= most) return value;
    return Error{ErrorCode::format, fmt::format("{}: {} {}: at most {}; calibrate again", section_, what, value, most)};
  }
  Result<std::string> name(const char* what, uint32_t most) {
    FATHOM_TRY(const uint32_t n, u32(what, most));
    std::string text(n, '\0');
    FATHOM_TRY(copy(text.data(), n));
    return text;
  }
  Result<std::vector<float>> floats(size_t n) { return list<float>(n); }
  Result<std::vector<int32_t>> tokens(size_t n) { return list<int32_t>(n); }
  Result<std::vector<float>> bf16(size_t n) {
    FATHOM_TRY(const std::vector<uint16_t> bits, list<uint16_t>(n));
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = kernels::bfloat16_to_float(bits[i]);
    return values;
  }
  Result<AgreementMap> map() {
    FATHOM_TRY(const uint32_t n, u32("numbers of a map", 1 + 2 * AgreementMap::kMaxKnots));
    FATHOM_TRY(const std::vector<float> numbers, floats(n));
    return AgreementMap::from_floats(numbers);
  }
  /// The section's format, which stands in front.
  ///   errors   unsupported: another than this build reads
  Result<void> format(uint32_t known) {
    FATHOM_TRY(const uint32_t found, u32("format", UINT32_MAX));
    if (found == known) return {};
    return Error{ErrorCode::unsupported, fmt::format("{} of format {}, and this Fathom reads {}: update Fathom or "
                                                     "calibrate again",
                                                     section_, found, known)};
  }
  ///   errors   format: bytes are left over
  Result<void> end() const {
    if (left_.empty()) return {};
    return Error{ErrorCode::format,
                 fmt::format("{}: {} bytes are left over: the sidecar is damaged", section_, left_.size())};
  }

 private:
  template <class T>
  Result<std::vector<T>> list(size_t n) {
    if (n > left_.size() / sizeof(T)) return cut_off();
    std::vector<T> values(n);
    FATHOM_TRY(copy(values.data(), n * sizeof(T)));
    return values;
  }
  Error cut_off() const {
    return {ErrorCode::format, fmt::format("{}: cut off: the sidecar is damaged; calibrate again", section_)};
  }
  Result<void> copy(void* dst, size_t n) {
    if (n > left_.size()) return cut_off();
    if (n > 0) std::memcpy(dst, left_.data(), n);
    left_ = left_.subspan(n);
    return {};
  }
  std::string_view section_;
  std::span<const std::byte> left_;
};

}  // namespace fathom
