// The merge loop that both BPE kinds share: the best pair first, the leftmost among equals.
// Next in the flow: text/sentencepiece.h and text/byte_bpe.h, which say what merges into what.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "src/text/token_index.h"

namespace fathom::text {

/// A piece of the text on its way to a token.
struct Symbol {
  uint32_t begin = 0;   // byte offset
  uint32_t size = 0;    // bytes; 0: merged into a symbol on the left
  int32_t id = -1;      // -1: not a token
  bool frozen = false;  // never merges
};

/// Room for the merge loop, kept between words.
struct MergeScratch {
  struct Link {
    int32_t prev, next;
  };
  struct Candidate {
    uint64_t order;  // priority, then place
    uint32_t size;   // of both symbols: a candidate is stale when they have grown
    int32_t id;
  };
  std::vector<Merge> merges;
  std::vector<Link> links;
  std::vector<Candidate> heap;
};

inline constexpr size_t kShortWord = 24;  // symbols; up to here a scan is faster than a heap

/// Merges by scanning for the best pair again and again. `lookup(left, right)` returns a Merge.
///   cost     symbols squared
template <class Lookup>
void merge_short(std::vector<Symbol>& symbols, MergeScratch& scratch, const Lookup& lookup) {
  constexpr uint64_t kNone = ~uint64_t{0};
  std::vector<Merge>& merges = scratch.merges;
  const auto look = [&](size_t i) {
    return symbols[i].frozen || symbols[i + 1].frozen ? Merge{} : lookup(symbols[i], symbols[i + 1]);
  };
  merges.resize(symbols.size());
  for (size_t i = 0; i + 1 < symbols.size(); ++i) merges[i] = look(i);
  while (symbols.size() > 1) {
    uint64_t best = kNone;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const uint64_t order = static_cast<uint64_t>(merges[i].priority) << 32 | i;
      if (merges[i].id >= 0 && order < best) best = order;
    }
    if (best == kNone) return;
    const size_t at = best & 0xFFFFFFFFu;
    symbols[at].size += symbols[at + 1].size;
    symbols[at].id = merges[at].id;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
    merges.erase(merges.begin() + static_cast<ptrdiff_t>(at) + 1);
    if (at > 0) merges[at - 1] = look(at - 1);
    if (at + 1 < symbols.size()) merges[at] = look(at);
  }
}

/// The same by a heap of candidates over linked symbols.
///   cost     symbols * log(symbols)
template <class Lookup>
void merge_long(std::vector<Symbol>& symbols, MergeScratch& scratch, const Lookup& lookup) {
  using Candidate = MergeScratch::Candidate;
  std::vector<MergeScratch::Link>& links = scratch.links;
  std::vector<Candidate>& heap = scratch.heap;
  const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
  const auto candidate = [&](int32_t left, Candidate& dst) {
    const int32_t right = left < 0 ? -1 : links[left].next;
    if (right < 0 || symbols[left].frozen || symbols[right].frozen) return false;
    const Merge merge = lookup(symbols[left], symbols[right]);
    if (merge.id < 0) return false;
    dst = {static_cast<uint64_t>(merge.priority) << 32 | static_cast<uint32_t>(left),
           symbols[left].size + symbols[right].size, merge.id};
    return true;
  };

  const auto n = static_cast<int32_t>(symbols.size());
  links.resize(symbols.size());
  for (int32_t i = 0; i < n; ++i) links[i] = {i - 1, i + 1 < n ? i + 1 : -1};
  heap.clear();
  Candidate c{};
  for (int32_t i = 0; i < n; ++i) {
    if (candidate(i, c)) heap.push_back(c);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    const auto left = static_cast<int32_t>(top.order & 0xFFFFFFFFu);
    const int32_t right = links[left].next;
    if (symbols[left].size == 0 || right < 0 || symbols[left].size + symbols[right].size != top.size) continue;
    symbols[left].size = top.size;
    symbols[left].id = top.id;
    symbols[right].size = 0;
    links[left].next = links[right].next;
    if (links[left].next >= 0) links[links[left].next].prev = left;
    for (const int32_t at : {links[left].prev, left}) {
      if (!candidate(at, c)) continue;
      heap.push_back(c);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  symbols.erase(std::remove_if(symbols.begin(), symbols.end(), [](const Symbol& s) { return s.size == 0; }),
                symbols.end());
}

}  // namespace fathom::text
