// Calibration from text to promise, on a small model with depth to spare. Next: tests/calibrate/adaptation_test.cc.
#include "fathom/calibrate/calibrate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/report.h"
#include "fathom/engine/generate.h"
#include "tests/calibrate/spare_pieces.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;

constexpr double kRisk = 0.2;  // few pieces prove no smaller one
constexpr double kLooserRisk = 0.35;

// Built and calibrated once for all tests of this file.
struct Calibrated {
  testing::SpareLanguage language = testing::spare_language();
  Bytes bytes = testing::spare_writer(language).bytes();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample(1);
  CalibrateOptions options{
      .risk = kRisk, .n_exits = 3, .n_settings = 3, .measured_tokens = 8, .more_risks = {kLooserRisk}};
  Calibration found = calibrate(model, pieces, options).value();

  // Of the pieces that certify.
  std::set<int64_t> documents(int32_t group) const {
    std::set<int64_t> out;
    for (const Piece& piece : pieces.pieces) {
      if (piece.split == Split::choose && piece.group == group) out.insert(piece.document);
    }
    return out;
  }
  Pieces sample(uint64_t seed) { return testing::spare_pieces(model.tokenizer(), language, files, seed); }
};

Calibrated& calibrated() {
  static Calibrated all;
  return all;
}

TEST(Calibrate, FindsTheDepthThatTheModelHasToSpare) {
  const Calibration& found = calibrated().found;
  ASSERT_GE(found.passed, 0) << "nothing was certified";
  const CalibratedSetting* const best = &found.settings[size_t(found.passed)];
  EXPECT_LT(best->mean_depth, 0.9 * calibrated().model.config().n_layers);
  for (const GroupBound& bound : best->bounds) {
    EXPECT_LT(bound.upper, kRisk);
    EXPECT_EQ(bound.n, std::ssize(calibrated().documents(bound.group))) << "documents are the units";
  }
  ASSERT_EQ(best->held_out.size(), 2u);
  for (const double loss : best->held_out) EXPECT_LT(loss, kRisk);
}

TEST(Calibrate, SavesMostOfWhatAnExitThatKnowsWouldSave) {
  const Calibration& found = calibrated().found;
  ASSERT_GE(found.passed, 0);
  const CalibratedSetting& best = found.settings[size_t(found.passed)];
  for (size_t g = 0; g < 2; ++g) {
    EXPECT_GT(1 - best.group_work[g], 0.8 * (1 - found.oracle_work[g])) << "group " << g;
  }
}

TEST(Calibrate, TheSafestSettingsComeFirstAndNoneIsTriedBehindOneThatFails) {
  const auto& settings = calibrated().found.settings;
  EXPECT_EQ(settings.front().mechanism, "exit");
  for (size_t i = 1; i < settings.size(); ++i) EXPECT_GT(settings[i - 1].threshold, settings[i].threshold);
  bool failed = false;
  for (const CalibratedSetting& s : settings) {
    EXPECT_TRUE(!failed || !s.run);
    EXPECT_TRUE(s.run || !s.certified);
    failed |= s.run && !s.certified;
  }
}

