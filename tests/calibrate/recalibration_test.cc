// The promise on pools whose truth is known: kept where the units are independent, broken where they are only taken
// for it.
#include "fathom/calibrate/recalibration.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace fathom {
namespace {

// Candidates whose true risks cross 2 %, the last but one by so little that it passes as often as it may.
constexpr double kRisks[] = {0.002, 0.006, 0.0208, 0.04};

// The share at place `rank` of n: stratified, so that the mean over ranks is that of the distribution nearly exactly.
float share_at(size_t rank, size_t n, double p) {
  const double u = (static_cast<double>(rank) + 0.5) / static_cast<double>(n);
  return u < p ? static_cast<float>(u / p) : 0.0f;  // a piece that goes wrong loses everything behind a random place
}

// One piece of each document; a share 2 * risk of pieces goes wrong.
LossPool pool_of_pieces(size_t n_pieces, int32_t n_groups) {
  LossPool pool;
  for (int32_t g = 0; g < n_groups; ++g) {
    pool.groups.push_back(fmt::format("group {}", g));
    for (size_t i = 0; i < n_pieces; ++i) {
      PoolPiece piece = {.group = g, .document = static_cast<int32_t>(i), .losses = {}};
      for (const double risk : kRisks) piece.losses.push_back(share_at(i, n_pieces, 2 * risk));
      pool.pieces.push_back(std::move(piece));
    }
  }
  return pool;
}

// The same as single tokens of 0 and 1: documents are pieces, and pieces tokens.
LossPool tokens_of(const LossPool& pool, int32_t n_tokens) {
  LossPool tokens = {.groups = pool.groups, .pieces = {}};
  for (const PoolPiece& piece : pool.pieces) {
    for (int32_t t = 0; t < n_tokens; ++t) {
      PoolPiece token = {.group = piece.group, .document = piece.document, .losses = {}};
      const double place = (t + 0.5) / n_tokens;
      for (const float loss : piece.losses) token.losses.push_back(place < loss ? 1.0f : 0.0f);
      tokens.pieces.push_back(std::move(token));
    }
  }
  return tokens;
}

// One position of each piece, evenly spread over the pieces (multiples of the golden ratio), so that risks stay what
// they are.
LossPool positions_of(const LossPool& pool) {
  LossPool positions = pool;
  for (size_t i = 0; i < positions.pieces.size(); ++i) {
    const double place = std::fmod((static_cast<double>(i) + 0.5) * 0.6180339887498949, 1.0);
    for (float& loss : positions.pieces[i].losses) loss = place < loss ? 1.0f : 0.0f;
  }
  return positions;
}

// Documents of sixteen pieces that lose nearly the same.
LossPool pool_of_documents(size_t n_documents, int32_t n_groups) {
  const LossPool pool = pool_of_pieces(n_documents, n_groups);
  LossPool documents = {.groups = pool.groups, .pieces = {}};
  for (const PoolPiece& document : pool.pieces) {
    for (int32_t i = 0; i < 16; ++i) {
      PoolPiece piece = document;
      for (float& loss : piece.losses) loss = std::min(1.0f, loss * (i % 2 == 0 ? 0.95f : 1.05f));
      documents.pieces.push_back(std::move(piece));
    }
  }
  return documents;
}

std::string shown(const Recalibration& r) {
  std::string text =
      fmt::format("broken {} of {}, allowed {}, certified {}; groups:", r.broken, r.runs, r.allowed, r.certified);
  for (size_t g = 0; g < r.broken_in.size(); ++g) text += fmt::format(" {} of {}", r.broken_in[g], r.allowed_in[g]);
  return text;
}

TEST(Recalibration, MeansOfDependentTokensKeepThePromise) {
  const LossPool pool = pool_of_pieces(2000, 3);
  for (const Bound bound : {Bound::betting, Bound::hoeffding_bentkus}) {
    for (const bool own : {false, true}) {
      const Recalibration result =
          recalibrate(pool, {.certify = {.bound = bound}, .own_thresholds = own, .n_drawn = 500}).value();
      EXPECT_TRUE(result.kept()) << name(bound) << ": " << shown(result);
      EXPECT_GT(result.certified, result.runs / 2) << name(bound) << ": " << shown(result);
    }
  }
}

// Just below the mean of the boldest, passing it is wrong, and happens about as often as it may.
TEST(Recalibration, ASelectionIsDrawnAgainWhereAWrongChoiceIsLikeliest) {
  const LossPool pool = positions_of(pool_of_pieces(1000, 1));
  const std::vector<DrawnAgain> again = draw_again(pool, {.bound = Bound::binomial}).value();
  ASSERT_EQ(again.size(), 2u);
  EXPECT_TRUE(again[0].promised);
  EXPECT_EQ(again[0].risk, 0.02);
  EXPECT_FALSE(again[1].promised);
  EXPECT_NEAR(again[1].risk, kRisks[3], 0.002);
  EXPECT_TRUE(again[1].outcome.kept()) << shown(again[1].outcome);
  EXPECT_GT(again[1].outcome.broken, again[1].outcome.allowed / 4)
      << "the level tempts nobody: " << shown(again[1].outcome);

  LossPool flawless = pool;
  for (PoolPiece& piece : flawless.pieces) std::fill(piece.losses.begin(), piece.losses.end(), 0.0f);
  EXPECT_EQ(draw_again(flawless, {}).value().size(), 1u);
}

// Exact tails spend nearly all of delta in one group, which shows that the pool tempts them.
TEST(Recalibration, OnePositionOfEachPieceKeepsThePromise) {
  const LossPool pool = positions_of(pool_of_pieces(4000, 1));
  const Recalibration result = recalibrate(pool, {.certify = {.bound = Bound::binomial}, .n_drawn = 500}).value();
  EXPECT_TRUE(result.kept()) << shown(result);
  EXPECT_GT(result.broken, result.runs / 200) << "no candidate was near the level: " << shown(result);
  EXPECT_GT(result.certified, result.runs / 2) << shown(result);
}

TEST(Recalibration, SeveralGroupsAndLevelsKeepThePromiseTogether) {
  const LossPool pool = positions_of(pool_of_pieces(4000, 3));
  for (const bool own : {false, true}) {
    const Recalibration result =
        recalibrate(
            pool, {.certify = {.risks = {0.02, 0.05}, .bound = Bound::binomial}, .own_thresholds = own, .n_drawn = 500})
            .value();
    EXPECT_TRUE(result.kept()) << shown(result);
    EXPECT_GT(result.certified, result.runs / 2) << shown(result);
  }
}

TEST(Recalibration, MeansOfDependentPiecesOfADocumentKeepThePromise) {
  const Recalibration result = recalibrate(pool_of_documents(1000, 2), {.n_drawn = 400}).value();
  EXPECT_TRUE(result.kept()) << shown(result);
  EXPECT_GT(result.certified, result.runs / 2) << shown(result);
}

// Negative control: the check must be able to fail.
TEST(Recalibration, TokensTakenForIndependentUnitsBreakThePromise) {
  const LossPool tokens = tokens_of(pool_of_pieces(1000, 1), 16);
  const RecalibrationOptions options = {
      .certify = {.bound = Bound::binomial}, .unit = Unit::piece, .n_drawn = 250, .runs = 300};
  const Recalibration result = recalibrate(tokens, options).value();
  EXPECT_FALSE(result.kept()) << shown(result);
  EXPECT_GT(result.broken, 3 * result.allowed / 2) << shown(result);
}

TEST(Recalibration, PiecesOfADocumentTakenForIndependentUnitsBreakThePromise) {
  const Recalibration result =
      recalibrate(pool_of_documents(1000, 1), {.unit = Unit::piece, .n_drawn = 250, .runs = 300}).value();
  EXPECT_FALSE(result.kept()) << shown(result);
}

TEST(Recalibration, TheSameSeedGivesTheSameCounts) {
  const LossPool pool = positions_of(pool_of_pieces(500, 2));
  const RecalibrationOptions options = {.n_drawn = 300, .runs = 50, .seed = 9};
  const Recalibration a = recalibrate(pool, options).value(), b = recalibrate(pool, options).value();
  EXPECT_EQ(a.broken, b.broken);
  EXPECT_EQ(a.certified, b.certified);
  EXPECT_EQ(a.broken_in, b.broken_in);
}

TEST(Recalibration, AllowsThe999thOfAThousandCounts) {
  EXPECT_EQ(allowed_failures(1000, 0), 0);
  const int32_t allowed = allowed_failures(1000, 0.05);  // 50 + 3.09 * 6.89, and a little for the skew
  EXPECT_GE(allowed, 71);
  EXPECT_LE(allowed, 74);
  EXPECT_GE(binomial_p_value(allowed, 1000, 0.05), 0.999);
  EXPECT_LT(binomial_p_value(allowed - 1, 1000, 0.05), 0.999);
}

TEST(TableOf, ADocumentCountsOnceWithTheMeanOfItsPieces) {
  const LossPool pool = {{"a", "b"},
                         {{0, 1, {0.0f, 0.5f}}, {0, 2, {1.0f, 1.0f}}, {0, 1, {0.5f, 1.0f}}, {1, 1, {0.25f, 0.75f}}}};
  const LossTable documents = table_of(pool).value();
  EXPECT_EQ(documents.losses[0][0], (std::vector<float>{0.25f, 1.0f}));
  EXPECT_EQ(documents.losses[1][0], (std::vector<float>{0.75f, 1.0f}));
  EXPECT_EQ(documents.losses[1][1], (std::vector<float>{0.75f}));
  EXPECT_EQ(table_of(pool, Unit::piece).value().losses[0][0], (std::vector<float>{0.0f, 0.5f, 1.0f}));
}

TEST(TableOf, ASingleDocumentIsASingleUnit) {
  const LossPool pool = {{"a"}, {{0, 7, {0.0f}}, {0, 7, {1.0f}}, {0, 7, {0.5f}}}};
  EXPECT_EQ(table_of(pool).value().losses[0][0], (std::vector<float>{0.5f}));
  EXPECT_EQ(table_of(pool, Unit::piece).value().losses[0][0], (std::vector<float>{0.0f, 1.0f, 0.5f}));
}

TEST(Recalibration, RefusesWhatItCannotRun) {
  const LossPool pool = pool_of_pieces(50, 1);
  EXPECT_FALSE(recalibrate(pool, {.runs = 0}));
  EXPECT_FALSE(recalibrate(pool, {.n_drawn = -1}));
  EXPECT_FALSE(recalibrate(pool, {.certify = {.confidence = 1}}));
  EXPECT_FALSE(recalibrate({}));
  EXPECT_FALSE(recalibrate({{"a"}, {{1, 0, {0.0f}}}}));
  EXPECT_EQ(recalibrate({{"a"}, {{0, 0, {0.0f}}, {0, 1, {}}}}).error().code, ErrorCode::shape);
}

TEST(Recalibration, AGroupWithoutPiecesIsNeverCertified) {
  LossPool pool = pool_of_pieces(200, 1);
  pool.groups.push_back("empty");
  const Recalibration result = recalibrate(pool, {.runs = 20}).value();
  EXPECT_EQ(result.certified, 0);
  EXPECT_TRUE(result.kept());
}

}  // namespace
}  // namespace fathom
