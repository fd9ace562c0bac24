// Skips from text to promise, on a model of which half the layers write zeros. Next:
// tests/calibrate/adaptation_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/report.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;

struct Idle {
  Bytes bytes = idle();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample();
  CalibrateOptions options{.risk = 0.2, .n_exits = 1, .n_settings = 2, .measured_tokens = 8};
  Calibration found = calibrate(model, pieces, options).value();

  static Bytes idle() {
    testing::GgufWriter writer = testing::tiny_writer({.head_dim = 32});
    for (const char* name : {"blk.1.attn_output.weight", "blk.1.ffn_down.weight", "blk.2.ffn_down.weight"}) {
      Bytes& data = writer.tensor(name).data;
      std::fill(data.begin(), data.end(), std::byte{});
    }
    return writer.bytes();
  }
  Pieces sample() {
    std::string words;
    for (int i = 0; i < 6000; ++i) words += fmt::format("w{}{}", i * 7919 % 613, i % 60 == 59 ? '\f' : ' ');
    return sample_pieces(model.tokenizer(), std::vector<GroupData>{{"text", {files.write("a.txt", words)}}},
                         {.piece_tokens = 24, .n_fit = 12, .n_choose = 40, .n_report = 6})
        .value();
  }
};

Idle& idle() {
  static Idle once;
  return once;
}

const CalibratedSetting* boldest_skip(const Calibration& found) {
  const CalibratedSetting* out = nullptr;
  for (const CalibratedSetting& s : found.settings) {
    if (s.mechanism == "skip" && s.certified) out = &s;
  }
  return out;
}

TEST(SkipCertificate, WhatWritesZerosIsLeftOutAndCertified) {
  const Calibration& found = idle().found;
  const CalibratedSetting* const skip = boldest_skip(found);
  ASSERT_NE(skip, nullptr);
  const Policy policy = Policy::parse(skip->policy).value();
  EXPECT_NE(skip->policy.find("skip_layers(layers=[2"), std::string::npos) << skip->policy;
  EXPECT_LT(skip->forecast, 0.9);
  EXPECT_LT(skip->work, 0.95);
  ASSERT_GE(found.passed, 0);
  EXPECT_EQ(&found.settings[size_t(found.passed)], skip);
  ASSERT_EQ(skip->held_out.size(), 1u);
  EXPECT_LT(skip->held_out[0], 0.2);
}

// Which mechanism is certified was decided on other text: the one has all of the confidence.
TEST(SkipCertificate, IsTheOnlySequenceThatIsTested) {
  const Calibration& found = idle().found;
  for (const CalibratedSetting& s : found.settings) EXPECT_EQ(s.mechanism, "skip");
  for (size_t i = 1; i < found.settings.size(); ++i) {
    EXPECT_LT(found.settings[i].forecast, found.settings[i - 1].forecast) << "the boldest comes last";
  }
  const Choice choice =
      certify_for_all(table_of(found.losses).value(), {.risks = {0.2}, .confidence = 0.95}).value()[0];
  EXPECT_EQ(choice.candidate, found.passed);
  ASSERT_TRUE(choice.certified());
  EXPECT_EQ(choice.passed[0].upper, found.settings[size_t(found.passed)].bounds[0].upper);
}

TEST(SkipCertificate, TheReportSaysWhatPartsAreWorth) {
  const Calibration& found = idle().found;
  const auto page = report_html(found.report);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_NE(page->find("By place in the text, whole layers"), std::string::npos);
  const auto json = nlohmann::json::parse(found.report);
  const auto& utility = json["layer_utility"];
  EXPECT_EQ(utility["parts"], nlohmann::json({"layer", "attention", "feed_forward"}));
  EXPECT_EQ(utility["groups"][0]["disagreement"][0][1], 0);
  EXPECT_GT(utility["groups"][0]["disagreement"][0][0], 0.1);
  EXPECT_EQ(utility["groups"][0]["disagreement"][2][2], 0);
  EXPECT_EQ(utility["positions"].size(), 2u);
  EXPECT_EQ(utility["positions"][1]["to"], 22);
  ASSERT_EQ(json["head_utility"].size(), 4u);
  EXPECT_EQ(json["head_utility"][1][0], 0);
  ASSERT_EQ(json["ceilings"].size(), 3u);
  EXPECT_LT(json["ceilings"][1]["groups"][0]["work"], 0.9);
  const auto skip = std::find_if(json["candidates"].begin(), json["candidates"].end(),
                                 [](const auto& c) { return c["mechanism"] == "skip"; });
  ASSERT_NE(skip, json["candidates"].end());
  const bool chosen = found.chosen >= 0;
  const auto told = std::count_if(json["nogo"].begin(), json["nogo"].end(),
                                  [](const auto& n) { return n["mechanism"] == "leaving out layers and heads"; });
  EXPECT_EQ(told, chosen ? 0 : 1);
}

TEST(SkipCertificate, IsTheSameOnASecondRun) {
  Idle& c = idle();
  const Calibration again = calibrate(c.model, c.pieces, c.options).value();
  ASSERT_EQ(again.settings.size(), c.found.settings.size());
  EXPECT_EQ(again.passed, c.found.passed);
  for (size_t i = 0; i < again.settings.size(); ++i) {
    EXPECT_EQ(again.settings[i].policy, c.found.settings[i].policy);
    EXPECT_EQ(again.settings[i].certified, c.found.settings[i].certified);
  }
}

}  // namespace
}  // namespace fathom
