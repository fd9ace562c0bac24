// A calibration at a temperature, from text to promise: losses are total variation. Next:
// tests/calibrate/adaptation_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/recheck.h"
#include "fathom/calibrate/report.h"
#include "fathom/engine/session.h"
#include "src/calibrate/loss.h"
#include "tests/calibrate/spare_pieces.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using testing::Bytes;

constexpr double kRisk = 0.35;  // exits of so small a model have the token before they have the distribution
constexpr double kTemperature = 0.8;

// Built and calibrated once for all tests of this file.
struct Drawn {
  testing::SpareLanguage language = testing::spare_language();
  Bytes bytes = testing::spare_writer(language).bytes();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample(1);
  CalibrateOptions options{
      .risk = kRisk, .temperature = kTemperature, .n_exits = 3, .n_settings = 3, .measured_tokens = 8};
  Calibration found = calibrate(model, pieces, options).value();

  Pieces sample(uint64_t seed) { return testing::spare_pieces(model.tokenizer(), language, files, seed); }
};

Drawn& drawn() {
  static Drawn once;
  return once;
}

// Mean loss of a setting over the documents of one group, each piece run by hand.
double mean_variation(Drawn& d, const std::string& text, int32_t group) {
  const Policy policy = Policy::parse(text).value();
  Session full = Session::make(d.model, {.max_tokens = 32, .max_logit_rows = 32}).value();
  Session early = Session::make(d.model, {.max_tokens = 32, .max_logit_rows = 32}).value();
  early.use(ExitHeads::make(d.model, d.found.exits).value()).value();
  std::map<int64_t, std::pair<double, int>> documents;  // losses and pieces
  for (const Piece& piece : d.pieces.pieces) {
    if (piece.split != Split::choose || piece.group != group) continue;
    std::vector<Row> rows;
    for (size_t i = 0; i + 1 < piece.tokens.size(); ++i) {
      rows.push_back({.token = piece.tokens[i], .position = int32_t(i), .kind = RowKind::generated, .logits = true});
    }
    for (Session* session : {&full, &early}) session->truncate(0, 0).value();
    const StepResult truth = full.step(rows).value(), said = early.step(rows, policy.ref()).value();
    double lost = 0;
    for (int64_t i = 0; i < truth.logits.dim(0); ++i) {
      lost += total_variation(truth.logits[i].flat(), said.logits[i].flat(), kTemperature);
    }
    auto& [sum, n] = documents[piece.document];
    sum += lost / double(rows.size()), ++n;
  }
  double mean = 0;
  for (const auto& [document, losses] : documents) mean += losses.first / losses.second / double(documents.size());
  return mean;
}

TEST(TemperatureCertificate, BoundsTheVariationOfThePolicyAsItRuns) {
  Drawn& d = drawn();
  const CalibratedSetting& setting = d.found.settings.front();
  ASSERT_TRUE(setting.run);
  ASSERT_EQ(setting.mechanism, "exit");
  for (const GroupBound& bound : setting.bounds) {
    EXPECT_NEAR(bound.mean, mean_variation(d, setting.policy, bound.group), 1e-5);
    EXPECT_GT(bound.mean, 0);
    EXPECT_LT(bound.mean, bound.upper);
  }
}

TEST(TemperatureCertificate, FindsDepthToSpareWithinTheRiskAndKeepsItOnOtherText) {
  const Calibration& found = drawn().found;
  ASSERT_GE(found.passed, 0) << "nothing was certified";
  const CalibratedSetting& best = found.settings[size_t(found.passed)];
  EXPECT_LT(best.mean_depth, 0.9 * drawn().model.config().n_layers);
  for (const GroupBound& bound : best.bounds) EXPECT_LT(bound.upper, kRisk);
  ASSERT_EQ(best.held_out.size(), 2u);
  for (const double loss : best.held_out) EXPECT_LT(loss, kRisk);
}

// Thresholds are proposed by the variation that trials saw: what was forecast is near what the policy then loses.
TEST(TemperatureCertificate, SettingsAreProposedByTheVariationTheyWillHave) {
  for (const CalibratedSetting& setting : drawn().found.settings) {
    if (!setting.run) continue;
    double worst = 0;
    for (const GroupBound& bound : setting.bounds) worst = std::max(worst, bound.mean);
    EXPECT_NEAR(setting.predicted, worst, 0.06) << setting.policy;  // of a quarter of the text, without its own cache
  }
}

