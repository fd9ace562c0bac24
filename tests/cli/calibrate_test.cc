// `fathom calibrate` and `fathom certify` through the built binary, on a small model with depth to spare.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/cli/spawn.h"
#include "tests/support/sidecars.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::checked;
using testing::expect_failure;
using testing::fathom_command;
using testing::Ran;
using testing::SpareText;

class CliCalibrate : public ::testing::Test {
 protected:
  // Made once: a model, its texts, and the sidecar of a calibration.
  static void SetUpTestSuite() {
    folder_ = new testing::TemporaryFolder;
    const testing::SpareLanguage language = testing::spare_language();
    const testing::Bytes bytes = testing::spare_writer(language).bytes();
    testing::write_bytes(*folder_ / "spare.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    testing::write_bytes(*folder_ / "prose.txt", testing::spare_text(language, SpareText::prose, 120));
    testing::write_bytes(*folder_ / "code.txt", testing::spare_text(language, SpareText::code, 120));
    calibration_ = calibrate({"-o", sidecar(), "--json"});
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string at(const char* file) { return *folder_ / file; }
  static std::string sidecar() { return at("spare.fathom"); }
  static bool is_lossless_promise() {
    const SidecarFile file = SidecarFile::open(sidecar()).value();
    return json::parse(file.json(section::kManifest).value())["certificate"]["lossless"].get<bool>();
  }
  static Ran calibrate(std::vector<std::string> more, const testing::SpawnOptions& options = {}) {
    std::vector<std::string> args = {"calibrate",
                                     "-m",
                                     at("spare.gguf"),
                                     "--data",
                                     "prose=" + at("prose.txt"),
                                     "--data",
                                     "code=" + at("code.txt"),
                                     "--pieces",
                                     "40",
                                     "--piece-tokens",
                                     "24",
                                     "--risk",
                                     "0.2",
                                     "--risk",
                                     "0.35"};
    args.insert(args.end(), more.begin(), more.end());
    return fathom_command(args, options);
  }

  static testing::TemporaryFolder* folder_;
  static Ran calibration_;
};
testing::TemporaryFolder* CliCalibrate::folder_ = nullptr;
Ran CliCalibrate::calibration_;

TEST_F(CliCalibrate, WritesASidecarWhoseReportIsItsJson) {
  ASSERT_EQ(calibration_.code, 0) << calibration_.err;
  const json report = checked(calibration_.out, "report");
  EXPECT_EQ(report["groups"].size(), 2u);
  const Ran read = fathom_command({"report", sidecar(), "--json"});
  EXPECT_EQ(checked(read.out, "report"), report);
  EXPECT_EQ(fathom_command({"report", sidecar(), "-o", at("page.html")}).code, 0);
  const Ran shown = fathom_command({"policy", "show", "spare", "-d", folder_->path()});
  EXPECT_EQ(shown.code, 0) << shown.err;
  const json& certified = report["certified"].at(0);  // what the promise's policy is hangs on timings as well
  ASSERT_TRUE(certified["group"].is_null()) << certified;
  EXPECT_NE(shown.out.find(certified["policy"].get<std::string>()), std::string::npos) << shown.out;
}

TEST_F(CliCalibrate, ASecondRunWritesTheSameManifestAndPartsByteForByte) {
  ASSERT_EQ(calibrate({"-o", at("again.fathom")}).code, 0);
  const SidecarFile first = SidecarFile::open(sidecar()).value(), again = SidecarFile::open(at("again.fathom")).value();
  for (const std::string_view name : {section::kManifest, section::kParts}) {
    const auto a = first.section(name).value(), b = again.section(name).value();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << name;
  }
  unlink(at("again.fathom").c_str());
}

TEST_F(CliCalibrate, ASidecarIsAPolicyOfItsModelAndOfNoOther) {
  const std::vector<std::string> args = {"generate", "-m", at("spare.gguf"), "-p", " baba", "-n", "12", "--json"};
  auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> all = args;
    all.insert(all.end(), more.begin(), more.end());
    return fathom_command(all);
  };
  const Ran own = with({"--policy", sidecar()});
  ASSERT_EQ(own.code, 0) << own.err;
  EXPECT_EQ(own.err, "");
  const Ran other = with({"--policy", sidecar(), "--numerics", "fast"});
  EXPECT_EQ(other.code, 0);
  EXPECT_NE(other.err.find("running at full depth"), std::string::npos) << other.err;
  EXPECT_EQ(json::parse(other.out)["policy"], "full_depth");
  expect_failure(with({"--policy", sidecar(), "--numerics", "fast", "--strict"}), 1, "numeric");
  expect_failure(with({"--policy", at("none.fathom")}), 1, "no such file: fathom calibrate writes one");
}

// Nothing is certified at the first level, and something at the second: that is no sidecar in which no token can
// differ.
TEST_F(CliCalibrate, ASidecarWithALossyLevelIsNotCalledLossless) {
  const std::string out = at("levels.fathom");
  const Ran ran = fathom_command({"calibrate", "-m", at("spare.gguf"), "--data", "prose=" + at("prose.txt"), "--pieces",
                                  "40", "--piece-tokens", "24", "--risk", "0.0001", "--risk", "0.35", "-o", out});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const json manifest = json::parse(SidecarFile::open(out).value().json(section::kManifest).value());
  ASSERT_NE(manifest["certificate"]["levels"][0]["policy"], "") << "nothing is certified at 35 %";
  ASSERT_NE(manifest["policy"].get<std::string>().find("kv(verify"), std::string::npos);
  EXPECT_FALSE(manifest["certificate"]["lossless"].get<bool>());
  const std::string promise = manifest["promise"];
  EXPECT_NE(promise.find("With --risk-level 0.35, at most 35 % of tokens differ"), std::string::npos) << promise;
  const Ran shown = fathom_command({"policy", "show", "levels", "-d", folder_->path()});
  EXPECT_EQ(shown.out.find("no token can differ"), std::string::npos) << shown.out;
  unlink(out.c_str());
}

TEST_F(CliCalibrate, AGroupOrALevelOfTheSidecarMayBeNamed) {
  const json manifest = json::parse(SidecarFile::open(sidecar()).value().json(section::kManifest).value());
  const json levels = manifest["certificate"]["levels"];
  ASSERT_EQ(levels.size(), 1u);
  EXPECT_EQ(levels[0]["risk"], 0.35);
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"generate", "-m", at("spare.gguf"), "-p",       " baba",
                                    "-n",       "8",  "--json",         "--policy", sidecar()};
    all.insert(all.end(), more.begin(), more.end());
    return fathom_command(all);
  };
  ASSERT_NE(levels[0]["policy"], "") << "nothing is certified at 35 %";
  EXPECT_EQ(json::parse(with({"--risk-level", "0.35"}).out)["policy"], levels[0]["policy"]);
  for (const char* group : {"prose", "code"}) {
    const Ran ran = with({"--group", group});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
  }
  expect_failure(with({"--group", "poetry"}), 2, "group 'poetry': the sidecar knows code, prose");
  expect_failure(with({"--risk-level", "0.3"}), 2, "risk level 0.3: the sidecar holds policies for 0.2, 0.35");
  expect_failure(
      fathom_command({"generate", "-m", at("spare.gguf"), "-p", " baba", "--policy", "exit_at(1)", "--group", "prose"}),
      2, "--group prose: goes only with a sidecar");
}

