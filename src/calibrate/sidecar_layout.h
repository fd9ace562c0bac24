// Where numbers stand in a sidecar, for its reader, its writer and those who forge one to test it; sidecar_file.cc says
// what they mean. Next in the flow: sidecar_file.cc.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "fathom/calibrate/sidecar_file.h"

namespace fathom::sidecar_layout {

inline constexpr size_t kHeaderBytes = 64;
inline constexpr size_t kEntryBytes = 64;
inline constexpr size_t kNameBytes = kMaxSectionName + 1;  // a name and at least one zero

// Places in the header; what is behind the last is zero.
inline constexpr size_t kFormatAt = 8, kCountAt = 12, kFileBytesAt = 16, kChecksumAt = 24, kHeaderEnd = 32;
// Places in an entry of the table; the same.
inline constexpr size_t kOffsetAt = 32, kBytesAt = 40, kHashAt = 48, kEntryEnd = 56;

template <class T>
T load(std::span<const std::byte> src, size_t at) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, src.data() + at, sizeof value);
  return value;
}

template <class T>
void store(std::span<std::byte> dst, size_t at, T value) {
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(dst.data() + at, &value, sizeof value);
}

constexpr uint64_t aligned(uint64_t offset) { return (offset + kSectionAlign - 1) / kSectionAlign * kSectionAlign; }

/// Gives a forged file the checksums that it should have, as far as its table can be followed.
void seal(std::span<std::byte> file);

}  // namespace fathom::sidecar_layout
