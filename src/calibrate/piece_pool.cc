// Free text by document. Next: pieces.cc.
#include "src/calibrate/piece_pool.h"

#include <algorithm>
#include <utility>

namespace fathom {

uint64_t PiecePool::starts(const Stretch& stretch) const {
  if (stretch.limit < stretch.begin + least_bytes_) return 0;
  const uint64_t end = std::min(stretch.starts_end, stretch.limit - least_bytes_ + 1);
  return end > stretch.begin ? end - stretch.begin : 0;
}

void PiecePool::add(const Stretch& stretch) {
  const uint64_t n = starts(stretch);
  if (n == 0) return;
  const auto [at, added] = room_of_.emplace(stretch.document, rooms_.size());
  if (added) rooms_.push_back({.document = stretch.document, .free = 0, .stretches = {}});
  Room& room = rooms_[at->second];
  room.stretches.push_back(stretches_.size());
  stretches_.push_back(stretch);
  room.free += n;
  free_ += n;
}

void PiecePool::replace(size_t i, const Stretch& stretch) {
  const uint64_t lost = starts(stretches_[i]) - starts(stretch);
  stretches_[i] = stretch;
  free_ -= lost;
  const size_t r = room_of_.at(stretch.document);
  rooms_[r].free -= lost;
  if (rooms_[r].free > 0) return;
  room_of_.erase(stretch.document);
  if (r + 1 < rooms_.size()) {
    rooms_[r] = std::move(rooms_.back());
    room_of_[rooms_[r].document] = r;
  }
  rooms_.pop_back();
}

std::optional<PiecePool::Place> PiecePool::draw(Random& random) const {
  if (free_ == 0) return std::nullopt;
  const Room* room = nullptr;
  uint64_t rest = 0;
  if (draw_ == Draw::text) {
    rest = random.below(free_);
    for (room = rooms_.data(); rest >= room->free; ++room) rest -= room->free;
  } else {
    room = &rooms_[random.below(rooms_.size())];
    rest = random.below(room->free);
  }
  for (const size_t i : room->stretches) {
    const uint64_t n = starts(stretches_[i]);
    if (rest < n) return Place{i, stretches_[i].begin + rest};
    rest -= n;
  }
  return std::nullopt;  // not reached: a room's sum is its stretches'
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
