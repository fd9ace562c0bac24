// Drafts from the text itself: what followed the last time that the text went like this. Every n-gram of the text is in
// a hash table of its order, the latest occurrence replacing the one before.
#include "src/engine/ngram_draft.h"

#include <algorithm>
#include <bit>
#include <memory>

namespace fathom {
namespace {

// Measured as tokens a second that an online chooser of lengths reaches over no drafting, eight rows costing 1.5 of
// one: four edits (renamed identifiers, typos, a translated table, a log), four natural texts, two tokenizers, means.
//   orders 2,3,4,6,8, classes by length                edits 3.17, code 1.28
//   classes by length and recent hits                        3.23       1.28
//   joining a broken copy again, classes for it              3.42       1.32
//   order 1 as well                                          3.42       1.40
//   orders 1,2,4,8, the joined place before matches < 4      3.49       1.38
//   the joined place before matches < 8                      3.58       1.38
constexpr int kProbes = 8;          // slots looked at for an n-gram; what finds none free takes the last one's
constexpr int kWindow = 16;         // places behind a break where the text may go on
constexpr int kPatience = 12;       // tokens after a break in which it may do so
constexpr int kWorthRejoining = 4;  // a copy of so many tokens is joined again after a break
constexpr int kOutranks = 8;        // and until then comes before shorter matches elsewhere

constexpr size_t kFirstSlots = 64;

uint64_t mixed(uint64_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

}  // namespace

void NgramDraft::begin(std::span<const int32_t> tokens) {
  *this = {};
  tokens_.reserve(2 * tokens.size());
  for (auto& table : tables_) table.resize(std::max(kFirstSlots, std::bit_ceil(2 * tokens.size() + 1)));
  for (const int32_t token : tokens) commit(token);
}

void NgramDraft::commit(int32_t token) {
  follow(token);
  tokens_.push_back(token);
  if (2 * tokens_.size() > tables_[0].size()) grow();
  const Match found = enter();
  // Near a break the place behind it is the better guess than what a short match says.
  if (broken_ >= 0 && !match_.rejoined && std::max(match_.length, found.length) < kOutranks) {
    if (const Match behind = rejoin(); behind.place >= 0) match_ = behind;
  }
  const bool outranked = broken_ >= 0 && match_.rejoined && found.length < kOutranks;
  if (found.length > match_.length && !outranked) match_ = found;
}

// The copy goes on, or breaks off here.
void NgramDraft::follow(int32_t token) {
  if (broken_ >= 0 && ++since_ > kPatience) broken_ = -1;
  if (match_.place < 0) return;
  const bool right = tokens_[static_cast<size_t>(match_.place)] == token;
  hits_ = hits_ << 1 | static_cast<uint32_t>(right);
  if (right) {
    ++match_.place, ++match_.length;
    return;
  }
  if (match_.length >= kWorthRejoining) broken_ = match_.place, since_ = 1;
  match_ = {};
}

// An edit: at first it is taken to have replaced one token; then the last token is looked for behind the break. Looking
// for it at once, as if tokens were removed, gained nothing (log 2.43 -> 2.30, renames 4.18 -> 4.21).
NgramDraft::Match NgramDraft::rejoin() {
  if (since_ == 1) return broken_ + 1 < size() ? Match{broken_ + 1, 0, true} : Match{};
  for (int32_t p = broken_; p < std::min(broken_ + kWindow, size() - 1); ++p) {
    ++work_;
    if (tokens_[static_cast<size_t>(p)] == tokens_.back()) return {p + 1, 1, true};
  }
  return {};
}

// Enters the n-grams that end here; returns what followed the longest of them before.
NgramDraft::Match NgramDraft::enter() {
  Match found;
  uint64_t hash = 0;
  int32_t n = 0;
  for (size_t order = 0; order < kNgramOrders.size() && kNgramOrders[order] <= size(); ++order) {
    for (; n < kNgramOrders[order]; ++n) hash = mixed(hash, tokens_[static_cast<size_t>(size() - 1 - n)]);
    const int32_t place = exchange(order, hash);
    if (place > 0) found = {place, n, false};
  }
  return found;
}

// Puts the text's end into the slot of its n-gram; returns what was there, 0 where it is the first.
int32_t NgramDraft::exchange(size_t order, uint64_t hash) {
  std::vector<int32_t>& table = tables_[order];
  const size_t n = static_cast<size_t>(kNgramOrders[order]);
  size_t at = hash & (table.size() - 1);
  for (int probe = 0;; ++probe, at = (at + 1) & (table.size() - 1)) {
    ++work_;
    const int32_t place = table[at];
    const bool same = place > 0 && std::equal(tokens_.end() - n, tokens_.end(), tokens_.begin() + place - n);
    if (!same && place > 0 && probe + 1 < kProbes) continue;
    table[at] = size();
    return same ? place : 0;
  }
}

void NgramDraft::grow() {
  for (auto& table : tables_) table.assign(std::max(kFirstSlots, 2 * table.size()), 0);
  std::vector<int32_t> all;
  all.reserve(2 * tokens_.capacity());
  all.swap(tokens_);
  for (size_t i = 0; i + 1 < all.size(); ++i) {  // the last is entered by the caller
    tokens_.push_back(all[i]);
    enter();
  }
  tokens_.push_back(all.back());
}

int32_t NgramDraft::propose(std::span<int32_t> dst) {
  if (match_.place < 0) return 0;
  // A copy that reaches the end of the text reads what it has proposed: a period goes on.
  const size_t place = static_cast<size_t>(match_.place);
  for (size_t i = 0; i < dst.size(); ++i) {
    dst[i] = place + i < tokens_.size() ? tokens_[place + i] : dst[place + i - tokens_.size()];
  }
  return static_cast<int32_t>(dst.size());
}

int32_t NgramDraft::confidence() const noexcept {
  const int32_t length = match_.length;
  const int kind = match_.rejoined && length < 4 ? (length == 0 ? 6 : 7)
                   : length < 4                  ? std::max(length, 1) - 1
                   : length < 8                  ? 3
                   : length < 16                 ? 4
                                                 : 5;
  const int good = std::popcount(hits_ & 15) >= 3;
  return 2 * kind + good;
}

std::unique_ptr<DraftSource> ngram_draft() { return std::make_unique<NgramDraft>(); }

}  // namespace fathom