// Mean loss of a setting over the documents of one group, each piece run by hand.
double mean_loss(Calibrated& c, const CalibratedSetting& setting, int32_t group, std::string_view fitted_for) {
  const Policy policy = Policy::parse(setting.policy).value();
  Session full = Session::make(c.model, {.max_tokens = 32, .max_logit_rows = 32}).value();
  Session early = Session::make(c.model, {.max_tokens = 32, .max_logit_rows = 32}).value();
  early.use(ExitHeads::make(c.model, c.found.exits).value(), fitted_for).value();
  std::map<int64_t, std::pair<double, int>> documents;  // losses and pieces
  for (const Piece& piece : c.pieces.pieces) {
    if (piece.split != Split::choose || piece.group != group) continue;
    std::vector<Row> rows;
    for (size_t i = 0; i + 1 < piece.tokens.size(); ++i) {
      rows.push_back({.token = piece.tokens[i], .position = int32_t(i), .kind = RowKind::generated, .logits = true});
    }
    double wrong = 0;
    for (Session* session : {&full, &early}) session->truncate(0, 0).value();
    const StepResult truth = full.step(rows).value();
    const StepResult said = early.step(rows, policy.ref()).value();
    for (int64_t i = 0; i < truth.logits.dim(0); ++i) {
      const auto a = truth.logits[i].flat(), b = said.logits[i].flat();
      wrong += std::max_element(a.begin(), a.end()) - a.begin() != std::max_element(b.begin(), b.end()) - b.begin();
    }
    auto& [sum, n] = documents[piece.document];
    sum += wrong / double(rows.size()), ++n;
  }
  double mean = 0;
  for (const auto& [document, losses] : documents) mean += losses.first / losses.second / double(documents.size());
  return mean;
}

// What is reported is what the policy does, with the cache that it fills.
TEST(Calibrate, BoundsAreThoseOfThePolicyAsItRuns) {
  Calibrated& c = calibrated();
  const CalibratedSetting& setting = c.found.settings.front();
  ASSERT_TRUE(setting.run);
  for (const GroupBound& bound : setting.bounds) {
    EXPECT_NEAR(bound.mean, mean_loss(c, setting, bound.group, ""), 1e-6);  // losses are floats
  }
}

TEST(Calibrate, AGroupsOwnBoundsAreThoseOfItsOwnTemperaturesAndMapsOnItsOwnPieces) {
  Calibrated& c = calibrated();
  ASSERT_EQ(c.found.own.size(), 2u);
  int run = 0;
  for (int32_t g = 0; g < 2; ++g) {
    for (const CalibratedSetting& setting : c.found.own[size_t(g)].settings) {
      if (!setting.run) continue;
      ++run;
      ASSERT_EQ(setting.bounds.size(), 1u);
      EXPECT_EQ(setting.bounds[0].group, g);
      EXPECT_EQ(setting.bounds[0].n, std::ssize(c.documents(g)));
      EXPECT_NEAR(setting.bounds[0].mean, mean_loss(c, setting, g, c.pieces.groups[size_t(g)].name), 1e-6);
    }
  }
  EXPECT_GT(run, 1);
}

TEST(Calibrate, AllThatIsCertifiedSharesTheConfidence) {
  const Calibration& found = calibrated().found;
  ASSERT_EQ(found.choices.size(), 2u);
  for (const Choice& choice : found.choices) EXPECT_NEAR(choice.delta, 0.05 / 2 / 2, 1e-12);  // halves, levels
  EXPECT_EQ(found.choices[1].risk, kLooserRisk);
  EXPECT_EQ(found.choices[0].candidate, found.passed);
  EXPECT_GE(found.choices[1].candidate, found.choices[0].candidate) << "more may be risked";
  for (const OwnSettings& own : found.own) {
    ASSERT_EQ(own.choices.size(), 2u);
    for (const Choice& choice : own.choices) EXPECT_NEAR(choice.delta, 0.05 / 2 / 2 / 2, 1e-12);  // and groups
  }
}

TEST(Calibrate, AGroupKeepsTheSettingForAllUnlessItsOwnDoesLessWork) {
  const Calibration& found = calibrated().found;
  for (size_t level = 0; level < 2; ++level) {
    for (int32_t g = 0; g < 2; ++g) {
      const OwnSettings& own = found.own[size_t(g)];
      const CalibratedSetting* const mine = found.own_setting(g, level);
      if (mine == nullptr) continue;
      EXPECT_EQ(mine, &own.settings[size_t(own.choices[level].candidate)]);
      const int32_t all = found.choices[level].candidate;
      if (all >= 0) {
        EXPECT_LT(mine->work, found.settings[size_t(all)].group_work[size_t(g)]);
      }
    }
  }
  EXPECT_EQ(found.own_setting(2), nullptr);
  EXPECT_EQ(found.own_setting(0, 2), nullptr);
}

