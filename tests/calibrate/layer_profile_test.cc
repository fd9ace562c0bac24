// What parts are worth, and which may go together: on models with a layer and a head that write zeros.
// Next: tests/calibrate/skip_certificate_test.cc.
#include "src/calibrate/layer_profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/calibrate/skip_trials.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;

constexpr int32_t kUseless = 3;                      // a layer that adds nothing,
constexpr HeadName kIdle = {.layer = 2, .head = 4};  // and a head

std::vector<const PieceText*> pointers(const std::vector<PieceText>& texts) {
  std::vector<const PieceText*> out;
  for (const PieceText& text : texts) out.push_back(&text);
  return out;
}

// Layers 1, 2, 4, 5 of random weights: without any of them many answers are others.
struct Planted {
  testing::TinyOptions options{.n_layers = 5, .head_dim = 32};
  Bytes bytes = planted();
  Model model = Model::from_bytes(bytes).value();
  std::vector<PieceText> texts = some_texts();
  PieceRunner runner = make();
  Progress progress{nullptr, nullptr};

  Bytes planted() const {
    testing::GgufWriter writer = testing::tiny_writer(options);
    const std::string useless = "blk." + std::to_string(kUseless - 1), idle = "blk." + std::to_string(kIdle.layer - 1);
    for (const char* part : {".attn_output.weight", ".ffn_down.weight"}) {
      Bytes& data = writer.tensor(useless + part).data;
      std::fill(data.begin(), data.end(), std::byte{});
    }
    testing::GgufWriter::TensorEntry& o = writer.tensor(idle + ".attn_output.weight");
    const auto head = static_cast<size_t>(options.head_dim) * sizeof(float), row = o.dims[0] * sizeof(float);
    for (size_t r = 0; r < o.dims[1]; ++r) std::memset(o.data.data() + r * row + (kIdle.head - 1) * head, 0, head);
    return writer.bytes();
  }
  static std::vector<PieceText> some_texts() {
    std::vector<PieceText> out;
    for (uint64_t i = 0; i < 12; ++i) {
      out.push_back({.group = static_cast<int32_t>(i % 2), .lead = {}, .tokens = testing::random_ids(40, 320, i)});
      if (i >= 8) out.back().lead = testing::random_ids(20, 320, 100 + i);
    }
    return out;
  }
  PieceRunner make() const {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = std::vector<int32_t>(100)});
    return PieceRunner::make(model, pieces, 1).value();
  }
  LayerProfile profile(size_t n_certified = 200, double risk = 1) {
    return profile_layers(runner, pointers(texts), 2, n_certified, risk, progress).value();
  }
};

double changed(const LayerProfile& profile, const Ablation& ablation, const PlaceFilter& filter = {}) {
  const Ablation* const one[] = {&ablation};
  return changed_share(profile, one, filter);
}

TEST(LayerProfile, ALayerAndAHeadThatWriteZerosAreWorthNothingAndTheOthersSomething) {
  Planted planted;
  const LayerProfile profile = planted.profile();
  ASSERT_EQ(profile.parts.size(), 3u);
  for (size_t part = 0; part < profile.parts.size(); ++part) {
    ASSERT_EQ(profile.parts[part].size(), 5u);
    for (int32_t layer = 1; layer <= 5; ++layer) {
      const double share = changed(profile, profile.parts[part][size_t(layer) - 1]);
      EXPECT_EQ(share == 0, layer == kUseless) << kProfiledPartNames[part] << " " << layer;
      EXPECT_TRUE(share == 0 || share > 0.05) << kProfiledPartNames[part] << " " << layer;
    }
  }
  ASSERT_EQ(profile.heads.size(), 5u);
  for (int32_t layer = 1; layer <= 5; ++layer) {
    for (int32_t head = 1; head <= 4; ++head) {
      const double share = changed(profile, profile.heads[size_t(layer) - 1][size_t(head) - 1]);
      const bool idle = layer == kUseless || (layer == kIdle.layer && head == kIdle.head);
      EXPECT_EQ(share == 0, idle) << layer << ":" << head;
    }
  }
}

