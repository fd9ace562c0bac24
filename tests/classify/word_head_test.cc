// Hashed n-grams: what is counted, how it is weighed, and that order of words matters.
#include "fathom/classify/word_head.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace fathom {
namespace {

constexpr size_t kAll = 1 << 15;

using Texts = std::vector<std::vector<int32_t>>;

double length(const std::vector<SparseTerm>& row) {
  double square = 0;
  for (const SparseTerm& term : row) square += double{term.value} * term.value;
  return std::sqrt(square);
}

TEST(WordFeatures, only_what_two_texts_share_is_counted) {
  const WordFeatures words = WordFeatures::of(Texts{{1, 2, 3}, {1, 2, 4}, {5, 5, 5}}, kAll);
  EXPECT_EQ(words.buckets.size(), 3u);  // 1, 2 and the pair; 5 is in one text, however often
  EXPECT_TRUE(words(std::vector<int32_t>{5, 3, 4}).empty());
}

TEST(WordFeatures, two_words_in_another_order_are_another_row) {
  const WordFeatures words = WordFeatures::of(Texts{{1, 2}, {1, 2}, {2, 1}, {2, 1}}, kAll);
  const auto forth = words(std::vector<int32_t>{1, 2}), back = words(std::vector<int32_t>{2, 1});
  ASSERT_EQ(forth.size(), 3u);
  ASSERT_EQ(back.size(), 3u);
  bool differ = false;
  for (size_t i = 0; i < 3; ++i) differ |= forth[i].feature != back[i].feature;
  EXPECT_TRUE(differ);
}

TEST(WordFeatures, a_rare_word_weighs_more_than_a_common_one) {
  const WordFeatures words = WordFeatures::of(Texts{{1, 9}, {1, 9}, {1, 8}, {1, 7}, {1, 6}}, kAll);
  const auto row = words(std::vector<int32_t>{1, 9});
  float of_one = 0, of_nine = 0;
  for (const SparseTerm& term : row) {
    if (term.feature == words(std::vector<int32_t>{1}).front().feature) of_one = term.value;
    if (term.feature == words(std::vector<int32_t>{9}).front().feature) of_nine = term.value;
  }
  EXPECT_GT(of_nine, of_one);
  EXPECT_NEAR(of_nine / of_one, (std::log(6.0 / 3) + 1) / (std::log(6.0 / 6) + 1), 1e-5);
}

TEST(WordFeatures, the_commonest_are_kept_where_there_are_too_many) {
  Texts texts;
  for (int32_t i = 0; i < 40; ++i) texts.push_back({7, 100 + i % 20});
  const WordFeatures few = WordFeatures::of(texts, 1);
  ASSERT_EQ(few.buckets.size(), 1u);
  EXPECT_FALSE(few(std::vector<int32_t>{7}).empty());
}

RC_GTEST_PROP(WordFeatures, rows_have_length_one_and_rising_features, ()) {
  const auto texts =
      *rc::gen::container<Texts>(rc::gen::container<std::vector<int32_t>>(rc::gen::inRange<int32_t>(0, 30)));
  const WordFeatures words = WordFeatures::of(texts, kAll);
  for (const auto& ids : texts) {
    const auto row = words(ids);
    if (!row.empty()) RC_ASSERT(std::abs(length(row) - 1) < 1e-5);
    for (size_t i = 1; i < row.size(); ++i) RC_ASSERT(row[i - 1].feature < row[i].feature);
  }
}

}  // namespace
}  // namespace fathom
