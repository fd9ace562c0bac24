// fathom calibrate-embed: from texts to a sidecar, from a sidecar to vectors, and what is refused.
// Next: calibrate_limits_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

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
using testing::Ran;
using testing::temporary_file;
using testing::temporary_path;

std::string lines(int n) {
  std::string all;
  for (int i = 0; i < n; ++i) {
    all += json{{"text", testing::text_of_tokens(20 + i % 30, static_cast<uint64_t>(i) + 1)}}.dump() + "\n";
  }
  return all;
}

class CliCalibrateEmbed : public Cli {
 protected:
  static void SetUpTestSuite() {
    Cli::SetUpTestSuite();
    encoder_ = testing::write_file("ce_encoder.gguf", testing::tiny_writer({.family = "bert", .n_layers = 3}));
    texts_ = temporary_file("ce_texts.jsonl", lines(200));
    sidecar_ = temporary_path("ce.fathom");
  }
  static void TearDownTestSuite() {
    for (const std::string& path : {encoder_, texts_, sidecar_}) unlink(path.c_str());
    Cli::TearDownTestSuite();
  }
  static Ran calibrate(const std::string& texts, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"calibrate-embed", "-m", encoder_, "--threads", "1", "--data", "all=" + texts, "-o",
                               sidecar_, "--risk", "0.05", "--max-tokens", "32"});
    return fathom_command(more);
  }
  static Ran embed(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"embed", "-m", encoder_, "--threads", "1", "-f", "-", "--sidecar", sidecar_});
    return fathom_command(more, {.input = "{\"text\":\"a b c d\"}\n"});
  }
  static inline std::string encoder_, texts_, sidecar_;
};

TEST_F(CliCalibrateEmbed, WhatIsFoundIsTold) {
  const Ran ran = calibrate(texts_, {"--json", "--cosine", "0.3", "--policy", "exit_at(layer=2)"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const json found = checked_lines(ran.out, "embed_report").at(0);
  EXPECT_EQ(found.at("policy"), "exit_at(layer=2)");
  EXPECT_TRUE(found.at("certified"));
  EXPECT_EQ(found.at("max_tokens"), 32);
  EXPECT_EQ(found.at("groups")[0].at("certify"), found.at("passed")[0].at("texts"));
  EXPECT_NE(std::string(found.at("command")).find("--policy 'exit_at(layer=2)'"), std::string::npos);
  const Ran told = calibrate(texts_, {"--cosine", "0.99999"});
  ASSERT_EQ(told.code, 0) << told.err;
  EXPECT_NE(told.out.find("No-go: "), std::string::npos) << told.out;
}

TEST_F(CliCalibrateEmbed, ASidecarRunsWhereItFitsAndFullDepthElsewhere) {
  ASSERT_EQ(calibrate(texts_, {"--cosine", "0.3", "--policy", "exit_at(layer=1)"}).code, 0);
  const Ran fits = embed({"--strict"});
  EXPECT_EQ(fits.code, 0) << fits.err;
  EXPECT_EQ(fits.err.find("nothing is promised"), std::string::npos) << fits.err;
  for (const std::vector<std::string>& other :
       {std::vector<std::string>{"--max-tokens", "16"}, {"--precision", "bf16"}}) {
    const Ran ran = embed(other);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.err.find("full depth runs, and nothing is promised"), std::string::npos) << ran.err;
    EXPECT_EQ(checked_lines(ran.out, "embed").at(0).at("depth"), 3);
    std::vector<std::string> strict = other;
    strict.emplace_back("--strict");
    expect_failure(embed(strict), 1, "nothing is promised");
  }
}

TEST_F(CliCalibrateEmbed, WhatIsWrongIsTold) {
  const std::string few = temporary_file("ce_few.jsonl", lines(1));
  const std::string none = temporary_file("ce_none.jsonl", "\n");
  expect_failure(calibrate(few), 1, "59 are needed");
  expect_failure(calibrate(none), 1, "no text");
  expect_failure(calibrate(texts_, {"--texts", "10"}), 2, "59 of each group are needed");
  expect_failure(calibrate(texts_, {"--cosine", "1.5"}), 2, "cosine 1.5");
  expect_failure(calibrate(texts_, {"--policy", "exit_at(layer=9)"}), 2, "layer=9");
  expect_failure(fathom_command({"calibrate-embed", "-m", plain_, "--data", "a=" + texts_, "-o", sidecar_}), 2,
                 "predicts tokens");
  expect_failure(embed({"--policy", "full_depth"}), 2, "--sidecar");
  expect_failure(fathom_command({"embed", "-m", encoder_, "-f", "-", "--sidecar", "none.fathom"}), 1,
                 "no such file: fathom calibrate-embed writes one");
  for (const std::string& path : {few, none}) unlink(path.c_str());
}

}  // namespace
}  // namespace fathom
