// The text of one split that no piece has taken yet, and random places in it. Next: pieces.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "src/calibrate/random.h"

namespace fathom {

/// A part of a document that one split may use. Bytes count from the document's beginning.
struct Stretch {
  size_t document = 0;
  uint64_t begin = 0;
  uint64_t limit = 0;       // no piece passes it
  uint64_t starts_end = 0;  // no piece begins here or behind
};

/// Which document a piece is of, by chance.
enum class Draw : uint8_t {
  documents,  ///< each that has room is as likely as any other
  text,       ///< each byte is: a document by the length of its text that is left
};

class PiecePool {
 public:
  /// A place where a piece may begin.
  struct Place {
    size_t stretch = 0;
    uint64_t offset = 0;
  };

  /// Stretches shorter than `least_bytes` are never drawn.
  PiecePool(uint64_t least_bytes, Draw draw) : least_bytes_(least_bytes), draw_(draw) {}

  void add(const Stretch& stretch);

  /// A random document, and a uniformly random byte of what is free of it.
  ///   cost     linear in the stretches of the document; under Draw::text in the documents too
  std::optional<Place> draw(Random& random) const;

  /// Text from `begin`, at the place or behind it, to `end` is used up.
  void take(const Place& place, uint64_t begin, uint64_t end);

  /// No piece begins at the place or behind it.
  void refuse(const Place& place);

  const Stretch& operator[](size_t stretch) const { return stretches_[stretch]; }

 private:
  /// A document with room.
  struct Room {
    size_t document = 0;
    uint64_t free = 0;              // sum of starts()
    std::vector<size_t> stretches;  // of stretches_
  };

  uint64_t starts(const Stretch& stretch) const;
  void replace(size_t i, const Stretch& stretch);

  uint64_t least_bytes_;
  Draw draw_;
  uint64_t free_ = 0;  // of all rooms
  std::vector<Stretch> stretches_;
  std::vector<Room> rooms_;
  std::unordered_map<size_t, size_t> room_of_;  // by document
};

}  // namespace fathom
