// What tests of drafts share: a source that is right as often as asked, and a chooser that throws dice.
// Next: lossless_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "fathom/engine/draft.h"

namespace fathom::testing {

/// Another run of dice, prompts and noise for each --gtest_random_seed; printed by GoogleTest where it is not 0.
inline uint64_t run_seed() {
  return 1000003 * static_cast<uint64_t>(::testing::UnitTest::GetInstance()->random_seed());
}

/// Knows how the text goes on, and says so with probability `right`; else it says anything.
class Oracle final : public DraftSource {
 public:
  Oracle(std::vector<int32_t> text, double right, int32_t vocab, uint64_t seed)
      : text_(std::move(text)), right_(right), vocab_(vocab), random_(seed) {}

  const char* name() const noexcept override { return "oracle"; }
  void begin(std::span<const int32_t> tokens) override { prompt_ = at_ = tokens.size(); }
  void commit(int32_t) override { ++at_; }
  int32_t propose(std::span<int32_t> dst) override {
    int32_t n = 0;
    for (size_t i = at_ - prompt_; n < std::ssize(dst) && i < text_.size(); ++i) {
      const bool right = std::uniform_real_distribution<>()(random_) < right_;
      dst[static_cast<size_t>(n++)] =
          right ? text_[i] : std::uniform_int_distribution<int32_t>(-1, vocab_)(random_);  // -1 and vocab end it
    }
    return n;
  }

 private:
  std::vector<int32_t> text_;
  double right_;
  int32_t vocab_;
  std::mt19937_64 random_;
  size_t prompt_ = 0, at_ = 0;
};

/// Any choice that an offer allows, and some that it does not.
class Dice final : public DraftChooser {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  DraftChoice choose(const DraftOffer& offer) override {
    const auto up_to = [&](int32_t most) { return std::uniform_int_distribution<int32_t>(0, most)(random_); };
    return {.own = up_to(1) == 0 ? 0 : up_to(offer.max_rows + 1), .source = up_to(offer.proposed + 1)};
  }
  void learn(const DraftOutcome& outcome) override {
    proposed += outcome.drafted;
    accepted += outcome.accepted;
  }
  int64_t proposed = 0, accepted = 0;

 private:
  std::mt19937_64 random_;
};

}  // namespace fathom::testing