// The policies of groups and levels that calibration wrote, in the sidecar that a group is chosen from.
TEST_F(CliCalibrate, AGroupsOwnPolicyRunsWhereItIsInUse) {
  const SidecarFile good = SidecarFile::open(sidecar()).value();
  json manifest = json::parse(good.json(section::kManifest).value());
  manifest["certificate"]["own"] =
      json::array({{{"name", "code"}, {"policy", "exit_at(layer=1)"}, {"pieces", 40}, {"mean", 0.1}, {"upper", 0.2}}});
  const std::string text = manifest.dump(), measured = R"j({"groups":[{"name":"code","policy":"exit_at(layer=1)"}]})j";
  const auto parts = good.section(section::kParts).value();
  const SidecarSection sections[] = {{std::string(section::kManifest), testing::as_bytes(text)},
                                     {std::string(section::kMeasured), testing::as_bytes(measured)},
                                     {std::string(section::kParts), parts}};
  ASSERT_TRUE(write_sidecar(at("own.fathom"), sections).has_value());
  const auto policy_of = [&](std::vector<std::string> more) {
    std::vector<std::string> all = {"generate", "-m", at("spare.gguf"), "-p",       " baba",
                                    "-n",       "8",  "--json",         "--policy", at("own.fathom")};
    all.insert(all.end(), more.begin(), more.end());
    return json::parse(fathom_command(all).out)["policy"].get<std::string>();
  };
  EXPECT_EQ(policy_of({"--group", "code"}), "exit_at(layer=1)");
  EXPECT_EQ(policy_of({"--group", "prose"}), manifest["policy"].get<std::string>());
  const Ran certified =
      fathom_command({"certify", at("own.fathom"), "-m", at("spare.gguf"), "--group", "code", "--data",
                      "code=" + at("code.txt"), "--pieces", "30", "--piece-tokens", "24", "--json"});
  const json found = checked(certified.out, "certify");
  EXPECT_EQ(found["group"], "code");
  EXPECT_EQ(found["policy"], "exit_at(layer=1)");
  unlink(at("own.fathom").c_str());
}

