// Too little text to fit on is no error: what changes no token is measured, and what is missing is said.
// Next: adaptation_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/report.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using nlohmann::json;

struct LittleText {
  testing::TextFiles files;
  Model model = testing::tiny_model({});

  std::string words(int n, int salt, int each = 60) const {
    std::string text;
    for (int i = 0; i < n; ++i) {
      text += fmt::format("w{}{}", (i + salt) * 7919 % 613, i % each == each - 1 ? '\f' : ' ');
    }
    return text;
  }
  Pieces sample(const std::vector<std::string>& texts) const {
    std::vector<GroupData> groups;
    for (size_t g = 0; g < texts.size(); ++g) {
      const std::string name(1, char('a' + g));
      groups.push_back({name, {files.write(name + ".txt", texts[g])}});
    }
    return sample_pieces(model.tokenizer(), groups, {.piece_tokens = 24, .n_fit = 6, .n_choose = 10, .n_report = 4})
        .value();
  }
};

void expect_lossless_only(const Calibration& found) {
  EXPECT_TRUE(found.lossless);
  EXPECT_FALSE(found.certified);
  EXPECT_LT(found.passed, 0);
  EXPECT_TRUE(found.settings.empty());
  EXPECT_TRUE(found.exits.exits.empty());
  EXPECT_TRUE(is_lossless(Policy::parse(found.policy).value())) << found.policy;
  EXPECT_NE(found.promise.find("too little text"), std::string::npos) << found.promise;
  const Result<std::string> page = report_html(found.report);
  EXPECT_TRUE(page.has_value()) << page.error().message;
}

TEST(LittleText, OfThreeShortDocumentsIsCalibratedToWhatLosesNothing) {
  const LittleText little;
  const Pieces pieces = little.sample({little.words(36, 0, 12)});
  ASSERT_LT(pieces.pieces.size(), 8u);
  const Calibration found = calibrate(little.model, pieces, {.measured_tokens = 8}).value();
  expect_lossless_only(found);
  ASSERT_EQ(found.speeds.size(), 2u) << "full depth and lossless decoding";
  ASSERT_EQ(found.choices.size(), 1u);
  ASSERT_EQ(found.choices[0].refused.size(), 1u);
  const GroupBound& bound = found.choices[0].refused[0];
  EXPECT_GE(bound.missing() + bound.n, 149) << "what 2 % at 95 % takes at least";
  const json report = json::parse(found.report);
  EXPECT_EQ(report["groups"][0]["missing"], bound.missing());
  EXPECT_NE(report["nogo"][0]["decided_by"].get<std::string>().find("of at least 6, 1, 1"), std::string::npos);
}

TEST(LittleText, OfOneGroupOfSeveralLeavesAllOfThemAtWhatLosesNothing) {
  const LittleText little;
  for (const std::string& few : {std::string("too short"), little.words(100, 5000)}) {
    const Pieces pieces = little.sample({little.words(4000, 0), few});
    const Calibration found = calibrate(little.model, pieces, {.measured_tokens = 8, .more_risks = {.05}}).value();
    expect_lossless_only(found);
    EXPECT_TRUE(found.texts[0].suffices());
    EXPECT_FALSE(found.texts[1].suffices());
    ASSERT_EQ(found.choices.size(), 2u);
    for (const Choice& choice : found.choices) {
      EXPECT_FALSE(choice.certified());
      ASSERT_EQ(choice.refused.size(), 2u);
      for (const GroupBound& bound : choice.refused) EXPECT_GT(bound.missing(), 0);
    }
  }
}

TEST(LittleText, OfAGroupThatIsInAnotherOneIsSaid) {
  const LittleText little;
  const std::string text = little.words(4000, 0);
  const Pieces pieces = little.sample({text, text});
  EXPECT_EQ(why_no_piece(pieces.groups[1], 24),
            "group b: all its text is in groups before it: give it text of its own, or leave it out");
  const Calibration found = calibrate(little.model, pieces, {.measured_tokens = 8}).value();
  expect_lossless_only(found);
  EXPECT_EQ(json::parse(found.report)["groups"][1]["left_out"]["in_other_groups"], pieces.groups[0].n_documents);
}

// Enough to choose on by far, and nothing to fit on: that is no certificate.
TEST(LittleText, ThatWouldProveALosslessSettingCertifiesNothing) {
  const LittleText little;
  Pieces pieces = little.sample({little.words(4000, 0)});
  std::erase_if(pieces.pieces, [](const Piece& piece) { return piece.split == Split::fit; });
  const Calibration found = calibrate(little.model, pieces, {.risk = .6, .measured_tokens = 8}).value();
  expect_lossless_only(found);
  EXPECT_EQ(found.choices[0].candidate, -1);
  EXPECT_TRUE(found.choices[0].passed.empty());
}

}  // namespace
}  // namespace fathom