// The profile runs what a policy does, so that a run of the policy sees the same places change.
TEST(LayerProfile, APlaceIsChangedWhereThePolicysOwnRunSaysAnotherToken) {
  Planted planted;
  const LayerProfile profile = planted.profile();
  const Ablation& half = profile.parts[2][0];
  EXPECT_EQ(half.set.text(), "skip_sublayers(feed_forward=[1])");
  Session full = Session::make(planted.model, {.max_tokens = 64, .max_logit_rows = 64}).value();
  Session without = Session::make(planted.model, {.max_tokens = 64, .max_logit_rows = 64}).value();
  const PieceText& text = *profile.texts[0];
  std::vector<Row> rows;
  for (int32_t p = 0; p < text.places(); ++p) rows.push_back({text.tokens[size_t(p)], 0, p, RowKind::generated, true});
  const Policy policy = Policy::parse(half.set.text()).value();
  const StepResult a = full.step(rows).value(), b = without.step(rows, policy.ref()).value();
  for (int32_t p = 0; p < text.places(); ++p) {
    const auto x = a.logits[p].flat(), y = b.logits[p].flat();
    const bool other =
        std::max_element(x.begin(), x.end()) - x.begin() != std::max_element(y.begin(), y.end()) - y.begin();
    EXPECT_EQ(half.losses[0][size_t(p)] != 0, other) << p;
  }
}

TEST(LayerProfile, SharesOfGroupsPlacesAndPromptsAreThoseOfTheirPlaces) {
  Planted planted;
  const LayerProfile profile = planted.profile(2000);
  ASSERT_EQ(profile.texts.size(), 12u);
  const Ablation& first = profile.parts[0][0];
  const auto count = [&](auto&& meant) {
    double n = 0, all = 0;
    for (size_t t = 0; t < profile.texts.size(); ++t) {
      for (int32_t p = 0; p < profile.texts[t]->places(); ++p) {
        if (!meant(*profile.texts[t], p)) continue;
        ++all, n += first.losses[t][size_t(p)];
      }
    }
    return n / all;
  };
  EXPECT_EQ(changed(profile, first, {.group = 1}), count([](const PieceText& t, int32_t) { return t.group == 1; }));
  EXPECT_EQ(changed(profile, first, {.from = 16, .to = 32}),
            count([](const PieceText&, int32_t p) { return p >= 16 && p < 32; }));
  EXPECT_EQ(changed(profile, first, {.lead_from = 17, .lead_to = 65}),
            count([](const PieceText& t, int32_t) { return t.lead.size() >= 17; }));
  EXPECT_TRUE(std::isnan(changed(profile, first, {.lead_from = 65})));
}

TEST(LayerProfile, TakesTextsFromAllGroupsAndNoMoreThanItsShareOfTime) {
  Planted planted;
  const LayerProfile few = planted.profile(60), none = planted.profile(9);
  EXPECT_EQ(few.texts.size(), 4u);
  EXPECT_EQ(few.texts[0]->group + few.texts[1]->group, 1);
  EXPECT_EQ(few.heads[0][0].losses.size(), 2u);
  EXPECT_EQ(none.texts.size(), 2u);
  EXPECT_TRUE(none.heads.empty()) << "20 heads on too little text";
}

// A layer of random weights changes half of the tokens: that is soon seen, and others need the time.
TEST(LayerProfile, WhatChangesFarTooMuchIsRunOnAFewTextsOnly) {
  Planted planted;
  const LayerProfile whole = planted.profile(2000), some = planted.profile(2000, .01);
  ASSERT_EQ(some.texts.size(), 12u);
  for (int32_t layer = 1; layer <= 5; ++layer) {
    const Ablation& all = whole.parts[0][size_t(layer) - 1];
    const Ablation& seen = some.parts[0][size_t(layer) - 1];
    EXPECT_EQ(all.losses.size(), 12u);
    EXPECT_EQ(seen.losses.size(), layer == kUseless ? 12u : 3u) << layer;
    for (size_t t = 0; t < seen.losses.size(); ++t) EXPECT_EQ(seen.losses[t], all.losses[t]);
  }
  const Ablation* const two[] = {&some.parts[0][0], &some.parts[0][kUseless - 1]};
  EXPECT_EQ(common_texts(some, two), 3u);
  EXPECT_EQ(changed_share(some, two), changed_share(some, std::span(two).first(1))) << "the useless one adds nothing";
  const SkipTrials trials = try_skips(planted.runner, some, 0.01, planted.progress).value();
  ASSERT_FALSE(trials.sets.empty());
  EXPECT_TRUE(trials.sets.back().set.attention.has(kUseless));
  for (const double read : oracle_skip(some, trials, 0.01)) EXPECT_LE(read, 1 - trials.sets.back().saved + 1e-12);
}

