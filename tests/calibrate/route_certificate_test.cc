// Routes from text to promise, on a model that answers only behind its one exit. Next:
// tests/calibrate/adaptation_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/recheck.h"
#include "fathom/calibrate/report.h"
#include "src/calibrate/family.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using testing::Bytes;

// Contexts say something else behind layer 2, and settle, which shows, behind layer 4. They are more than a state has
// numbers, so that no linear map of what stands behind layer 2 knows their answers.
testing::SpareLanguage late_language() {
  testing::SpareLanguage language = testing::spare_language({.feed_forward = 640, .words = 64});
  for (size_t w = 0; w < language.words.size(); ++w) {
    for (testing::SpareContext& context : language.words[w].contexts) {
      if (context.hard) continue;
      testing::SpareMove first = context.moves.back(), last = first;
      first.layer = 2, first.flag = testing::SpareFlag::on_its_way;
      first.answer.token = language.words[(w + 5) % language.words.size()].token, first.answer.second = -1;
      last.layer = 4, last.flag = testing::SpareFlag::settled;
      context.moves = {first, last};
    }
  }
  return language;
}

// Built and calibrated once for all tests of this file.
struct Routed {
  testing::SpareLanguage language = late_language();
  Bytes bytes = testing::spare_writer(language).bytes();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample();
  CalibrateOptions options{.risk = .2, .n_exits = 1, .n_settings = 3, .measured_tokens = 8};
  int calls = 0;  // of on_progress
  Calibration found = run({}, 1 << 30).value();

  Pieces sample() {
    std::vector<GroupData> groups;
    for (const auto& [name, kind] :
         {std::pair{"prose", testing::SpareText::prose}, {"code", testing::SpareText::code}}) {
      groups.push_back({name, {files.write(std::string(name) + ".txt", testing::spare_text(language, kind, 120))}});
    }
    return sample_pieces(model.tokenizer(), groups, {.piece_tokens = 24, .n_fit = 24, .n_choose = 40, .n_report = 10})
        .value();
  }
  // Stopped by the given call of on_progress, counted from 1.
  Result<Calibration> run(const std::string& journal, int stopped_by) {
    struct Count {
      int calls = 0, most;
    } count{.most = stopped_by};
    CalibrateOptions with = options;
    with.journal.path = journal;
    with.context = &count;
    with.on_progress = [](void* context, std::string_view, double) {
      Count& c = *static_cast<Count*>(context);
      return ++c.calls < c.most;
    };
    Result<Calibration> out = calibrate(model, pieces, with);
    calls = count.calls;
    return out;
  }
};

Routed& routed() {
  static Routed once;
  return once;
}

TEST(RouteCertificate, RoutesAreCertifiedWhereExitsHaveNothingToGive) {
  Routed& r = routed();
  ASSERT_GE(r.found.passed, 0);
  for (const CalibratedSetting& s : r.found.settings) EXPECT_EQ(s.policy.substr(0, 6), "route(") << s.mechanism;
  const CalibratedSetting& best = r.found.settings[size_t(r.found.passed)];
  EXPECT_LT(best.mean_depth, .8 * r.model.config().n_layers);
  EXPECT_LT(best.work, .8);
  ASSERT_EQ(best.bounds.size(), 2u);
  for (const GroupBound& bound : best.bounds) EXPECT_LT(bound.upper, .2);
  for (const double loss : best.held_out) EXPECT_LT(loss, .2);
}

// Which family is certified was decided on other text: the one has all of the confidence, and no group a setting of
// its own.
TEST(RouteCertificate, IsTheOnlySequenceThatIsTested) {
  const Calibration& found = routed().found;
  EXPECT_TRUE(found.own.empty());
  ASSERT_EQ(found.choices.size(), 1u);
  EXPECT_NEAR(found.choices[0].delta, .05, 1e-12);
  for (const CalibratedSetting& s : found.settings) EXPECT_EQ(s.mechanism, "route");
  for (size_t i = 1; i < found.settings.size(); ++i) {
    EXPECT_GT(found.settings[i].threshold, found.settings[i - 1].threshold) << "the boldest comes last";
  }
  const Choice choice = certify_for_all(table_of(found.losses).value(), {.risks = {.2}, .confidence = .95}).value()[0];
  EXPECT_EQ(choice.candidate, found.passed);
}