TEST(TemperatureCertificate, AgreementIsWhatIsKeptOfTheDistribution) {
  const auto report = nlohmann::json::parse(drawn().found.report);
  for (const auto& r : report["reliability"]) EXPECT_LT(r["ece_after"].get<double>(), 0.12) << r["layer"];
}

TEST(TemperatureCertificate, ItsReportSaysAtWhichTemperatureAndWhatDiffers) {
  const Calibration& found = drawn().found;
  const auto json = nlohmann::json::parse(found.report);
  EXPECT_EQ(json["run"]["temperature"], kTemperature);
  EXPECT_NE(json["ceilings"][0]["note"].get<std::string>().find("35 % of full depth's probability"), std::string::npos);
  const auto page = report_html(found.report);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_NE(page->find("total variation"), std::string::npos);
  const std::string promise = promise_of(drawn().pieces, drawn().options);
  EXPECT_NE(promise.find("distribution at temperature 0.8"), std::string::npos) << promise;
  if (found.certified) {
    EXPECT_EQ(found.promise, promise);
  }
}

TEST(TemperatureCertificate, IsTheSameOnASecondRun) {
  Drawn& d = drawn();
  const Calibration again = calibrate(d.model, d.pieces, d.options).value();
  EXPECT_EQ(again.exits, d.found.exits);
  ASSERT_EQ(again.settings.size(), d.found.settings.size());
  for (size_t i = 0; i < again.settings.size(); ++i) {
    EXPECT_EQ(again.settings[i].policy, d.found.settings[i].policy);
    ASSERT_EQ(again.settings[i].bounds.size(), d.found.settings[i].bounds.size());
    for (size_t g = 0; g < again.settings[i].bounds.size(); ++g) {
      EXPECT_EQ(again.settings[i].bounds[g].upper, d.found.settings[i].bounds[g].upper);
    }
  }
}

TEST(TemperatureCertificate, IsCheckedAnewByTheSameLossOnOtherPieces) {
  Drawn& d = drawn();
  const Pieces other = d.sample(2);
  const auto checked = [&](const std::string& policy, double risk) {
    return recheck(d.model, Policy::parse(policy).value(), d.found.exits, other,
                   {.risk = risk, .temperature = kTemperature})
        .value();
  };
  ASSERT_GE(d.found.passed, 0);
  const Recheck kept = checked(d.found.settings[size_t(d.found.passed)].policy, kRisk);
  EXPECT_FALSE(kept.broken);
  const Recheck broken = checked("exit_at(layer=1)", 0.01);
  EXPECT_TRUE(broken.broken);
  for (const RecheckedGroup& group : broken.groups) {
    EXPECT_GT(group.lower, 0.01);
    EXPECT_NE(group.bound.mean, std::round(group.bound.mean));
  }
}

TEST(TemperatureCertificate, TextOfOtherGroupsThanThePromisesIsAShiftAndDecidesNothing) {
  Drawn& d = drawn();
  const auto checked = [&](const std::vector<std::string>& promised, double risk) {
    return recheck(d.model, Policy::parse("exit_at(layer=1)").value(), d.found.exits, d.sample(2),
                   {.risk = risk, .temperature = kTemperature, .promised = promised})
        .value();
  };
  const Recheck some = checked({"prose"}, 0.01), none = checked({"poems"}, 0.01), large = checked({"poems"}, 0.999);
  for (const Recheck* all : {&some, &none}) {
    for (const RecheckedGroup& group : all->groups) EXPECT_TRUE(group.broken) << "what it shows is told";
  }
  EXPECT_TRUE(some.broken);
  EXPECT_EQ(some.groups[0].shift + some.groups[1].shift, 1);
  EXPECT_FALSE(none.broken);
  EXPECT_TRUE(large.groups[0].proven && large.groups[1].proven);
  EXPECT_FALSE(large.proven) << "nothing of it was there";
  EXPECT_TRUE(checked({"prose"}, 0.999).proven);
}

TEST(TemperatureCertificate, ATemperatureThatIsNoneIsNamed) {
  Drawn& d = drawn();
  for (const double bad : {-1.0, double(NAN), double(INFINITY)}) {
    CalibrateOptions options = d.options;
    options.temperature = bad;
    const auto refused = calibrate(d.model, d.pieces, options);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::argument);
    EXPECT_NE(refused.error().message.find("temperature"), std::string::npos) << refused.error().message;
    EXPECT_FALSE(recheck(d.model, Policy(), {}, d.pieces, {.temperature = bad}).has_value());
  }
}

}  // namespace
}  // namespace fathom