TEST(SkipTrials, LeaveOutWhatIsUselessAndNothingThatIsNeeded) {
  Planted planted;
  const LayerProfile profile = planted.profile();
  const SkipTrials trials = try_skips(planted.runner, profile, 0.02, planted.progress).value();
  ASSERT_FALSE(trials.sets.empty());
  const SkipSet& last = trials.sets.back().set;
  EXPECT_TRUE(last.attention.has(kUseless) && last.feed_forward.has(kUseless)) << last.text();
  EXPECT_TRUE(last.heads.has(kIdle.layer, kIdle.head)) << last.text();
  for (const int32_t layer : {1, 2, 4, 5}) {
    EXPECT_FALSE(last.attention.has(layer) || last.feed_forward.has(layer)) << last.text();
  }
  EXPECT_EQ(trials.cheapest, 0);
  double saved = 0;
  for (const Ablation& set : trials.sets) {
    const Ablation* const one[] = {&set};
    EXPECT_LE(worst_changed_share(profile, one), 0.02);
    EXPECT_GT(set.saved, saved) << "each reads less than the one before";
    saved = set.saved;
    const Ablation again = without(planted.runner, profile, set.set, profile.texts.size()).value();
    EXPECT_EQ(again.losses, set.losses);
  }
  const auto settings = skip_settings(profile, trials, 2);
  ASSERT_FALSE(settings.empty());
  EXPECT_LE(settings.size(), 2u);
  EXPECT_EQ(settings.back().policy, last.text());
  EXPECT_NEAR(settings.back().forecast, 1 - saved, 1e-12);
}

TEST(SkipTrials, TryNothingWhereEveryPartIsNeeded) {
  Planted planted;
  LayerProfile profile = planted.profile();
  for (auto& part : profile.parts) part.erase(part.begin() + (kUseless - 1));
  profile.heads.clear();
  const SkipTrials trials = try_skips(planted.runner, profile, 0.02, planted.progress).value();
  EXPECT_TRUE(trials.sets.empty());
  EXPECT_GT(trials.cheapest, 0.02);
  EXPECT_TRUE(skip_settings(profile, trials, 4).empty());
  EXPECT_NE(trials.cheapest_policy, "");
}

TEST(SkipTrials, AnOracleLeavesOutTheLargestHarmlessSetOfEachPlace) {
  Planted planted;
  const LayerProfile profile = planted.profile();
  const SkipTrials trials = try_skips(planted.runner, profile, 0.02, planted.progress).value();
  const std::vector<double> read = oracle_skip(profile, trials, 0.02);
  std::vector<double> want(2), n(2);
  for (size_t t = 0; t < profile.texts.size(); ++t) {
    for (int32_t p = 0; p < profile.texts[t]->places(); ++p) {
      double most = 0;
      const auto see = [&](const Ablation& a) {
        if (a.losses[t][size_t(p)] == 0) most = std::max(most, a.saved);
      };
      for (const auto& part : profile.parts) std::for_each(part.begin(), part.end(), see);
      std::for_each(trials.sets.begin(), trials.sets.end(), see);
      want[size_t(profile.texts[t]->group)] += 1 - most;
      ++n[size_t(profile.texts[t]->group)];
    }
  }
  for (size_t g = 0; g < 2; ++g) {
    EXPECT_NEAR(read[g], want[g] / n[g], 1e-12);
    EXPECT_LE(read[g], 1 - trials.sets.back().saved + 1e-12);
  }
}

TEST(SkipSet, IsWrittenAsThePolicyThatLeavesItOutAndCountsWhatThatReads) {
  const Model model = testing::tiny_model({.n_layers = 4, .head_dim = 32});
  SkipSet set;
  EXPECT_EQ(set.text(), "full_depth");
  set.attention = {2, 3};
  set.feed_forward = {3, 4};
  set.heads = {{1, 2}, {3, 1}};
  const SkipSet joined = SkipSet().with(set);
  EXPECT_EQ(joined.text(),
            "skip_layers(layers=[3]) | skip_sublayers(attention=[2], feed_forward=[4]) | silence_heads(heads=[1:2])");
  EXPECT_EQ(joined.size(), 5);
  const Weights& w = model.weights();
  const auto bytes = [](std::initializer_list<const Linear*> all) {
    double sum = 0;
    for (const Linear* linear : all) sum += double(linear->packed_bytes);
    return sum;
  };
  double all = bytes({&w.head});
  for (const LayerWeights& l : w.layers) all += bytes({&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down});
  const double saved = bytes({&w.layers[1].q, &w.layers[1].o, &w.layers[2].q, &w.layers[2].o}) +
                       bytes({&w.layers[2].gate, &w.layers[2].up, &w.layers[2].down}) * 2 +
                       bytes({&w.layers[0].q, &w.layers[0].o}) / 4;
  EXPECT_NEAR(saved_share(model, joined), saved / all, 1e-12);
}

}  // namespace
}  // namespace fathom