TEST(Calibrate, OneSettingAloneHasAllOfTheConfidence) {
  Calibrated& c = calibrated();
  CalibrateOptions options = c.options;
  options.own_settings = false;
  options.more_risks.clear();
  const Calibration found = calibrate(c.model, c.pieces, options).value();
  EXPECT_TRUE(found.own.empty());
  ASSERT_EQ(found.choices.size(), 1u);
  EXPECT_NEAR(found.choices[0].delta, 0.05, 1e-12);
}

TEST(Calibrate, FitsAndCertificateAreTheSameOnASecondRun) {
  Calibrated& c = calibrated();
  const Calibration again = calibrate(c.model, c.pieces, c.options).value();
  EXPECT_EQ(again.exits, c.found.exits);
  EXPECT_EQ(parts_bytes(again.exits), parts_bytes(c.found.exits));
  ASSERT_EQ(again.settings.size(), c.found.settings.size());
  for (size_t i = 0; i < again.settings.size(); ++i) {
    EXPECT_EQ(again.settings[i].policy, c.found.settings[i].policy);
    EXPECT_EQ(again.settings[i].certified, c.found.settings[i].certified);
    for (size_t g = 0; g < again.settings[i].bounds.size(); ++g) {
      EXPECT_EQ(again.settings[i].bounds[g].upper, c.found.settings[i].bounds[g].upper);
    }
  }
}

TEST(Calibrate, ItsReportIsAPageAndSaysWhatWasFound) {
  const Calibration& found = calibrated().found;
  ASSERT_TRUE(report_html(found.report).has_value()) << report_html(found.report).error().message;
  const auto json = nlohmann::json::parse(found.report);
  EXPECT_EQ(json["promise"]["policy"], found.policy);
  EXPECT_EQ(json["passages"].size(), 2u);
  EXPECT_EQ(json["exit_depth"]["groups"][0]["counts"].size(), size_t(calibrated().model.config().n_layers));
  int64_t tokens = 0;
  for (const auto& n : json["exit_depth"]["groups"][0]["counts"]) tokens += n.get<int64_t>();
  EXPECT_EQ(tokens, 10 * 23);
}

TEST(Calibrate, ExitsAreMeasuredAsDraftsToo) {
  const Calibration& found = calibrated().found;
  ASSERT_GE(found.speeds.size(), 3u);
  const MeasuredSpeed& drafts = found.speeds[2];
  EXPECT_TRUE(drafts.lossless);
  EXPECT_NE(drafts.policy.find("exit_when(agreement_at_least=0.8) | "), std::string::npos) << drafts.policy;
  const auto json = nlohmann::json::parse(found.report);
  EXPECT_EQ(json["candidates"].back()["policy"], drafts.policy);
}

TEST(Calibrate, SaysOfEverySignalHowWellItTellsInEachGroup) {
  const auto json = nlohmann::json::parse(calibrated().found.report);
  std::map<std::string, int> layers;
  std::map<std::string, double> best;
  for (const auto& signal : json["signals"]) {
    const std::string name = signal["name"];
    ++layers[name];
    EXPECT_EQ(signal["groups"].size(), 2u) << name;
    best[name] = std::max(best[name], signal["auc"].get<double>());
    if (name != "last_entropy") {
      EXPECT_GT(signal["work"].get<double>(), 0) << name;
    }
    EXPECT_LT(signal["work"].get<double>(), 1) << name;
  }
  for (const char* name :
       {"exit_confidence", "exit_margin", "exit_entropy", "agreeing", "agreement", "similarity", "similarity_attention",
        "similarity_feed_forward", "last_entropy", "diversity", "attention_received"}) {
    EXPECT_EQ(layers[name], 3) << name;
  }
  // Late layers hardly touch settled rows (tests/calibrate/spare_model_test.cc): states tell, and so do answers.
  for (const char* name : {"agreement", "exit_confidence"}) EXPECT_GT(best[name], .8) << name;
  EXPECT_GT(best["similarity"], .6);
}