// Pieces are as long as those of the promise without being told.
TEST_F(CliCalibrate, CertifyHoldsOnItsOwnKindOfTextAndShowsAShift) {
  ASSERT_FALSE(is_lossless_promise()) << "nothing to check";
  const Ran ran = fathom_command({"certify", sidecar(), "-m", at("spare.gguf"), "--data", "prose=" + at("prose.txt"),
                                  "--data", "poems=" + at("code.txt"), "--pieces", "40", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err.find("stretches"), std::string::npos) << ran.err;
  const json found = checked(ran.out, "certify");
  EXPECT_FALSE(found["broken"].get<bool>());
  ASSERT_EQ(found["groups"].size(), 2u);
  EXPECT_EQ(found["groups"][0]["name"], "poems");
  EXPECT_TRUE(found["groups"][0]["shift"].get<bool>());
  EXPECT_FALSE(found["groups"][1]["shift"].get<bool>());
  EXPECT_GT(found["groups"][1]["units"], 20);

  const Ran other = fathom_command({"certify", sidecar(), "-m", at("spare.gguf"), "--data", "prose=" + at("prose.txt"),
                                    "--pieces", "10", "--piece-tokens", "32"});
  EXPECT_NE(other.err.find("the promise is about stretches of 24 tokens"), std::string::npos) << other.err;
  const Ran shifted = fathom_command(
      {"certify", sidecar(), "-m", at("spare.gguf"), "--data", "poems=" + at("code.txt"), "--pieces", "10"});
  EXPECT_EQ(shifted.code, 0) << shifted.err;
  EXPECT_NE(shifted.out.find("shift"), std::string::npos) << shifted.out;
}

// A sidecar that promises what it cannot keep: exits without any probe of their own at the first layer.
TEST_F(CliCalibrate, CertifySaysWhichGroupBreaksAPromise) {
  const SidecarFile good = SidecarFile::open(sidecar()).value();
  json manifest = json::parse(good.json(section::kManifest).value());
  manifest["policy"] = "exit_at(layer=1)";
  manifest["certificate"]["risk"] = 0.02;
  ASSERT_EQ(manifest["certificate"]["piece_tokens"], 24);
  const std::string text = manifest.dump();
  const SidecarSection sections[] = {{std::string(section::kManifest), testing::as_bytes(text)}};
  ASSERT_TRUE(write_sidecar(at("sly.fathom"), sections).has_value());
  const Ran ran = fathom_command({"certify", at("sly.fathom"), "-m", at("spare.gguf"), "--data",
                                  "prose=" + at("prose.txt"), "--pieces", "30", "--piece-tokens", "24"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_NE(ran.out.find("prose"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("BROKEN"), std::string::npos) << ran.out;
  unlink(at("sly.fathom").c_str());
}

TEST_F(CliCalibrate, ATemperatureIsOfThePromiseAndOfWhatItCovers) {
  const std::string out = at("drawn.fathom");
  const Ran made = calibrate({"-o", out, "--temperature", "0.8", "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const json report = checked(made.out, "report");
  EXPECT_EQ(report["run"]["temperature"], 0.8);
  EXPECT_NE(report["run"]["command"].get<std::string>().find("--temperature 0.8"), std::string::npos);
  const json manifest = json::parse(SidecarFile::open(out).value().json(section::kManifest).value());
  EXPECT_EQ(manifest["format"], 2);
  EXPECT_EQ(manifest["certificate"]["temperature"], 0.8);
  ASSERT_NE(manifest["certificate"]["levels"][0]["policy"], "") << "nothing is certified at 35 %";
  const Ran shown = fathom_command({"policy", "show", "drawn", "-d", folder_->path()});
  EXPECT_EQ(shown.code, 0) << shown.err;
  const auto write = [&](const std::string& policy, std::vector<std::string> more) {
    std::vector<std::string> all = {"generate", "-m",       at("spare.gguf"), "-p",           " baba", "-n",
                                    "8",        "--policy", policy,           "--risk-level", "0.35",  "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return fathom_command(all);
  };
  EXPECT_EQ(write(out, {"--temperature", "0.8"}).err, "");
  const Ran greedy = write(out, {});
  EXPECT_EQ(greedy.code, 0);
  EXPECT_NE(greedy.err.find("certified for tokens drawn at temperature 0.8"), std::string::npos) << greedy.err;
  expect_failure(write(out, {"--strict"}), 2, "give temperature 0.8");
  EXPECT_EQ(write(sidecar(), {}).err, "");
  const Ran drawn = write(sidecar(), {"--temperature", "0.8"});
  EXPECT_NE(drawn.err.find("certified for greedy tokens"), std::string::npos) << drawn.err;
  const std::vector<std::string> again = {"certify",
                                          out,
                                          "-m",
                                          at("spare.gguf"),
                                          "--risk-level",
                                          "0.35",
                                          "--data",
                                          "prose=" + at("prose.txt"),
                                          "--pieces",
                                          "30",
                                          "--piece-tokens",
                                          "24"};
  const Ran text = fathom_command(again);
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("% of probability differ"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("of tokens drawn at temperature 0.8"), std::string::npos) << text.out;
  std::vector<std::string> as_json = again;
  as_json.push_back("--json");
  EXPECT_EQ(checked(fathom_command(as_json).out, "certify")["temperature"], 0.8);
  unlink(out.c_str());
}

TEST_F(CliCalibrate, AfterAnInterruptTheSameCommandGoesOnToTheSameBytes) {
  const std::string out = at("resumed.fathom"), partial = out + ".partial";
  const Ran stopped = calibrate({"-o", out}, {.interrupt_after_bytes = 1, .watched = partial});
  ASSERT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_NE(stopped.err.find("give the same command again to go on from " + partial), std::string::npos) << stopped.err;
  EXPECT_NE(access(out.c_str(), F_OK), 0) << "a sidecar is written whole or not at all";
  expect_failure(calibrate({"-o", out, "--confidence", "0.9"}), 2, "there confidence 0.95, here confidence 0.9");
  ASSERT_EQ(calibrate({"-o", out}).code, 0);
  EXPECT_NE(access(partial.c_str(), F_OK), 0) << "what is done needs no journal";
  const SidecarFile first = SidecarFile::open(sidecar()).value(), again = SidecarFile::open(out).value();
  for (const std::string_view name : {section::kManifest, section::kParts}) {
    const auto a = first.section(name).value(), b = again.section(name).value();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << name;
  }
  unlink(out.c_str());
}

TEST_F(CliCalibrate, RestartPassesOverWhatAnotherRunLeft) {
  const std::string out = at("restarted.fathom"), partial = out + ".partial";
  ASSERT_EQ(calibrate({"-o", out, "--confidence", "0.9"}, {.interrupt_after_bytes = 1, .watched = partial}).code, 130);
  expect_failure(calibrate({"-o", out}), 2, "--restart");
  EXPECT_EQ(calibrate({"-o", out, "--restart"}).code, 0);
  testing::write_bytes(partial, "no journal");
  expect_failure(calibrate({"-o", out}), 1, partial);
  unlink(partial.c_str());
  unlink(out.c_str());
}

TEST_F(CliCalibrate, ABudgetThatIsTooSmallIsNamedAndOneThatIsLargeLeavesNothingOut) {
  const std::string out = at("budget.fathom");
  expect_failure(calibrate({"-o", out, "--budget-minutes", "1"}), 1, "--budget-minutes 1: 36 pieces");
  EXPECT_NE(access(out.c_str(), F_OK), 0);
  const Ran ran = calibrate({"-o", out, "--budget-minutes", "60"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err.find("time for"), std::string::npos) << ran.err;
  const SidecarFile first = SidecarFile::open(sidecar()).value(), again = SidecarFile::open(out).value();
  const auto a = first.section(section::kManifest).value(), b = again.section(section::kManifest).value();
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  unlink(out.c_str());
}

TEST_F(CliCalibrate, BadInputIsNamedAndNothingIsWritten) {
  expect_failure(calibrate({"-o", at("prose.txt")}), 1, "exists and is no sidecar");
  const std::string out = at("new.fathom");
  const auto run = [&](const std::string& data) {
    return fathom_command({"calibrate", "-m", at("spare.gguf"), "--data", data, "-o", out});
  };
  expect_failure(run("prose"), 2, "write NAME=FILE");
  expect_failure(run("prose=" + at("none.txt")), 1, "none.txt");
  expect_failure(run("prose=" + at("spare.gguf")), 1, "spare.gguf");
  testing::write_bytes(at("short.txt"), "baba");
  expect_failure(run("prose=" + at("short.txt")), 1, "no piece of 64 tokens");
  expect_failure(calibrate({"-o", out, "--confidence", "1"}), 2, "confidence 1");
  expect_failure(calibrate({"-o", out, "--temperature=-1"}), 2, "temperature -1");
  expect_failure(calibrate({"-o", out, "--temperature", "nan"}), 2, "temperature nan");
  expect_failure(calibrate({"-o", at("none/new.fathom"), "--budget-minutes", "60"}), 1,
                 "none/new.fathom: cannot be made");
  EXPECT_NE(access(out.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace fathom