TEST(RouteCertificate, HoldsForTheRoutersThatAreHandedOutAndForNothingWithoutThem) {
  Routed& r = routed();
  const Policy policy = Policy::parse(r.found.settings[size_t(r.found.passed)].policy).value();
  RecheckOptions options{.risk = .2, .routers = r.found.routers};
  const Recheck again = recheck(r.model, policy, r.found.exits, r.pieces, options).value();
  EXPECT_FALSE(again.broken);
  for (const RecheckedGroup& group : again.groups) EXPECT_LT(group.bound.mean, .2);
  options.routers = {};
  const auto without = recheck(r.model, policy, r.found.exits, r.pieces, options);
  ASSERT_FALSE(without.has_value());
  EXPECT_NE(without.error().message.find("router"), std::string::npos) << without.error().message;
}

TEST(RouteCertificate, TheReportSaysWhatRoutersTellAndWhyExitsAreLeftOut) {
  const Calibration& found = routed().found;
  ASSERT_TRUE(report_html(found.report).has_value()) << report_html(found.report).error().message;
  const auto json = nlohmann::json::parse(found.report);
  EXPECT_EQ(json["candidates"][0]["mechanism"], "route");
  const auto of = [&](const char* mechanism) {
    return std::count_if(json["nogo"].begin(), json["nogo"].end(),
                         [&](const auto& n) { return n["mechanism"] == mechanism; });
  };
  EXPECT_EQ(of("early exits"), 1);
  EXPECT_EQ(of("leaving out layers and heads"), 1);
  EXPECT_EQ(of("routers"), found.chosen >= 0 ? 0 : 1);
  double best = 0;
  for (const auto& signal : json["signals"]) {
    if (signal["name"] == "utility") best = std::max(best, signal["auc"].get<double>());
  }
  EXPECT_GT(best, .9);
}

TEST(RouteCertificate, AfterAnInterruptionTheSameRoutersAndLossesCome) {
  Routed r;
  const int all = r.calls;
  for (const int at : {all / 3, all * 3 / 4}) {
    const std::string journal = r.files.path("at" + std::to_string(at));
    ASSERT_FALSE(r.run(journal, at).has_value());
    const Result<Calibration> again = r.run(journal, 1 << 30);
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_LT(r.calls, all) << "something was kept";
    EXPECT_EQ(router_bytes(again->routers), router_bytes(r.found.routers));
    EXPECT_EQ(again->passed, r.found.passed);
    ASSERT_EQ(again->losses.pieces.size(), r.found.losses.pieces.size());
    for (size_t p = 0; p < again->losses.pieces.size(); ++p) {
      EXPECT_EQ(again->losses.pieces[p].losses, r.found.losses.pieces[p].losses) << p;
    }
    EXPECT_EQ(nlohmann::json::parse(again->report)["signals"], nlohmann::json::parse(r.found.report)["signals"]);
  }
}

TEST(Family, TheOneThatReadsLeastIsCertifiedAndOfEqualOnesTheFirst) {
  EXPECT_EQ((FamilyForecasts{.exits = .9, .skips = .8, .routes = .7}.least()), Family::routes);
  EXPECT_EQ((FamilyForecasts{.exits = .9, .skips = .7, .routes = .8}.least()), Family::skips);
  EXPECT_EQ((FamilyForecasts{.exits = .6, .skips = .7, .routes = .8}.least()), Family::exits);
  EXPECT_EQ(FamilyForecasts{}.least(), Family::exits);
  EXPECT_EQ((FamilyForecasts{.exits = 1, .skips = .9, .routes = .9}.least()), Family::skips);
}

TEST(Family, AllAreForecastByTheSameRoomBelowTheRisk) {
  const double risk = .1, room = kProposalRoom * risk;
  const Proposal exits{.thresholds = {.9f, .8f},
                       .forecasts = {{.worst = room, .time = .8}, {.worst = risk, .time = .5}}};
  const CalibratedSetting skips[] = {{.predicted = room / 2, .forecast = .9}, {.predicted = risk, .forecast = .4}};
  const FamilyForecasts within = forecasts_of(exits, skips, .7, risk);
  EXPECT_EQ(within.exits, .8);
  EXPECT_EQ(within.skips, .9);
  EXPECT_EQ(within.routes, .7);
  const FamilyForecasts none = forecasts_of({}, {}, 1.01, risk);
  EXPECT_EQ(none.exits, 1);
  EXPECT_EQ(none.skips, 1);
  EXPECT_EQ(none.routes, 1) << "what reads more than full depth saves nothing";
}

}  // namespace
}  // namespace fathom
