// What the n-gram source proposes for texts that repeat themselves, and what it costs. Next: src/engine/goodput.cc.
#include "src/engine/ngram_draft.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace fathom {
namespace {

using Tokens = std::vector<int32_t>;

Tokens proposal(DraftSource& source, size_t room) {
  Tokens dst(room);
  dst.resize(static_cast<size_t>(source.propose(dst)));
  return dst;
}

Tokens random_tokens(size_t n, int32_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens(n);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  return tokens;
}

Tokens iota(int32_t first, int32_t n) {
  Tokens tokens(static_cast<size_t>(n));
  for (int32_t i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = first + i;
  return tokens;
}

TEST(NgramDraft, ATextWithoutRepetitionHasNoProposal) {
  const auto source = ngram_draft();
  source->begin({});
  EXPECT_EQ(proposal(*source, 4), Tokens());
  source->begin(iota(0, 500));
  EXPECT_EQ(proposal(*source, 4), Tokens());
  EXPECT_GE(source->confidence(), 0);
}

TEST(NgramDraft, ProposesAsManyAsThereIsRoomFor) {
  const auto source = ngram_draft();
  source->begin(iota(0, 100));
  source->commit(10);
  source->commit(11);
  for (int32_t room = 0; room <= 20; ++room) EXPECT_EQ(proposal(*source, static_cast<size_t>(room)), iota(12, room));
}

TEST(NgramDraft, TheLongestMatchWinsOverTheLatest) {
  const auto source = ngram_draft();
  source->begin(Tokens{1, 2, 3, 4, 50, 9, 3, 4, 60, 9, 1, 2, 3, 4});
  EXPECT_EQ(proposal(*source, 1), Tokens{50});
}

TEST(NgramDraft, OfEquallyLongMatchesTheLatestWins) {
  const auto source = ngram_draft();
  source->begin(Tokens{1, 2, 50, 7, 1, 2, 60, 8, 1, 2});
  EXPECT_EQ(proposal(*source, 1), Tokens{60});
}

TEST(NgramDraft, APeriodGoesOnBeyondTheEndOfTheText) {
  const auto source = ngram_draft();
  source->begin(Tokens{5, 1, 2, 1, 2});
  EXPECT_EQ(proposal(*source, 7), (Tokens{1, 2, 1, 2, 1, 2, 1}));
  source->begin(Tokens{7, 7});
  EXPECT_EQ(proposal(*source, 5), (Tokens{7, 7, 7, 7, 7}));
}

// The copy of the first of two places that go on alike is not left for the second.
TEST(NgramDraft, ACopyThatWasRightGoesOnWhereItIs) {
  const auto source = ngram_draft();
  source->begin(Tokens{1, 2, 3, 4, 5, 6, 50, 90, 5, 6, 60, 91, 1, 2});
  for (const int32_t token : {3, 4, 5, 6}) {
    EXPECT_EQ(proposal(*source, 1), Tokens{token});
    source->commit(token);
  }
  EXPECT_EQ(proposal(*source, 1), Tokens{50});
}

TEST(NgramDraft, ACopyIsJoinedAgainBehindAnEdit) {
  struct Edit {
    const char* what;
    Tokens instead;    // of token 30 of the text 0, 1, ..
    int32_t goes_on;   // where the text goes on behind the edit
    int32_t to_learn;  // tokens behind the edit that are needed to see it
  };
  for (const Edit& edit : {Edit{"one token replaced", {900}, 31, 0}, Edit{"one by three", {900, 901, 902}, 31, 1},
                           Edit{"two tokens added", {900, 901}, 30, 1}, Edit{"removed", {}, 31, 2},
                           Edit{"five tokens removed", {}, 35, 2}}) {
    SCOPED_TRACE(edit.what);
    const auto source = ngram_draft();
    source->begin(iota(0, 60));
    for (const int32_t token : iota(20, 10)) source->commit(token);
    for (const int32_t token : edit.instead) source->commit(token);
    for (const int32_t token : iota(edit.goes_on, edit.to_learn)) source->commit(token);
    EXPECT_EQ(proposal(*source, 5), iota(edit.goes_on + edit.to_learn, 5));
  }
}

TEST(NgramDraft, AfterAnEditTheCopyOutranksAShortMatchElsewhere) {
  const auto source = ngram_draft();
  source->begin(iota(0, 60));
  for (const int32_t token : {901, 15, 77}) source->commit(token);
  for (const int32_t token : {10, 11, 12, 13, 900, 901, 15}) source->commit(token);  // 14 became 900, 901
  EXPECT_EQ(proposal(*source, 4), iota(16, 4));
  for (const int32_t token : {901, 15}) source->commit(token);  // not so: the copy has ended
  for (const int32_t token : random_tokens(12, 1000, 4)) source->commit(1000 + token);
  for (const int32_t token : {5000, 901, 15}) source->commit(token);
  EXPECT_NE(proposal(*source, 1), Tokens{16});
}

TEST(NgramDraft, ABeginForgetsTheTextBefore) {
  const auto source = ngram_draft(), fresh = ngram_draft();
  source->begin(random_tokens(300, 4, 1));
  const Tokens text = random_tokens(200, 50, 2);
  source->begin(text);
  fresh->begin({});
  for (const int32_t token : text) fresh->commit(token);
  for (const int32_t token : random_tokens(300, 50, 3)) {
    ASSERT_EQ(proposal(*source, 6), proposal(*fresh, 6));
    ASSERT_EQ(source->confidence(), fresh->confidence());
    source->commit(token);
    fresh->commit(token);
  }
}

TEST(NgramDraft, ClassesStayInTheirRangeAndACopySoundsSurerThanALuckyPair) {
  NgramDraft source;
  for (const int32_t vocab : {2, 7, 40, 1000}) {
    source.begin({});
    for (const int32_t token : random_tokens(3000, vocab, 11)) {
      source.commit(token);
      ASSERT_GE(source.confidence(), 0);
      ASSERT_LT(source.confidence(), kDraftClasses);
    }
  }
  source.begin(iota(0, 100));
  source.commit(10);
  const int32_t lucky = source.confidence();
  for (const int32_t token : iota(11, 40)) source.commit(token);
  EXPECT_NE(source.confidence(), lucky);
}

TEST(NgramDraft, ATokenThatWasSeenBeforeHasAProposal) {
  for (const int32_t vocab : {2, 5, 30}) {
    SCOPED_TRACE(vocab);
    NgramDraft source;
    source.begin({});
    Tokens text;
    int without_place = 0;
    for (const int32_t token : random_tokens(800, vocab, 5)) {
      text.push_back(token);
      source.commit(token);
      const auto end = text.end() - 1;
      const bool seen = std::find(text.begin(), end, token) != end;
      const Tokens guess = proposal(source, 1);
      without_place += seen && guess.empty();
    }
    EXPECT_EQ(without_place, 0);
  }
}

// Whatever the text, work for a token is bounded: kinds of text that make naive searches quadratic.
TEST(NgramDraft, WorkGrowsWithTheTextAndNotWithItsSquare) {
  constexpr size_t n = 100'000;
  Tokens copies = random_tokens(500, 1000, 1);
  while (copies.size() < n) copies.push_back(copies[copies.size() - 500]);
  Tokens edited = copies;
  for (size_t i = 0; i < n; i += 9) edited[i] = static_cast<int32_t>(i % 77);
  Tokens period(n);
  for (size_t i = 0; i < n; ++i) period[i] = static_cast<int32_t>(i % 2);
  const struct {
    const char* what;
    Tokens text;
  } cases[] = {{"one token", Tokens(n, 3)},
               {"a period", period},
               {"two tokens at random", random_tokens(n, 2, 2)},
               {"many tokens at random", random_tokens(n, 250'000, 3)},
               {"copies", copies},
               {"copies with edits", edited}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    for (const bool at_once : {true, false}) {
      NgramDraft source;
      source.begin(at_once ? Tokens(c.text.begin(), c.text.begin() + n / 2) : Tokens());
      for (size_t i = at_once ? n / 2 : 0; i < n; ++i) source.commit(c.text[i]);
      EXPECT_LT(source.work(), static_cast<int64_t>(48 * n));  // four orders of at most eight slots, a window of 16
    }
  }
}

}  // namespace
}  // namespace fathom
