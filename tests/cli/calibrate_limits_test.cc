// What `fathom calibrate` takes gives a sidecar that every other verb takes; what it does not is refused before the
// work, and leaves nothing. Random options, fixed seeds.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "src/calibrate/random.h"
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
using testing::Ran;

class CliCalibrateLimits : public ::testing::Test {
 protected:
  CliCalibrateLimits() {
    const testing::Bytes bytes = testing::tiny_writer({.n_layers = 3}).bytes();
    testing::write_bytes(model_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  // One document, of words that no other salt has.
  std::string text(const std::string& file, int n_words, int salt) const {
    std::string words;
    for (int i = 0; i < n_words; ++i) words += fmt::format("w{}x{} ", salt, i * 7919 % 613);
    testing::write_bytes(folder_ / file, words);
    return folder_ / file;
  }
  Ran calibrate(std::vector<std::string> more) const {
    more.insert(more.begin(), {"calibrate", "-m", model_, "--threads", "1", "-o", sidecar_});
    return fathom_command(more);
  }
  void expect_that_all_take_it(const std::vector<std::string>& groups) const {
    const Ran page = fathom_command({"report", sidecar_, "-o", folder_ / "page.html"});
    EXPECT_EQ(page.code, 0) << page.err;
    checked(fathom_command({"report", sidecar_, "--json"}).out, "report");
    const Ran listed = fathom_command({"policy", "list", "-d", folder_.path(), "--json"});
    EXPECT_TRUE(checked(listed.out, "policy_list")["policies"][0]["fault"].is_null()) << listed.out;
    for (const std::string& group : groups) {
      const Ran ran = fathom_command({"generate", "-m", model_, "-p", "w1", "-n", "2", "--json", "--strict", "--policy",
                                      sidecar_, "--group", group});
      EXPECT_EQ(ran.code, 0) << ran.err;
    }
  }

  testing::TemporaryFolder folder_;
  const std::string model_ = folder_ / "tiny.gguf", sidecar_ = folder_ / "out.fathom";
};

std::string random_name(Random& random) {
  constexpr const char* kParts[] = {"a", "prose", " ", "'", "\"", "$(x)", ",", "é", "水", "\xf0\x9f\x90\x9f", "|"};
  constexpr const char* kBad[] = {"\x1b[31m", "\xff", "\n", "\xc2\x9b"};
  std::string name;
  for (uint64_t n = 1 + random.below(12); n > 0; --n) name += kParts[random.below(std::size(kParts))];
  if (random.below(16) == 0) name += kBad[random.below(std::size(kBad))];
  return name;
}

TEST_F(CliCalibrateLimits, WhateverItTakesAllOthersTake) {
  int taken = 0, tried = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    Random random(seed);
    std::vector<std::string> groups, args = {"--pieces", "6", "--piece-tokens", std::to_string(8 + random.below(20))};
    for (uint64_t n = 1 + random.below(seed % 2 == 0 ? 3 : 18); n > 0; --n) {
      groups.push_back(std::to_string(n) + random_name(random));
      args.insert(args.end(), {"--data", groups.back() + "=" + text(std::to_string(n) + ".txt", 800, int(n))});
    }
    for (uint64_t n = random.below(18); n > 0; --n) {
      args.insert(args.end(), {"--risk", fmt::format("{}", .3 + .1 * random.uniform())});
    }
    const Ran ran = calibrate(args);
    if (ran.code == 0) {
      ++taken;
      tried += ran.err.find("mean depth") != std::string::npos;
      expect_that_all_take_it(groups);
      unlink(sidecar_.c_str());
    } else {
      ++refused;
      EXPECT_EQ(ran.code, 2) << "seed " << seed << ": " << ran.err;
      EXPECT_EQ(ran.err.find('\x1b'), std::string::npos) << "seed " << seed;
      EXPECT_NE(access(sidecar_.c_str(), F_OK), 0) << "seed " << seed;
    }
    if (HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(tried, 0);
  EXPECT_GE(taken, tried);
  EXPECT_GT(refused, 0);
}

TEST_F(CliCalibrateLimits, TooLittleTextIsAWarningAndASidecarThatLosesNothing) {
  const std::string much = text("much.txt", 2000, 1), few = text("few.txt", 60, 2);
  const Ran ran =
      calibrate({"--data", "much=" + much, "--data", "few=" + few, "--pieces", "10", "--piece-tokens", "16", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("group few: "), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("a risk of 2 % needs "), std::string::npos) << ran.err;
  EXPECT_TRUE(checked(ran.out, "report")["promise"]["lossless"].get<bool>());
  expect_that_all_take_it({"much", "few"});
  const Ran shown = fathom_command({"policy", "show", "out", "-d", folder_.path()});
  EXPECT_NE(shown.out.find("lossless: no token can differ"), std::string::npos) << shown.out;
}

TEST_F(CliCalibrateLimits, EnoughTextToFitAndTooLittleForTheRiskIsSaidByGroup) {
  const Ran ran = calibrate({"--data", "prose=" + text("a.txt", 2000, 1), "--pieces", "8", "--piece-tokens", "16"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("group prose: a risk of 2 % needs "), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("mean depth"), std::string::npos) << "settings were tried: " << ran.err;
}

// Words with spaces and quotes, numbers with many digits, another numeric path.
TEST_F(CliCalibrateLimits, TheCommandOfTheReportGivesTheSameSidecar) {
  const std::string data = "it's prose=" + text("a file.txt", 2000, 1);
  const Ran ran = calibrate({"--data", data, "--pieces", "8", "--piece-tokens", "16", "--risk", "0.4123456789",
                             "--risk", "0.5", "--confidence", "0.9000001", "--numerics", "fast", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string command = json::parse(ran.out)["reproduce"]["command"];
  const auto manifest = [&] {
    return std::string(SidecarFile::open(sidecar_).value().json(section::kManifest).value());
  };
  const std::string first = manifest();
  ASSERT_EQ(command.substr(0, 7), "fathom ");
  const std::string again = fmt::format("'{}' {} >/dev/null 2>&1", FATHOM_BINARY, command.substr(7));
  ASSERT_EQ(std::system(again.c_str()), 0) << again;
  EXPECT_EQ(manifest(), first) << command;
}

TEST_F(CliCalibrateLimits, ASidecarIsKnownByWhatItBeginsWithAndARefusedOneIsCounted) {
  ASSERT_EQ(calibrate({"--data", "prose=" + text("a.txt", 400, 1), "--pieces", "6"}).code, 0);
  const std::string plain = folder_ / "policy";
  ASSERT_EQ(rename(sidecar_.c_str(), plain.c_str()), 0);
  const auto with = [&](const char* numerics) {
    const Ran ran = fathom_command(
        {"generate", "-m", model_, "-p", "w1", "-n", "2", "--json", "--policy", plain, "--numerics", numerics});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return checked(ran.out, "generate")["refused_sidecars"].get<int>();
  };
  EXPECT_EQ(with("faithful"), 0);
  EXPECT_EQ(with("fast"), 1);
}

}  // namespace
}  // namespace fathom
