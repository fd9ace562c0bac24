// NgramDraft: the source that proposes what followed the last repetition. Next in the flow: src/engine/goodput.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/draft.h"

namespace fathom {

/// Orders of n-grams that are looked up, shortest first.
inline constexpr std::array kNgramOrders{1, 2, 4, 8};

class NgramDraft final : public DraftSource {
 public:
  const char* name() const noexcept override { return "ngram"; }
  void begin(std::span<const int32_t> tokens) override;
  void commit(int32_t token) override;
  int32_t propose(std::span<int32_t> dst) override;
  int32_t confidence() const noexcept override;

  /// Slots and tokens looked at since the text began; growing tables count too.
  int64_t work() const noexcept { return work_; }

 private:
  // Where a text goes on that went like ours, and how we came to that place.
  struct Match {
    int32_t place = -1;     // of the token to come; -1: none
    int32_t length = 0;     // tokens before it that are known to equal our last ones
    bool rejoined = false;  // found beside the place where a copy broke off
    friend bool operator==(const Match&, const Match&) = default;
  };

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  void follow(int32_t token);
  Match rejoin();
  Match enter();
  int32_t exchange(size_t order, uint64_t hash);
  void grow();

  std::vector<int32_t> tokens_;
  // [order][slots] the position behind the last n-gram with this hash, 0: none. A power of two, at most half full.
  std::array<std::vector<int32_t>, kNgramOrders.size()> tables_;
  Match match_;
  int32_t broken_ = -1;  // the place where a copy broke off; -1: none, or long ago
  int32_t since_ = 0;    // tokens since then, the one that broke it included
  uint32_t hits_ = 0;    // the last 32 guesses, the latest in bit 0
  int64_t work_ = 0;
};

}  // namespace fathom
