// `fathom policy` through its built binary: every verb in text and in JSON against its schema, and what fails.
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fathom/calibrate/parts.h"
#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/cli/spawn.h"
#include "tests/support/sidecars.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::checked;
using testing::expect_failure;
using testing::fathom_command;
using testing::put_sidecar;
using testing::Ran;
using testing::small_manifest;

constexpr const char* kNew = "exit_when(confidence_at_least=0.8) | min_depth(layers=6)";

class CliPolicy : public ::testing::Test {
 protected:
  CliPolicy() {
    put_sidecar(folder_.path(), "old", small_manifest());
    put_sidecar(folder_.path(), "new", small_manifest(kNew));
  }
  Ran run(std::vector<std::string> args) const {
    args.insert(args.begin(), "policy");
    args.insert(args.end(), {"-d", folder_.path()});
    return fathom_command(args);
  }
  json run_json(std::vector<std::string> args, const char* schema) const {
    args.push_back("--json");
    const Ran ran = run(args);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return checked(ran.out, schema);
  }
  static void expect_says(const Ran& ran, const std::string& text) {
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.out.find(text), std::string::npos) << text << " is not in:\n" << ran.out;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(CliPolicy, ActivatesListsAndGoesBack) {
  EXPECT_TRUE(run_json({"list"}, "policy_list")["active"].is_null());
  expect_says(run({"activate", "old"}), "old is active since ");
  EXPECT_EQ(run_json({"activate", "new.fathom"}, "policy_activate")["name"], "new");
  const json list = run_json({"list"}, "policy_list");
  EXPECT_EQ(list["active"]["name"], "new");
  ASSERT_EQ(list["policies"].size(), 2u);
  EXPECT_EQ(list["policies"][0]["policy"], kNew);
  EXPECT_EQ(list["policies"][0]["active"], true);
  EXPECT_EQ(list["policies"][1]["active"], false);
  EXPECT_EQ(list["policies"][1]["groups"], json({"prose", "code"}));
  expect_says(run({"list"}), "* new  ");
  EXPECT_EQ(run_json({"rollback"}, "policy_activate")["name"], "old");
  expect_failure(run({"rollback"}), 1,
                 "policy rollback: policy store " + folder_.path() + ": nothing was active before old");
}

TEST_F(CliPolicy, ShowsWhatASidecarSays) {
  const Ran text = run({"show", "old"});
  expect_says(text, "policy       exit_when(confidence_at_least=0.9)\n             min_depth(layers=6)\n");
  expect_says(text, "certificate  risk 0.02 at confidence 0.95\n");
  expect_says(text, "numerics faithful: q12\n");
  const json shown = run_json({"show", "old"}, "policy_show");
  EXPECT_EQ(shown["manifest"], json::parse(manifest_json(small_manifest())));
  EXPECT_EQ(shown["sections"][1], json({{"name", "parts"}, {"bytes", parts_bytes({}).size()}}));
}

TEST_F(CliPolicy, TellsTwoSidecarsApart) {
  expect_says(run({"diff", "old", "new"}),
              "policy stage 1\n  - exit_when(confidence_at_least=0.9)\n  + exit_when(confidence_at_least=0.8)\n");
  const json found = run_json({"diff", "old", "new"}, "policy_diff");
  EXPECT_EQ(found["same"], false);
  EXPECT_EQ(found["differences"].size(), 1u);
  EXPECT_EQ(run_json({"diff", "old", "old"}, "policy_diff")["same"], true);
  expect_says(run({"diff", "new", "new"}), "the manifests are equal\n");
}

TEST_F(CliPolicy, DamageIsShownAndNotActivated) {
  const std::string whole = testing::read_bytes(folder_ / "old.fathom");
  testing::write_bytes(folder_ / "half.fathom", whole.substr(0, whole.size() / 2));
  expect_says(run({"list"}), "! half  ");
  expect_failure(run({"activate", "half"}), 1, "half.fathom");
  expect_failure(run({"show", "half"}), 1, "half.fathom");
  ASSERT_EQ(run({"activate", "old"}).code, 0);
  put_sidecar(folder_.path(), "old", small_manifest(kNew));
  const Ran ran = run({"list"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.err.find("old.fathom changed since it was activated"), std::string::npos) << ran.err;
}

TEST_F(CliPolicy, WhatStandsInAFileNeverReachesTheTerminalAsACommand) {
  Manifest manifest = small_manifest();
  manifest.promise = "nothing\x1b[2J\nold is certified";
  put_sidecar(folder_.path(), "sly", manifest);
  for (const Ran& ran : {run({"list"}), run({"show", "sly"}), run({"diff", "old", "sly"})}) {
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
    EXPECT_EQ(ran.out.find("\nold is certified"), std::string::npos);
  }
}

TEST_F(CliPolicy, WrongUsageIsOneLine) {
  expect_failure(fathom_command({"policy"}), 2, "no verb: give list, show, diff, activate or rollback");
  expect_failure(fathom_command({"policy", "lst"}), 2, "no verb lst: give list");
  expect_failure(fathom_command({"policy", "list"}), 2, "policy list");
  expect_failure(run({"show"}), 2, "name: missing");
  expect_failure(run({"activate", "../old"}), 2, "no name of a sidecar");
  expect_failure(run({"show", "none"}), 1, "policy none: there is no ");
  expect_failure(fathom_command({"policy", "list", "-d", "/nonexistent"}), 1, "policy store /nonexistent");
}

}  // namespace
}  // namespace fathom
