// fathom classify: from labelled lines to a task, from a task to labels, and what is refused.
// Next: compare_traces_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "src/calibrate/random.h"
#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/support/encoders.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::checked_lines;
using testing::Cli;
using testing::expect_failure;
using testing::fathom_command;
using testing::file_content;
using testing::Ran;
using testing::temporary_path;

/// The label is the letter that half of the words are.
std::string labelled_lines(int n) {
  fathom::Random random(23);
  std::string all;
  for (int i = 0; i < n; ++i) {
    const int label = static_cast<int>(random.uniform() * 2);
    std::string text(1, static_cast<char>('a' + label));
    for (int w = 0; w < 10; ++w) {
      text +=
          std::string(" ") + static_cast<char>(random.uniform() < 0.5 ? 'a' + label : 'c' + int(random.uniform() * 20));
    }
    all += json{{"text", fmt::format("{} {}", text, i)}, {"label", label == 0 ? "A" : "B"}}.dump() + "\n";
  }
  return all;
}

class CliClassify : public Cli {
 protected:
  static void SetUpTestSuite() {
    Cli::SetUpTestSuite();
    encoder_ = testing::write_file("classify_encoder.gguf", testing::tiny_writer({.family = "bert", .n_layers = 3}));
    task_ = temporary_path("classify_task.fathom");
    trained_ = new Ran(train(labelled_lines(700), task_, {"--json"}));
  }
  static void TearDownTestSuite() {
    delete trained_;
    unlink(encoder_.c_str());
    unlink(task_.c_str());
    Cli::TearDownTestSuite();
  }
  static Ran train(const std::string& lines, const std::string& output, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"classify", "train", "-m", encoder_, "--threads", "1", "-f", "-", "-o", output, "--risk", "0.1"});
    return fathom_command(more, {.input = lines});
  }
  static Ran label(const std::string& lines, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"classify", "run", task_, "-m", encoder_, "--threads", "1", "-f", "-"});
    return fathom_command(more, {.input = lines});
  }
  static inline std::string encoder_, task_;
  static inline Ran* trained_ = nullptr;
};

TEST_F(CliClassify, TrainingSaysWhatItFound) {
  ASSERT_EQ(trained_->code, 0) << trained_->err;
  const json found = checked_lines(trained_->out, "classify_report").at(0);
  EXPECT_TRUE(found.at("certified"));
  EXPECT_EQ(found.at("labels"), (json{"A", "B"}));
  EXPECT_NE(std::string(found.at("command")).find("fathom classify train"), std::string::npos);
  EXPECT_EQ(found.at("depths").size(), 4u);
  const Ran again = fathom_command({"classify", "report", task_, "--json"});
  EXPECT_EQ(again.out, trained_->out);
}

TEST_F(CliClassify, EachLineGetsALabelInTheFilesOrder) {
  const Ran ran = label("{\"text\":\"a a a a\",\"id\":\"first\"}\n{\"text\":\"b b b b\"}\n{\"text\":\"\"}\n");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::vector<json> lines = checked_lines(ran.out, "classify");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("label"), "A");
  EXPECT_EQ(lines[0].at("id"), "first");
  EXPECT_EQ(lines[1].at("label"), "B");
  EXPECT_TRUE(lines[1].at("id").is_null());
  EXPECT_EQ(lines[2].at("line"), 3);
  EXPECT_EQ(ran.err.rfind("3 texts in ", 0), 0u) << ran.err;
}

TEST_F(CliClassify, APolicyThatIsGivenIsTheOneThatRuns) {
  const std::string text = "{\"text\":\"a a b b\"}\n";
  EXPECT_EQ(checked_lines(label(text, {"--policy", "full_depth"}).out, "classify")[0].at("depth"), 3);
  EXPECT_EQ(checked_lines(label(text, {"--policy", "exit_at(layer=2)"}).out, "classify")[0].at("depth"), 2);
  EXPECT_EQ(checked_lines(label(text, {"--policy", "word_exit(0)"}).out, "classify")[0].at("depth"), 0);
}

TEST_F(CliClassify, TheReportIsAPage) {
  const std::string page = temporary_path("classify.html");
  EXPECT_EQ(fathom_command({"classify", "report", task_, "-o", page}).code, 0);
  EXPECT_NE(file_content(page).find("Where texts leave"), std::string::npos);
  unlink(page.c_str());
  expect_failure(fathom_command({"classify", "report", task_}), 2, "-o is missing");
}

TEST_F(CliClassify, WhatIsWrongIsTold) {
  const std::string other = temporary_path("classify_other.fathom");
  expect_failure(train(labelled_lines(40) + "{\"text\":1}\n", other), 1, "line 41: text");
  expect_failure(train("{\"text\":\"a\",\"label\":\"A\"}\n", other), 1, "label \"A\" is on 1 texts");
  expect_failure(train(labelled_lines(100), other, {"--risk", "2"}), 2, "risk");
  EXPECT_FALSE(std::filesystem::exists(other));
  expect_failure(fathom_command({"classify", "mend"}), 2, "no verb mend: give train, run or report");
  expect_failure(label("no json\n"), 1, "line 1");
  const Ran skipped = label("no json\n{\"text\":\"a\"}\n", {"--skip-bad"});
  EXPECT_EQ(skipped.code, 0);
  EXPECT_NE(skipped.err.find("1 bad line"), std::string::npos) << skipped.err;
}

TEST_F(CliClassify, ATaskOfAnotherModelOrPathIsNotUsedSilently) {
  const std::string deeper =
      testing::write_file("classify_deeper.gguf", testing::tiny_writer({.family = "bert", .n_layers = 4}));
  expect_failure(fathom_command({"classify", "run", task_, "-m", deeper, "-f", "-"}, {.input = ""}), 2,
                 "trained for another model");
  unlink(deeper.c_str());
  const Ran rounded = label("{\"text\":\"a a a\"}\n", {"--precision", "bf16"});
  EXPECT_EQ(rounded.code, 0);
  EXPECT_NE(rounded.err.find("full depth runs, and nothing is promised"), std::string::npos) << rounded.err;
  EXPECT_EQ(checked_lines(rounded.out, "classify")[0].at("depth"), 3);
  expect_failure(label("", {"--precision", "bf16", "--strict"}), 1, "nothing is promised");
  expect_failure(label("", {"--precision", "int8", "--strict"}), 1, "nothing is promised");
}

TEST_F(CliClassify, APromiseInEightBitsHoldsInEightBitsAlone) {
  const std::string task = temporary_path("classify_int8.fathom");
  const Ran trained = train(labelled_lines(700), task, {"--json", "--precision", "int8"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const std::string command = checked_lines(trained.out, "classify_report").at(0).at("command");
  EXPECT_NE(command.find(" --precision int8"), std::string::npos) << command;
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"classify", "run", task, "-m", encoder_, "-f", "-", "--strict"});
    return fathom_command(more, {.input = "{\"text\":\"a a a\"}\n"});
  };
  EXPECT_EQ(run({"--precision", "int8"}).code, 0);
  expect_failure(run({}), 1, "nothing is promised");
  unlink(task.c_str());
}

}  // namespace
}  // namespace fathom
