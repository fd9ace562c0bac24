// `fathom report` through its built binary: the page, the JSON against its schema, and what it never overwrites.
#include "fathom/calibrate/report.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

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
using testing::file_content;
using testing::Ran;
using testing::temporary_file;
using testing::temporary_path;

std::string sample(const char* name) { return std::string(FATHOM_CALIBRATE_DATA) + "/" + name + ".json"; }

TEST(CliReport, WritesThePageAndSaysNothing) {
  const std::string page = temporary_path("report.html");
  for (const char* name : {"report_yes", "report_no_go"}) {  // the second one over the first
    const Ran ran = fathom_command({"report", sample(name), "-o", page});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out + ran.err, "");
    EXPECT_EQ(file_content(page), report_html(file_content(sample(name))).value());
  }
  unlink(page.c_str());
}

TEST(CliReport, JsonIsOneLineOfTheSameNumbers) {
  for (const char* name : {"report_yes", "report_no_go"}) {
    const Ran ran = fathom_command({"report", sample(name), "--json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 1);
    EXPECT_EQ(checked(ran.out, "report"), json::parse(file_content(sample(name)))) << name;
  }
}

TEST(CliReport, ASidecarsReportIsReadAsItsJsonIs) {
  const testing::TemporaryFolder folder;
  const std::string report = file_content(sample("report_yes")), path = folder / "a.fathom";
  const SidecarSection sections[] = {{std::string(section::kReport), testing::as_bytes(report)}};
  ASSERT_TRUE(write_sidecar(path, sections).has_value());
  const Ran ran = fathom_command({"report", path, "-o", folder / "page.html", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(checked(ran.out, "report"), json::parse(report));
  EXPECT_EQ(file_content(folder / "page.html"), report_html(report).value());
  EXPECT_EQ(fathom_command({"report", "-", "--json"}, {.input = testing::read_bytes(path)}).out, ran.out);
  expect_failure(fathom_command({"report", path, "-o", path}), 1, "exists and is no page of this verb");
  testing::put_sidecar(folder.path(), "bare", testing::small_manifest());
  expect_failure(fathom_command({"report", folder / "bare.fathom", "--json"}), 1,
                 "has no section \"report\": calibrate again");
  std::string damaged = testing::read_bytes(path);
  damaged.back() ^= 1;
  testing::write_bytes(path, damaged);
  expect_failure(fathom_command({"report", path, "--json"}), 1, "section \"report\" is damaged");
}

TEST(CliReport, ReplacesNothingButItsOwnPages) {
  const std::string kept = temporary_file("kept.html", "<!doctype html>\n<p>mine"), link = temporary_path("link.html");
  expect_failure(fathom_command({"report", sample("report_yes"), "-o", kept}), 1, "exists and is no page of this verb");
  EXPECT_EQ(file_content(kept), "<!doctype html>\n<p>mine");
  expect_failure(fathom_command({"report", sample("report_yes"), "-o", ::testing::TempDir()}), 1, "give another path");
  expect_failure(fathom_command({"report", sample("report_yes"), "-o", "/nonexistent/dir/page"}), 1,
                 "-o /nonexistent/dir/page: ");
  const std::string page = temporary_file("empty.html", "");
  ASSERT_EQ(symlink(page.c_str(), link.c_str()), 0);
  EXPECT_EQ(fathom_command({"report", sample("report_yes"), "-o", link}).code, 0);
  struct stat s {};
  ASSERT_EQ(lstat(link.c_str(), &s), 0);
  EXPECT_TRUE(S_ISLNK(s.st_mode)) << "a link is followed";
  EXPECT_EQ(file_content(page).rfind(kReportPageStart, 0), 0u);
  for (const std::string& path : {kept, link, page}) unlink(path.c_str());
}

TEST(CliReport, AFailureLeavesTheOldPage) {
  const std::string page = temporary_path("old.html");
  ASSERT_EQ(fathom_command({"report", sample("report_yes"), "-o", page}).code, 0);
  const std::string old = file_content(page);
  const std::string bad = temporary_file("bad.json", R"({"format":1,"model":{"name":"m","layers":"many"}})");
  expect_failure(fathom_command({"report", bad, "-o", page}), 1, "model.layers: \"many\": give a whole number");
  EXPECT_EQ(file_content(page), old);
  for (const std::string& path : {page, bad}) unlink(path.c_str());
}

TEST(CliReport, WrongUsageAndBadFilesAreOneLine) {
  expect_failure(fathom_command({"report"}), 2, "file: missing");
  expect_failure(fathom_command({"report", sample("report_yes")}), 2, "-o is missing");
  expect_failure(fathom_command({"report", "/nonexistent.fathom", "--json"}), 1, "/nonexistent.fathom");
  const std::string empty = temporary_file("empty.json", ""), text = temporary_file("text.json", "no JSON");
  expect_failure(fathom_command({"report", empty, "--json"}), 1, "is empty");
  expect_failure(fathom_command({"report", text, "--json"}), 1, "no JSON at byte 2");
  for (const std::string& path : {empty, text}) unlink(path.c_str());
}

}  // namespace
}  // namespace fathom
