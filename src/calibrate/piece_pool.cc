// Free text as a tree of sums. Next: pieces.cc.
#include "src/calibrate/piece_pool.h"

#include <algorithm>
#include <bit>

namespace fathom {
namespace {

constexpr size_t lowest_bit(size_t i) { return i & (~i + 1); }

}  // namespace

uint64_t PiecePool::starts(const Stretch& stretch) const {
  if (stretch.limit < stretch.begin + least_bytes_) return 0;
  const uint64_t end = std::min(stretch.starts_end, stretch.limit - least_bytes_ + 1);
  return end > stretch.begin ? end - stretch.begin : 0;
}

void PiecePool::add(const Stretch& stretch) {
  const uint64_t n = starts(stretch);
  if (n == 0) return;
  stretches_.push_back(stretch);
  free_ += n;
  const size_t i = stretches_.size();
  sums_.push_back(n);
  for (size_t j = 1; j < lowest_bit(i); j *= 2) sums_[i] += sums_[i - j];
}

void PiecePool::replace(size_t i, const Stretch& stretch) {
  const uint64_t lost = starts(stretches_[i]) - starts(stretch);
  stretches_[i] = stretch;
  free_ -= lost;
  for (size_t j = i + 1; j < sums_.size(); j += lowest_bit(j)) sums_[j] -= lost;
}

std::optional<PiecePool::Place> PiecePool::draw(Random& random) const {
  if (free_ == 0) return std::nullopt;
  uint64_t rest = random.below(free_);
  size_t i = 0;
  for (size_t step = std::bit_floor(stretches_.size()); step > 0; step /= 2) {
    if (i + step >= sums_.size() || sums_[i + step] > rest) continue;
    i += step;
    rest -= sums_[i];
  }
  return Place{i, stretches_[i].begin + rest};
}

void PiecePool::take(const Place& place, uint64_t begin, uint64_t end) {
  Stretch left = stretches_[place.stretch];
  Stretch right = left;
  left.limit = begin;
  left.starts_end = std::min(left.starts_end, begin);
  right.begin = end;
  replace(place.stretch, left);
  add(right);
}

void PiecePool::refuse(const Place& place) {
  Stretch rest = stretches_[place.stretch];
  rest.starts_end = place.offset;
  replace(place.stretch, rest);
}

}  // namespace fathom