TEST(Calibrate, SaysOfEveryExitWhichTranslatorItKeptAndHowOftenEachKindAgrees) {
  const auto json = nlohmann::json::parse(calibrated().found.report);
  const auto& translators = json["translators"];
  ASSERT_EQ(translators.size(), 3u);
  for (const auto& one : translators) {
    EXPECT_GT(one["work"].get<double>(), 0);
    double kept = -1, least = 1;
    for (const auto& kind : one["kinds"]) {
      const double agreement = kind["agreement"];
      least = std::min(least, agreement);
      if (kind["name"] == one["kept"]) kept = agreement;
    }
    EXPECT_GT(kept, 0) << one;
    EXPECT_GE(kept, least);
  }
}

TEST(Calibrate, ShowsWhereEachDecisionLooked) {
  const auto json = nlohmann::json::parse(calibrated().found.report);
  for (const auto& passage : json["passages"]) {
    const auto& tokens = passage["tokens"];
    for (size_t p = 2; p < tokens.size(); ++p) {
      const auto& attention = tokens[p]["attention"];
      ASSERT_FALSE(attention.empty());
      EXPECT_LE(attention.size(), 3u);
      EXPECT_EQ(attention.back()["layer"].get<double>(), tokens[p]["depth"].get<double>()) << "the one decided at";
      for (const auto& of : attention) {
        EXPECT_FALSE(of["to"].empty());
        for (const auto& to : of["to"]) EXPECT_LT(to[0].get<size_t>(), p) << "no token looks ahead";
      }
    }
  }
}

// What routers could have done, and the number by which they are left out (tests/calibrate/route_certificate_test.cc:
// where they are not).
TEST(Calibrate, RoutersThatAreForecastToReadMoreAreLeftOutAndTheReportSaysWhy) {
  const Calibration& found = calibrated().found;
  EXPECT_TRUE(found.routers.empty()) << "no setting asks them";
  const auto json = nlohmann::json::parse(found.report);
  const auto nogo =
      std::find_if(json["nogo"].begin(), json["nogo"].end(), [](const auto& n) { return n["mechanism"] == "routers"; });
  ASSERT_NE(nogo, json["nogo"].end());
  EXPECT_NE((*nogo)["decided_by"].get<std::string>().find("another mechanism"), std::string::npos) << *nogo;
  ASSERT_EQ(json["ceilings"].size(), 3u);
  for (const auto& group : json["ceilings"][2]["groups"]) EXPECT_LT(group["work"].get<double>(), .7);
  int of_utility = 0;
  for (const auto& signal : json["signals"]) {
    if (signal["name"] != "utility") continue;
    ++of_utility;
    EXPECT_GT(signal["auc"].get<double>(), .6) << signal;
  }
  EXPECT_GE(of_utility, 4);
}

TEST(Calibrate, KvTranslatorsAreInTheExitsOrTheReportSaysWhyNot) {
  const Calibration& found = calibrated().found;
  const std::string& report = found.report;
  int64_t fills = 0;
  for (const FittedExit& exit : found.exits.exits) fills += std::ssize(exit.fills);
  EXPECT_EQ(report.find("\"mechanism\":\"KV translators\"") == std::string::npos, fills > 0);
  EXPECT_FALSE(nlohmann::json::parse(report)["kv_translators"]["layers"].empty());
}

TEST(Calibrate, APolicyThatIsNotFasterIsNotChosen) {
  const Calibration& found = calibrated().found;
  if (found.chosen < 0) {
    EXPECT_TRUE(found.lossless);
    EXPECT_TRUE(found.policy == "full_depth" || found.policy.find("kv(verify") != std::string::npos) << found.policy;
    EXPECT_NE(found.promise.find("Every token is that of full depth"), std::string::npos);
  } else {
    EXPECT_FALSE(found.speeds.back().lossless);
    EXPECT_GE(found.speeds.back().over_lossless.ratio, 1.0);
    EXPECT_NE(found.promise.find("With confidence 95 %"), std::string::npos);
  }
}

