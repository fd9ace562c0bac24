// The text of one split that no piece has taken yet, and random places in it. Next: pieces.cc.
#pragma once

#include <cstdint>
#include <optional>
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

class PiecePool {
 public:
  /// A place where a piece may begin.
  struct Place {
    size_t stretch = 0;
    uint64_t offset = 0;
  };

  /// Stretches shorter than `least_bytes` are never drawn.
  explicit PiecePool(uint64_t least_bytes) : least_bytes_(least_bytes) {}

  void add(const Stretch& stretch);

  /// A uniformly random byte of all that is free.
  ///   cost     the logarithm of the number of stretches
  std::optional<Place> draw(Random& random) const;

  /// Text from `begin`, at the place or behind it, to `end` is used up.
  void take(const Place& place, uint64_t begin, uint64_t end);

  /// No piece begins at the place or behind it.
  void refuse(const Place& place);

  const Stretch& operator[](size_t stretch) const { return stretches_[stretch]; }

 private:
  uint64_t starts(const Stretch& stretch) const;
  void replace(size_t i, const Stretch& stretch);

  uint64_t least_bytes_;
  uint64_t free_ = 0;  // sum of starts()
  std::vector<Stretch> stretches_;
  // Sums of starts().
  //   source   Fenwick 1994; sums_[i] is of the stretches (i - lowest bit of i, i], from 1
  std::vector<uint64_t> sums_ = {0};
};

}  // namespace fathom
