// What calibration takes, every reader takes; the rest is refused before the work. Next: manifest_test.cc.
#include "fathom/calibrate/limits.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/report.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/refused.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

TEST(GroupNames, AreShortAndCanBePrinted) {
  for (const char* good : {"a", "prose", "Zürich", "日本語", "it's \"quoted\"", "a, b"}) {
    EXPECT_TRUE(check_group_name(good).has_value()) << good;
  }
  EXPECT_TRUE(check_group_name(std::string(kMostGroupName, 'n')).has_value());
  const std::string bad[] = {"",
                             std::string(kMostGroupName + 1, 'n'),
                             "\x1b[31mred",
                             "two\nlines",
                             std::string("a\0b", 3),
                             "\xff",
                             "cut \xe2\x82",
                             "\xc2\x9b",            // a control character of two bytes
                             "\xe2\x80\xae right",  // writes from right to left
                             "\xe2\x80\xa8"};       // ends a line
  for (const std::string& name : bad) {
    const Result<void> checked = check_group_name(name);
    ASSERT_FALSE(checked.has_value()) << name;
    EXPECT_EQ(checked.error().code, ErrorCode::argument);
    EXPECT_EQ(checked.error().message.find('\x1b'), std::string::npos) << "terminals would obey it";
  }
}

struct Small {
  testing::TextFiles files;
  Model model = testing::tiny_model({.n_layers = 3, .context = 2048});

  // One document.
  std::string words(int n, int salt) const {
    std::string text;
    for (int i = 0; i < n; ++i) text += fmt::format("w{} ", (i + salt) * 7919 % 613);
    return text;
  }
  Pieces sample(size_t n_groups, int32_t piece_tokens, int n_words) const {
    std::vector<GroupData> groups;
    for (size_t g = 0; g < n_groups; ++g) {
      const std::string name = fmt::format("{:0>{}}", g, kMostGroupName);
      groups.push_back({name, {files.write(fmt::format("{}.txt", g), words(n_words, int(1000 * g)))}});
    }
    return sample_pieces(model.tokenizer(), groups,
                         {.piece_tokens = piece_tokens, .n_fit = 6, .n_choose = 2, .n_report = 2})
        .value();
  }
};

TEST(Limits, AsManyGroupsLevelsAndExitsAsThereMayBeAreReadBack) {
  const Small small;
  const Pieces pieces = small.sample(kMostGroups, 8, 800);
  CalibrateOptions options{.risk = .9, .n_exits = 2, .n_settings = 2, .measured_tokens = 8};
  while (options.more_risks.size() + 1 < kMostLevels) {
    options.more_risks.push_back(.5 + .01 * double(options.more_risks.size()));
  }
  const Calibration found = calibrate(small.model, pieces, options).value();
  ASSERT_FALSE(found.settings.empty()) << found.report;
  const Result<std::string> page = report_html(found.report);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_LT(page->size(), size_t{2} << 20);
  EXPECT_EQ(nlohmann::json::parse(found.report)["passages"].size(), kMostGroups);
  const std::vector<std::byte> parts = parts_bytes(found.exits);
  ASSERT_TRUE(read_parts(parts).has_value()) << read_parts(parts).error().message;
  EXPECT_LT(promise_of(pieces, options).size(), 4096u);
}

TEST(Limits, PiecesMayBeLongerThanAPageTellsPlacesApart) {
  const Small small;
  const int32_t tokens = 16 * kMostStretches + 40;
  const std::string file = small.files.write("long.txt", small.words(60000, 0));
  const Pieces pieces = sample_pieces(small.model.tokenizer(), std::vector<GroupData>{{"long", {file}}},
                                      {.piece_tokens = tokens, .n_fit = 6, .n_choose = 1, .n_report = 1})
                            .value();
  const Calibration found =
      calibrate(small.model, pieces, {.n_exits = 1, .n_settings = 1, .measured_tokens = 8}).value();
  ASSERT_FALSE(found.settings.empty()) << "too little text to say anything about";
  EXPECT_TRUE(report_html(found.report).has_value()) << report_html(found.report).error().message;
  const auto positions = nlohmann::json::parse(found.report)["layer_utility"]["positions"];
  EXPECT_LE(positions.size(), size_t{kMostStretches});
  EXPECT_EQ(positions.back()["to"], tokens - 2);
}

TEST(Limits, WhatIsBeyondThemIsNamedBeforeTheWork) {
  const Small small;
  const auto refused = [](const auto& result) { return result ? std::string() : result.error().message; };
  std::vector<GroupData> groups;
  for (size_t g = 0; g <= kMostGroups; ++g) groups.push_back({fmt::format("g{}", g), {"none.txt"}});
  EXPECT_EQ(refused(sample_pieces(small.model.tokenizer(), groups)),
            "17 groups of text: give at most 16, several kinds under one name");
  EXPECT_NE(
      refused(sample_pieces(small.model.tokenizer(), std::vector<GroupData>{{"a\x07", {"none.txt"}}})).find("\\x07"),
      std::string::npos);
  Pieces pieces;
  pieces.groups.resize(1);
  pieces.groups[0].name = "a";
  EXPECT_EQ(refused(calibrate(small.model, pieces, {.more_risks = std::vector<double>(kMostLevels, .1)})),
            "17 levels of risk: give at most 16");
  EXPECT_EQ(refused(calibrate(small.model, pieces, {.risk = .1, .more_risks = {.1}})), "risk 0.1: twice: give it once");
  EXPECT_EQ(refused(calibrate(small.model, pieces, {.n_settings = kMostSettings + 1})), "n_settings 65: 1 to 64");
  EXPECT_EQ(refused(calibrate(small.model, pieces, {.n_exits = 9})), "n_exits 9: 1 to 8");
  pieces.groups[0].name = "a\nb";
  EXPECT_NE(refused(calibrate(small.model, pieces)).find("can be printed"), std::string::npos);
  pieces.groups.resize(kMostGroups + 1);
  EXPECT_EQ(refused(calibrate(small.model, pieces)), "17 groups of texts: give at most 16");
}

TEST(Limits, AnEncoderHasNothingToCalibrate) {
  const Small small;
  const Pieces pieces = small.sample(1, 8, 800);
  const Result<Calibration> found = calibrate(testing::tiny_model({.family = "bert"}), pieces);
  testing::expect_refused(found, ErrorCode::argument, {"bert", "predicts tokens"});
}

}  // namespace
}  // namespace fathom