// Random weights have no answer before the last layer, and nobody is to be promised one.
TEST(Calibrate, AModelWithoutSpareDepthIsLeftAtFullDepth) {
  const Model model = testing::tiny_model({});
  std::string words;
  for (int i = 0; i < 6000; ++i) words += fmt::format("w{}{}", i * 7919 % 613, i % 60 == 59 ? '\f' : ' ');
  testing::TextFiles files;
  const Pieces pieces =
      sample_pieces(model.tokenizer(), std::vector<GroupData>{{"text", {files.write("a.txt", words)}}},
                    {.piece_tokens = 24, .n_fit = 12, .n_choose = 40, .n_report = 6})
          .value();
  const Calibration found = calibrate(model, pieces, {.n_exits = 2, .n_settings = 2, .measured_tokens = 8}).value();
  EXPECT_EQ(found.chosen, -1);
  EXPECT_TRUE(found.lossless);
  EXPECT_FALSE(nlohmann::json::parse(found.report)["nogo"].empty());
}

TEST(Calibrate, TooLittleTextIsSaidInPieces) {
  Calibrated& c = calibrated();
  CalibrateOptions strict = c.options;
  strict.risk = 0.02;  // 40 pieces prove it for nobody
  const Calibration found = calibrate(c.model, c.pieces, strict).value();
  EXPECT_TRUE(found.lossless);
  const auto json = nlohmann::json::parse(found.report);
  EXPECT_GT(json["groups"][0]["missing"].get<int64_t>(), 100);
}

TEST(Calibrate, StopsWhereItIsToldTo) {
  Calibrated& c = calibrated();
  CalibrateOptions options = c.options;
  int calls = 0;
  options.context = &calls;
  options.on_progress = [](void* context, std::string_view, double done) {
    EXPECT_GE(done, 0);
    EXPECT_LE(done, 1.0001);
    return ++*static_cast<int*>(context) < 40;
  };
  const auto stopped = calibrate(c.model, c.pieces, options);
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
}

TEST(Calibrate, OptionsOutOfRangeAreNamed) {
  Calibrated& c = calibrated();
  const auto message = [&](CalibrateOptions options) {
    const auto refused = calibrate(c.model, c.pieces, options);
    return refused.has_value() ? std::string() : refused.error().message;
  };
  EXPECT_NE(message({.risk = 0}).find("risk 0"), std::string::npos);
  EXPECT_NE(message({.more_risks = {0.05, 2}}).find("risk 2"), std::string::npos);
  EXPECT_NE(message({.confidence = 1}).find("confidence 1"), std::string::npos);
  EXPECT_NE(message({.n_exits = 0}).find("n_exits 0"), std::string::npos);
  EXPECT_NE(calibrate(c.model, {}, {}).error().message.find("no group"), std::string::npos);
}

TEST(Parts, ReadBackAsTheyWereWrittenAndNothingElseIsRead) {
  const FittedExits& exits = calibrated().found.exits;
  const std::vector<std::byte> bytes = parts_bytes(exits);
  const FittedExits read = read_parts(bytes).value();
  EXPECT_EQ(parts_bytes(read), bytes);
  EXPECT_EQ(read.groups, exits.groups);
  for (size_t n = 0; n < bytes.size(); n += 1 + n / 7) {
    EXPECT_FALSE(read_parts(std::span(bytes).first(n)).has_value()) << n << " bytes";
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  EXPECT_FALSE(read_parts(longer).has_value());
  EXPECT_FALSE(exits.shortlist.empty());
  std::vector<std::byte> newer = bytes;
  newer[0] = std::byte{9};
  EXPECT_NE(read_parts(newer).error().message.find("update Fathom"), std::string::npos);
}

}  // namespace
}  // namespace fathom
