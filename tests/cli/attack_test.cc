// `fathom attack` through the built binary, on a small model with depth to spare.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::checked;
using testing::checked_lines;
using testing::expect_failure;
using testing::fathom_command;
using testing::file_content;
using testing::Ran;

constexpr const char* kPolicy = "exit_when(confidence_at_least=0.5, from_layer=2)";

class CliAttack : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = testing::write_file("attack.gguf", testing::spare_writer(testing::spare_language()));
    worst_ = testing::temporary_path("worst.jsonl");
    ran_ = attack({"--policy", kPolicy, "--json", "-o", worst_});
  }
  static void TearDownTestSuite() {
    unlink(model_.c_str());
    unlink(worst_.c_str());
  }
  static Ran attack(std::vector<std::string> more) {
    std::vector<std::string> args = {"attack", "-m", model_, "--threads", "1"};
    if (std::find(more.begin(), more.end(), "--tokens") == more.end()) args.insert(args.end(), {"--tokens", "16"});
    if (std::find(more.begin(), more.end(), "--sequences") == more.end()) args.insert(args.end(), {"--sequences", "4"});
    args.insert(args.end(), more.begin(), more.end());
    return fathom_command(args);
  }

  static inline std::string model_, worst_;
  static inline Ran ran_;
};

TEST_F(CliAttack, JsonFitsItsSchemaAndNamesEachFamilyAndSafeguard) {
  ASSERT_EQ(ran_.code, 0) << ran_.err;
  const json attack = checked(ran_.out, "attack");
  ASSERT_EQ(attack["families"].size(), 8u);
  EXPECT_EQ(attack["families"][0]["name"], "random");
  EXPECT_EQ(attack["families"][7]["name"], "search");
  EXPECT_EQ(attack["families"][0]["runs"][1]["policy"], std::string(kPolicy) + " | min_depth(layers=6)");
  EXPECT_GT(attack["search_over_random"].get<double>(), 1);
  EXPECT_TRUE(attack["limits_hold"].get<bool>());
  EXPECT_FALSE(attack["limits"].empty());
  EXPECT_NE(attack["claim"].get<std::string>().find("need not hold here"), std::string::npos);
}

TEST_F(CliAttack, TheWorstSequencesAreLinesThatTokenizeBack) {
  const std::vector<json> lines = checked_lines(file_content(worst_), "attack_case");
  ASSERT_FALSE(lines.empty());
  EXPECT_GE(lines.front()["differ"].get<double>(), lines.back()["differ"].get<double>());
  for (const json& line : lines) {
    EXPECT_EQ(line["policy"], kPolicy);
    EXPECT_EQ(line["tokens"].size(), 16u);
  }
}

TEST_F(CliAttack, TheTableSaysPlainlyWhatMayBeConcluded) {
  const Ran table = attack({"--policy", std::string(kPolicy) + " | min_depth(3)"});
  ASSERT_EQ(table.code, 0) << table.err;
  for (const char* said : {"language_switches", "times the disagreement of random prompts", "limit min_depth(layers=3)",
                           ": kept", "need not hold here"}) {
    EXPECT_NE(table.out.find(said), std::string::npos) << said << "\n" << table.out;
  }
}

TEST_F(CliAttack, WhatCannotChangeATokenIsNotAttacked) {
  const Ran lossless = attack({"--policy", "exit_at(2) | kv(verify)"});
  EXPECT_EQ(lossless.code, 0) << lossless.err;
  EXPECT_NE(lossless.out.find("nothing to attack"), std::string::npos) << lossless.out;
  const json report = checked(attack({"--policy", "full_depth", "--json"}).out, "attack");
  EXPECT_TRUE(report["lossless"].get<bool>());
  EXPECT_TRUE(report["search_over_random"].is_null());
}

TEST_F(CliAttack, WrongUsageIsNamed) {
  expect_failure(attack({}), 2, "--policy: missing");
  expect_failure(attack({"--policy", "exit_att(2)"}), 2, "exit_att");
  expect_failure(attack({"--policy", "exit_at(99)"}), 2, "layer=99");
  expect_failure(attack({"--policy", "none.fathom"}), 1, "none.fathom");
  expect_failure(attack({"--policy", kPolicy, "--tokens", "9"}), 2, "--tokens 9: give a whole number from 16 to 4096");
  expect_failure(attack({"--policy", kPolicy, "--tokens", "4096"}), 2, "tokens 4096: give 16 to 511");
  expect_failure(attack({"--policy", kPolicy, "--sequences", "65"}), 2, "from 1 to 64");
  expect_failure(attack({"--policy", kPolicy, "-o", model_}), 1, "was not written by fathom attack");
}

}  // namespace
}  // namespace fathom
