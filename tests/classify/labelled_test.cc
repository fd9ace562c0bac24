// Labelled lines: what is read, what is left out and counted, and that nothing moves between splits.
#include "fathom/classify/labelled.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::expect_refused;

std::string lines(int n, const char* form = R"({{"text":"text {0} of {1}","label":"{1}"}})") {
  std::string all;
  for (int i = 0; i < n; ++i) all += fmt::format(fmt::runtime(form), i, i % 2 == 0 ? "even" : "odd", i / 5) + "\n";
  return all;
}

TEST(Labelled, labels_and_groups_are_numbered_by_name) {
  const LabelledSet set =
      read_labelled(lines(40, R"({{"text":"text {0}","label":"{1}","group":"{1}s","id":{0}}})"), "a.jsonl").value();
  EXPECT_EQ(set.labels, (std::vector<std::string>{"even", "odd"}));
  EXPECT_EQ(set.groups, (std::vector<std::string>{"evens", "odds"}));
  EXPECT_EQ(set.texts.size(), 40u);
  EXPECT_EQ(set.texts[3].labels, (std::vector<int32_t>{1}));
  EXPECT_EQ(set.texts[3].id, "3");
  EXPECT_EQ(set.groups[size_t(set.texts[3].group)], "odds");
  EXPECT_FALSE(set.several);
}

TEST(Labelled, a_list_of_labels_makes_a_task_of_several) {
  const LabelledSet set =
      read_labelled(
          lines(20, R"({{"text":"text {0}","labels":["{1}","any","{1}"]}})") + R"({"text":"none","labels":[]})", "a")
          .value();
  EXPECT_TRUE(set.several);
  EXPECT_EQ(set.texts[0].labels, (std::vector<int32_t>{0, 1}));
  EXPECT_TRUE(set.texts.back().labels.empty());
}

TEST(Labelled, equal_texts_are_kept_once_and_contradictions_not_at_all) {
  const std::string more = R"({"text":"text 1  of odd","label":"odd"})"
                           "\n"
                           R"({"text":"text 2 of even","label":"odd"})";
  const LabelledSet set = read_labelled(lines(40) + more, "a").value();
  EXPECT_EQ(set.n_duplicates, 1);
  EXPECT_EQ(set.n_contradictions, 2);
  EXPECT_EQ(set.texts.size(), 39u);
}

TEST(Labelled, more_lines_move_no_text_to_another_split) {
  std::map<std::string, TaskSplit> before;
  for (const LabelledText& text : read_labelled(lines(60), "a").value().texts) before[text.text] = text.split;
  for (const LabelledText& text : read_labelled(lines(200), "a").value().texts) {
    const auto found = before.find(text.text);
    if (found == before.end()) continue;
    EXPECT_EQ(text.split, found->second) << text.text;
  }
}

TEST(Labelled, shares_are_about_what_was_asked_for) {
  std::array<int, kTaskSplits> n = {};
  for (const LabelledText& text : read_labelled(lines(4000), "a").value().texts) ++n[size_t(text.split)];
  // Four standard deviations of a share of 4,000.
  for (size_t s = 0; s < kTaskSplits; ++s) EXPECT_NEAR(n[s], 4000 * LabelledOptions().shares[s], 4 * 31) << s;
}

TEST(Labelled, texts_of_one_document_are_in_one_split) {
  const LabelledSet set =
      read_labelled(lines(400, R"({{"text":"text {0}","label":"{1}","document":"d{2}"}})"), "a").value();
  std::map<int64_t, TaskSplit> of;
  for (const LabelledText& text : set.texts) {
    const auto [at, is_new] = of.try_emplace(text.document, text.split);
    EXPECT_EQ(at->second, text.split);
  }
  EXPECT_EQ(of.size(), 80u);
}

TEST(Labelled, lines_without_a_group_beside_others_are_a_group_of_their_own) {
  const LabelledSet set =
      read_labelled(lines(40) + lines(40, R"({{"text":"more {0}","label":"{1}","group":"g"}})"), "a").value();
  EXPECT_EQ(set.groups, (std::vector<std::string>{std::string(kNoGroup), "g"}));
}

TEST(Labelled, a_label_that_dropping_others_makes_rare_goes_too) {
  std::string all = lines(40, R"({{"text":"text {0}","labels":["{1}"]}})");
  for (int i = 0; i < 8; ++i) {  // eight of "second", seven of which have "first"
    all += fmt::format("{{\"text\":\"both {}\",\"labels\":[\"second\"{}]}}\n", i, i > 0 ? ",\"first\"" : "");
  }
  const LabelledSet set = read_labelled(all, "a", {.drop_rare = true}).value();
  EXPECT_EQ(set.labels, (std::vector<std::string>{"even", "odd"}));
  EXPECT_EQ(set.n_rare, 8);
}

TEST(Labelled, what_is_wrong_is_told_with_its_line) {
  expect_refused(read_labelled(lines(20) + "{\"text\":3}", "a.jsonl"), ErrorCode::format, {"a.jsonl line 21", "text"});
  expect_refused(read_labelled(lines(20) + "{\"text\":\"x\"}", "a"), ErrorCode::format, {"line 21", "label"});
  expect_refused(read_labelled(lines(20) + "[[[[[[[[[[[[[[[[[[[[[1]", "a"), ErrorCode::format, {"line 21"});
  expect_refused(read_labelled("", "a.jsonl"), ErrorCode::format, {"a.jsonl", "no labelled text"});
  expect_refused(read_labelled(lines(20, R"({{"text":"text {0}","label":"one"}})"), "a"), ErrorCode::format,
                 {"every text has the label \"one\"", "two labels"});
  expect_refused(read_labelled(lines(20) + R"({"text":"x","label":"rare"})", "a"), ErrorCode::format,
                 {"\"rare\" is on 1 texts", "8", "--drop-rare"});
  expect_refused(read_labelled(lines(20), "a", {.shares = {1, 1, 1, 1}}), ErrorCode::argument, {"sum to 4"});
}

TEST(Labelled, what_may_be_left_out_is_counted) {
  const std::string all = lines(20) + "no json\n{}\n" + R"({"text":"x","label":"rare"})";
  const LabelledSet set = read_labelled(all, "a.jsonl", {.drop_rare = true, .skip_bad = true}).value();
  EXPECT_EQ(set.texts.size(), 20u);
  EXPECT_EQ(set.n_bad, 2);
  EXPECT_EQ(set.n_rare, 1);
  EXPECT_NE(set.first_bad.find("line 21"), std::string::npos);
}

}  // namespace
}  // namespace fathom
