// The trace file's bytes: the primitives and the running predictions that writer and reader share.
// Next in the flow: trace.cc writes them, reader.cc reads them.
//
//   file     "FATHOMTR", version (u32), header record, event records
//   record   payload bytes (u32), checksum (u32: low half of XXH3 of the payload, seeded with the record's offset),
//   payload  events, each a tag byte, a count and its rows; the header record holds the fields of TraceHeader.
//            A record ends behind the commits of its step; what the step takes back begins the next one
//
// Integers are little-endian base-128 varints, floats four little-endian bytes. What a reader can predict from the
// records before (which row comes next, its counters, the work at this layer) takes one bit of a row's flags.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "fathom/head/head_way.h"
#include "fathom/policy/decision.h"

namespace fathom::trace_format {

inline constexpr char kMagic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'T', 'R'};
inline constexpr uint32_t kVersion = 4;
inline constexpr uint32_t kMaxRecordBytes = uint32_t{1} << 20;
inline constexpr uint32_t kMaxHeaderBytes = uint32_t{1} << 24;
inline constexpr int32_t kMaxLayers = 4096;
inline constexpr size_t kMaxEventRows = 1024;  // longer events are written in parts
inline constexpr size_t kMaxStepRows = 65536;  // rows of a step that are remembered; those beyond name themselves
inline constexpr size_t kFlushBytes = 65536;   // a record of this size is written before its step ends

enum class Tag : uint8_t { rows = 1, more_rows = 2, boundary = 3, commit = 4, rollback = 5, choice = 6, fates = 7 };

// Flags of a row in a rows event.
enum : uint8_t { kGenerated = 1, kOtherSequence = 2, kOtherPosition = 4, kDraft = 8, kSettled = 16 };
// Flags of a row in a boundary event.
enum : uint8_t {
  kDecided = 1,     // the decision is not {run, -1}
  kCounted = 2,     // `generated` differs from the row's last boundary
  kSpent = 4,       // work_spent and work_rows differ
  kIfExit = 8,      // work_if_exit differs from the last row at this layer
  kIfRun = 16,      // work_if_run differs
  kNotNext = 32,    // the row is not the next of the step
  kNoSignals = 64,  // every signal of the row is NaN
};
// Flags of a row in a commit event.
enum : uint8_t { kCommitNotNext = 1, kNoToken = 2, kDepth = 4, kWork = 8, kHead = 16 };
// Flags of a choice; a number without its flag is 0.
enum : uint8_t { kChosenSequence = 1, kChosenPosition = 2, kOwn = 4, kSource = 8, kProposed = 16, kConfidence = 32 };
// Flags of a fate. The first of an event is predicted to be of sequence 0 and position 0, each other behind the one
// before it.
enum : uint8_t { kFateSequence = 1, kFatePosition = 2, kRemoved = 4, kJoined = 8 };

/// A row of the running step and what its last boundary said.
struct KnownRow {
  int32_t sequence = 0;
  int32_t position = 0;
  RowKind kind = RowKind::prompt;
  int32_t generated = 0;
  float work_spent = 0;
  float work_rows = 0;
};

/// What both sides remember between events.
struct Memory {
  explicit Memory(int32_t n_layers) : layers(static_cast<size_t>(n_layers)) {}

  struct LayerWork {
    float if_exit = 0;
    float if_run = 0;
  };
  std::vector<KnownRow> rows;     // of the running step
  std::vector<LayerWork> layers;  // [n_layers] of the last row at each boundary
  int32_t sequence = 0;           // of the last row that entered, or of the one before the row that is expected
  int32_t position = -1;
  float depth = 0;  // of the last commit
  float work = 0;
  HeadWay head = HeadWay::none;

  void enter(const KnownRow& row) {
    sequence = row.sequence;
    position = row.position;
    if (rows.size() < kMaxStepRows) rows.push_back(row);
  }

  // The row to enter next is predicted to be this one.
  void expect(int32_t next_sequence, int32_t next_position) {
    sequence = next_sequence;
    position = static_cast<int32_t>(int64_t{next_position} - 1);
  }

  bool expects(int32_t next_position) const { return next_position == int64_t{position} + 1; }
};

/// The position behind another; behind the last one, the first.
constexpr int32_t behind(int32_t position) {
  return position == std::numeric_limits<int32_t>::max() ? 0 : position + 1;
}

constexpr uint32_t zigzag(int32_t x) { return (static_cast<uint32_t>(x) << 1) ^ static_cast<uint32_t>(x >> 31); }
constexpr int32_t unzigzag(uint32_t x) { return static_cast<int32_t>((x >> 1) ^ (~(x & 1) + 1)); }
inline uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
inline bool same_bits(float a, float b) { return bits_of(a) == bits_of(b); }

/// Appends to a payload.
class Output {
 public:
  std::string bytes;

  void u8(uint8_t x) { bytes.push_back(static_cast<char>(x)); }
  void varint(uint64_t x) {
    for (; x >= 128; x >>= 7) u8(static_cast<uint8_t>(x | 128));
    u8(static_cast<uint8_t>(x));
  }
  void u32(uint32_t x) {
    for (int i = 0; i < 4; ++i) u8(static_cast<uint8_t>(x >> (8 * i)));
  }
  void f32(float x) { u32(bits_of(x)); }
  void text(const std::string& s) {
    varint(s.size());
    bytes += s;
  }
};

/// Reads a payload; after the first impossible byte `ok` is false and every value is 0.
class Input {
 public:
  Input() = default;
  Input(const uint8_t* begin, const uint8_t* end) : at_(begin), end_(end) {}

  bool ok = true;
  bool empty() const { return at_ == end_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }

  uint8_t u8() {
    if (at_ == end_) return ok = false, uint8_t{0};
    return *at_++;
  }
  uint64_t varint() {
    uint64_t x = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = u8();
      x |= uint64_t{b & 127u} << shift;
      if (b < 128) return ok ? x : 0;
    }
    return ok = false, 0;
  }
  /// A varint up to `most`.
  uint32_t varint(uint32_t most) {
    const uint64_t x = varint();
    if (x > most) return ok = false, 0;
    return static_cast<uint32_t>(x);
  }
  uint32_t u32() {
    uint32_t x = 0;
    for (int i = 0; i < 4; ++i) x |= uint32_t{u8()} << (8 * i);
    return ok ? x : 0;
  }
  float f32() { return std::bit_cast<float>(u32()); }
  std::string text() {
    const uint64_t n = varint();
    if (n > left()) return ok = false, std::string();
    std::string s(reinterpret_cast<const char*>(at_), static_cast<size_t>(n));
    at_ += n;
    return s;
  }

 private:
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
};

/// The checksum of a record's payload.
uint32_t checksum(const void* payload, size_t bytes, uint64_t offset);

}  // namespace fathom::trace_format
