// Signals and attention, written down over texts: as a policy sees them and as the engine ran. Next:
// tests/calibrate/calibrate_test.cc.
#include "src/calibrate/signal_record.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/calibrate/attribution.h"
#include "tests/support/plain_forward.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kLayers = 4, kVocab = 128;

struct Recording {
  Model model = testing::tiny_model(
      {.family = "qwen2", .n_layers = kLayers, .vocab = kVocab, .tokenizer = testing::TinyVocab::none},
      {.numerics = Numerics::exact});
  PieceText text{.lead = {1, 2}, .tokens = testing::random_ids(70, kVocab, 3)};
  PieceRunner runner = make();
  Progress progress{nullptr, nullptr};

  PieceRunner make() {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = std::vector<int32_t>(80)});
    return PieceRunner::make(model, pieces, 1).value();
  }
  std::vector<int32_t> ids() const {
    std::vector<int32_t> all = text.lead;
    all.insert(all.end(), text.tokens.begin(), text.tokens.end() - 1);
    return all;
  }
};

TEST(SignalRecord, HoldsForEachPlaceWhatThePlainPassSays) {
  Recording r;
  const PieceText* const texts[] = {&r.text};
  const int32_t layers[] = {1, 3};
  const SignalRecord record = record_signals(r.runner, texts, layers, r.progress).value();
  ASSERT_EQ(record.texts.size(), 1u);
  ASSERT_EQ(record.texts[0].size(), 69u * 2);
  std::vector<std::vector<std::vector<double>>> states;
  std::vector<std::vector<double>> shares;
  testing::plain_logits(r.model, r.ids(), {.states = &states, .own_shares = &shares});
  const auto cosine = [](const std::vector<double>& a, const std::vector<double>& b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    return ab / std::sqrt(aa * bb);
  };
  for (size_t l = 0; l < 2; ++l) {
    const auto layer = static_cast<size_t>(layers[l]);
    for (size_t p = 0; p < 69; ++p) {
      const size_t position = p + 2;
      const SignalRecord::Values& seen = record.at(0, p, l);
      // The f16 cache rounds keys and values to 5e-4 of themselves, and states err by no more.
      EXPECT_NEAR(seen[0], cosine(states[2 * layer - 2][position], states[2 * layer][position]), 2e-3);
      EXPECT_NEAR(seen[4], shares[layer - 1][position], 1e-2);
      double nearest = -1;
      for (size_t q = position - std::min<size_t>(8, position); q < position; ++q) {
        nearest = std::max(nearest, cosine(states[2 * layer][position], states[2 * layer][q]));
      }
      EXPECT_NEAR(seen[3], 1 - nearest, 2e-3) << "the lead is looked back on";
    }
  }
}

TEST(Attribution, SaysWhereRowsLookedUpToTheLayerTheyLeftAt) {
  Recording r;
  std::vector<std::vector<double>> shares;
  testing::plain_logits(r.model, r.ids(), {.own_shares = &shares});
  const auto full = attribute(r.runner, r.text, Policy()).value().rows;
  const auto early = attribute(r.runner, r.text, exit_at{.layer = 2}).value().rows;
  ASSERT_EQ(full.size(), 69u);
  size_t found = 0;
  for (size_t p = 0; p < full.size(); ++p) {
    ASSERT_EQ(full[p].size(), size_t(kLayers));
    ASSERT_EQ(early[p].size(), 2u);
    for (size_t l = 0; l < full[p].size(); ++l) {
      const Looked& looked = full[p][l];
      EXPECT_EQ(looked.layer, int32_t(l) + 1);
      EXPECT_EQ(looked.to.size(), std::min(p + 1, kMostLooked));
      double sum = 0;
      for (size_t i = 0; i < looked.to.size(); ++i) {
        sum += looked.to[i].second;
        EXPECT_LE(looked.to[i].first, int32_t(p));
        EXPECT_TRUE(i == 0 || looked.to[i - 1].second >= looked.to[i].second);
        if (looked.to[i].first != int32_t(p)) continue;
        EXPECT_NEAR(looked.to[i].second, shares[l][p + 2], 1e-2);
        ++found;
      }
      EXPECT_LE(sum, 1 + 1e-5);
    }
    EXPECT_EQ(full[p][0].to, early[p][0].to) << "the first layer knows of no exit";
  }
  EXPECT_GT(found, 20u);
}

TEST(Attribution, ThreeDepthsAreEarlyMiddleAndTheOneDecidedAt) {
  std::vector<Looked> row;
  for (int32_t layer = 1; layer <= 12; ++layer) row.push_back({.layer = layer, .to = {}});
  const auto layers = [&](float depth) {
    std::vector<int32_t> out;
    for (const Looked& looked : at_three_depths(row, depth)) out.push_back(looked.layer);
    return out;
  };
  EXPECT_EQ(layers(12), (std::vector<int32_t>{3, 6, 12}));
  EXPECT_EQ(layers(7), (std::vector<int32_t>{2, 4, 7}));
  EXPECT_EQ(layers(7.5f), (std::vector<int32_t>{2, 4, 8}));
  EXPECT_EQ(layers(2), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(layers(1), (std::vector<int32_t>{1}));
  row.erase(row.begin() + 11);
  EXPECT_EQ(layers(12), (std::vector<int32_t>{3, 6, 11})) << "the last that attended";
  EXPECT_TRUE(at_three_depths({}, 3).empty());
}

}  // namespace
}  // namespace fathom
