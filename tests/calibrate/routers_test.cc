// Routers fitted on a model of which it is known which rows have settled, tried, and kept as bytes.
#include <gtest/gtest.h>

#include <algorithm>

#include "fathom/calibrate/logistic.h"
#include "fathom/calibrate/parts.h"
#include "src/calibrate/held_out.h"
#include "src/calibrate/router_fitting.h"
#include "src/calibrate/router_trials.h"
#include "src/calibrate/settings.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using testing::Bytes;

constexpr size_t kGroups = 2;

// Built and fitted once for all tests of this file.
struct Routed {
  testing::SpareLanguage language = testing::spare_language();
  Bytes bytes = testing::spare_writer(language).bytes();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample();
  PieceRunner runner = PieceRunner::make(model, pieces, 1).value();
  std::vector<PieceText> texts = all_texts();
  std::vector<const PieceText*> fit = of(Split::fit), held_out = of(Split::report);
  std::vector<int32_t> layers = router_layers(model.config().n_layers);
  Progress progress{nullptr, nullptr};
  RouterRows rows = router_rows(runner, fit, kGroups, layers, 4000, progress).value();
  std::vector<FittedRouter> routers = fit_routers(rows, fit, kGroups, progress).value();

  Pieces sample() {
    std::vector<GroupData> groups;
    for (const auto& [name, kind] :
         {std::pair{"prose", testing::SpareText::prose}, {"code", testing::SpareText::code}}) {
      groups.push_back({name, {files.write(std::string(name) + ".txt", testing::spare_text(language, kind, 160))}});
    }
    return sample_pieces(model.tokenizer(), groups, {.piece_tokens = 24, .n_fit = 48, .n_choose = 1, .n_report = 24})
        .value();
  }
  std::vector<PieceText> all_texts() {
    std::vector<PieceText> out;
    for (const Piece& piece : pieces.pieces) out.push_back(runner.text_of(piece).value());
    return out;
  }
  std::vector<const PieceText*> of(Split split) const {
    std::vector<const PieceText*> out;
    for (const PieceText& text : texts) {
      if (text.split == split) out.push_back(&text);
    }
    return out;
  }
};

Routed& routed() {
  static Routed once;
  return once;
}

TEST(RouterRows, HoldStatesOfUnitSizeAndLabelsThatExitsConfirm) {
  Routed& r = routed();
  const auto d = size_t(r.model.config().d_model);
  ASSERT_EQ(r.rows.layers, (std::vector<int32_t>{2, 3, 4, 5, 6, 7}));
  for (size_t l = 0; l < r.layers.size(); ++l) {
    ASSERT_EQ(r.rows.states[l].size(), r.rows.size() * d);
    ASSERT_EQ(r.rows.spare[l].size(), r.rows.size());
  }
  // Of the first piece: an exit without a head of its own says the same as the label.
  const PieceText& text = *r.fit.front();
  std::vector<std::vector<int32_t>> said;  // full depth, then each layer
  for (int32_t layer = 0; layer <= int32_t(r.layers.size()); ++layer) {
    const Policy policy = layer == 0 ? Policy() : Policy(exit_at{.layer = r.layers[size_t(layer) - 1]});
    std::vector<int32_t>& tokens = said.emplace_back();
    r.runner
        .run(text, policy,
             [&](const PieceStep& step) {
               for (const LogitStats& s : step.stats) tokens.push_back(s.argmax);
             })
        .value();
  }
  const auto n = size_t(std::count(r.rows.texts.begin(), r.rows.texts.end(), 0));
  ASSERT_EQ(n, said[0].size()) << "all places of the first piece fit into the sample";
  for (size_t l = 0; l < r.layers.size(); ++l) {
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(r.rows.spare[l][i] != 0, said[l + 1][i] == said[0][i]) << l << ", " << i;
  }
}

TEST(RouterRows, AreSharedOutEvenlyAndNeverMoreThanAskedFor) {
  Routed& r = routed();
  const RouterRows few = router_rows(r.runner, r.fit, kGroups, r.layers, 100, r.progress).value();
  EXPECT_LE(few.size(), 100u);
  EXPECT_EQ(std::count(few.groups.begin(), few.groups.end(), 0), std::count(few.groups.begin(), few.groups.end(), 1));
  const ModelConfig& config = r.model.config();
  ModelConfig wide = config;
  wide.vocab = 262144, wide.d_model = 640;
  EXPECT_LT(most_router_rows(wide, 14), 5000);
  EXPECT_EQ(most_router_rows(config, 6), 8000);
}

// What is known of the model (tests/calibrate/spare_model_test.cc): the written flag of settled rows ranks rows whose
// answer stays above the others with an area of .97 at best.
TEST(Routers, FindTheRowsThatHaveSettledOnTextTheyDidNotSee) {
  Routed& r = routed();
  const RouterRows rows = router_rows(r.runner, r.held_out, kGroups, r.layers, 4000, r.progress).value();
  const auto quality = router_quality(r.routers, rows, kGroups).value();
  ASSERT_EQ(quality.size(), r.layers.size() * kGroups);
  for (const RouterQuality& q : quality) {
    if (q.layer < 4) continue;
    EXPECT_GT(q.auc, .9) << "layer " << q.layer << ", group " << q.group;
    EXPECT_GT(q.rows, 200);
  }
}

TEST(Routers, AreTheSameOnASecondFit) {
  Routed& r = routed();
  const RouterRows rows = router_rows(r.runner, r.fit, kGroups, r.layers, 4000, r.progress).value();
  EXPECT_EQ(fit_routers(rows, r.fit, kGroups, r.progress).value(), r.routers);
}

TEST(Routes, AreTriedUntilAGroupLosesMoreThanTheRiskAndProposedSafestFirst) {
  Routed& r = routed();
  r.runner.session().use_routers(Routers::make(r.model, r.routers).value()).value();
  const auto texts = route_trial_texts(split_for_fit(r.fit, kGroups).held_out, kGroups);
  EXPECT_EQ(texts.size(), 24u);
  const auto truth = true_tokens(r.runner, texts, r.progress).value();
  const double risk = .1;
  const auto trials = try_routes(r.runner, texts, truth, kGroups, risk, r.progress).value();
  ASSERT_FALSE(trials.empty());
  double least = 1;
  for (size_t i = 0; i < trials.size(); ++i) {
    const bool last = i + 1 == trials.size() || trials[i + 1].light != trials[i].light;
    EXPECT_TRUE(trials[i].worst <= risk || last) << i;
    if (trials[i].worst <= risk) least = std::min(least, trials[i].work);
  }
  const auto settings = propose_routes(trials, {{risk}}, 3).settings;
  ASSERT_FALSE(settings.empty());
  EXPECT_LE(settings.size(), 3u);
  for (size_t i = 1; i < settings.size(); ++i) EXPECT_GT(settings[i].threshold, settings[i - 1].threshold);
  EXPECT_LT(settings.back().forecast, .9) << "two thirds of the rows settle halfway";
  EXPECT_EQ(Policy::parse(settings.front().policy).value().text(), settings.front().policy);
  EXPECT_LE(least, settings.back().forecast);
}

TEST(Routes, ThatSaveNothingAreNotProposed) {
  const double risks[] = {.02};
  EXPECT_TRUE(propose_routes({}, risks, 3).settings.empty());
  const RouteTrial costly[] = {{Light::none, .01f, 0, 1.0003, 8}};
  EXPECT_TRUE(propose_routes(costly, risks, 3).settings.empty());
  const RouteTrial risky[] = {{Light::none, .01f, .019, .5, 4}};
  EXPECT_TRUE(propose_routes(risky, risks, 3).settings.empty()) << "a bound would stand above the risk";
}

TEST(Routes, AreProposedOfTheLightWayThatSavesMostAroundEachRisksBest) {
  std::vector<RouteTrial> trials;
  for (int i = 1; i <= 10; ++i) {
    trials.push_back({Light::none, .01f * float(i), .002 * i, .9 - .01 * i, 8});
    trials.push_back({Light::attention, .01f * float(i), .001 * i, .9 - .04 * i, 8});
  }
  const double one[] = {.005}, two[] = {.005, .01};
  const RouteProposal few = propose_routes(trials, one, 2), more = propose_routes(trials, two, 2);
  ASSERT_EQ(few.settings.size(), 2u);
  EXPECT_EQ(few.settings[0].policy, "route(utility_below=0.02, light=attention)");
  EXPECT_EQ(few.settings[1].policy, "route(utility_below=0.03, light=attention)");
  EXPECT_NEAR(few.work, .9 - .04 * 3, 1e-9);
  ASSERT_EQ(more.settings.size(), 4u);
  EXPECT_EQ(more.settings[3].policy, "route(utility_below=0.06, light=attention)");
  EXPECT_EQ(more.work, few.work);
}

TEST(RouterParts, ReadBackAsTheyWereWrittenAndNothingElseIsRead) {
  const std::vector<FittedRouter>& routers = routed().routers;
  const std::vector<std::byte> bytes = router_bytes(routers);
  EXPECT_EQ(read_routers(bytes).value(), routers);
  for (size_t n = 0; n < bytes.size(); n += 1 + n / 7) {
    EXPECT_FALSE(read_routers(std::span(bytes).first(n)).has_value()) << n << " bytes";
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  EXPECT_NE(read_routers(longer).error().message.find("left over"), std::string::npos);
  std::vector<std::byte> newer = bytes;
  newer[0] = std::byte{9};
  EXPECT_NE(read_routers(newer).error().message.find("update Fathom"), std::string::npos);
  std::vector<std::byte> many = bytes;
  many[6] = std::byte{1};  // 65536 routers and more
  EXPECT_NE(read_routers(many).error().message.find("at most 512"), std::string::npos);
}

}  // namespace
}  // namespace fathom
