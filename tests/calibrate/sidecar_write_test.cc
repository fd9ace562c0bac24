// Writing a sidecar: the path holds the old file or the new one, whatever fails. Next: sha256_test.cc.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/whole_file.h"
#include "tests/support/sidecars.h"

namespace fathom {
namespace {

using testing::as_bytes;
using testing::read_bytes;
using testing::TemporaryFolder;
using Names = std::vector<std::string>;

Result<void> write(const std::string& path, const std::string& parts) {
  const SidecarSection section{"parts", as_bytes(parts)};
  return write_sidecar(path, std::span(&section, 1));
}

std::string fault_of(const Result<void>& result) { return result ? std::string() : result.error().message; }

TEST(WriteSidecar, WritesTheBytesOfSidecarBytesAndNothingBesideThem) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.fathom";
  for (const std::string& parts : {std::string("first"), std::string(100000, 'x'), std::string("last")}) {
    ASSERT_EQ(fault_of(write(path, parts)), "");
    const SidecarSection section{"parts", as_bytes(parts)};
    const auto bytes = sidecar_bytes(std::span(&section, 1)).value();
    EXPECT_EQ(read_bytes(path), testing::as_text(bytes));
    EXPECT_EQ(folder.names(), Names{"a.fathom"});
  }
  EXPECT_EQ(SidecarFile::open(path).value().path(), path);
}

// Before hours of work, and not behind them.
TEST(CheckPlace, KnowsBeforehandWhereNothingCanBeWrittenAndLeavesNothing) {
  const TemporaryFolder folder;
  const OutputKind kind = {.name = "-o", .first = kSidecarStart, .foreign = "exists and is no sidecar"};
  EXPECT_EQ(fault_of(check_place(folder / "new.fathom", kind)), "");
  EXPECT_EQ(folder.names(), Names{});
  EXPECT_NE(fault_of(check_place(folder / "none/new.fathom", kind)).find("none/new.fathom: cannot be made"),
            std::string::npos);
}

// The system says that a file may not grow as it says that a disk is full: by a write that fails, or is short.
TEST(WriteSidecar, ADiskThatIsFullKeepsTheOldFileAndNoPartOfTheNew) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.fathom", old(1000, 'o');
  ASSERT_EQ(fault_of(write(path, old)), "");
  const std::string before = read_bytes(path);
  for (const rlim_t limit : {0, 1, 128, 5000}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit bytes{limit, limit};
      if (setrlimit(RLIMIT_FSIZE, &bytes) != 0) _exit(2);
      const Result<void> written = write(path, std::string(10000, 'n'));
      _exit(!written && written.error().code == ErrorCode::file &&
                    written.error().message.find("free space") != std::string::npos
                ? 0
                : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << limit;
    EXPECT_EQ(read_bytes(path), before) << limit;
    EXPECT_EQ(folder.names(), Names{"a.fathom"}) << limit;
  }
}

TEST(WriteSidecar, ReplacesNothingThatIsNoSidecar) {
  const TemporaryFolder folder;
  testing::write_bytes(folder / "letter", "dear reader");
  testing::write_bytes(folder / "empty", "");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(fault_of(write(folder / "letter", "x")),
            "sidecar " + (folder / "letter") + ": exists and is no sidecar: give another path");
  EXPECT_EQ(read_bytes(folder / "letter"), "dear reader");
  EXPECT_NE(fault_of(write(folder / "pipe", "x")).find("is not a regular file"), std::string::npos);
  EXPECT_NE(fault_of(write(folder.path(), "x")).find("is not a regular file"), std::string::npos);
  EXPECT_NE(fault_of(write("/dev/full", "x")).find("is not a regular file"), std::string::npos);
  struct stat s {};
  EXPECT_TRUE(stat("/dev/full", &s) == 0 && S_ISCHR(s.st_mode)) << "a device was replaced";
  EXPECT_NE(fault_of(write(folder / "none/a.fathom", "x")).find("cannot be made"), std::string::npos);
  EXPECT_NE(fault_of(write(folder / "letter/a.fathom", "x")), "");
  EXPECT_EQ(fault_of(write(folder / "empty", "x")), "");
  EXPECT_EQ(folder.names(), (Names{"empty", "letter", "pipe"}));
}

TEST(WriteSidecar, ALinkIsFollowedAndStays) {
  const TemporaryFolder folder;
  ASSERT_EQ(fault_of(write(folder / "real.fathom", "old")), "");
  ASSERT_EQ(symlink("real.fathom", (folder / "link.fathom").c_str()), 0);
  ASSERT_EQ(symlink("nowhere", (folder / "lost.fathom").c_str()), 0);
  EXPECT_EQ(fault_of(write(folder / "link.fathom", "new")), "");
  struct stat s {};
  EXPECT_TRUE(lstat((folder / "link.fathom").c_str(), &s) == 0 && S_ISLNK(s.st_mode));
  const SidecarFile real = SidecarFile::open(folder / "real.fathom").value();
  EXPECT_EQ(testing::as_text(real.section("parts").value()), "new");
  EXPECT_NE(fault_of(write(folder / "lost.fathom", "x")).find("leads nowhere"), std::string::npos);
}

TEST(WriteSidecar, WhatAWriterThatWasCutOffLeftIsInNobodysWay) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.fathom";
  for (int i = 0; i < 64; ++i) {
    testing::write_bytes(path + ".unfinished-" + std::to_string(getpid()) + "-" + std::to_string(i), "half");
  }
  EXPECT_EQ(fault_of(write(path, "whole")), "");
  EXPECT_EQ(testing::as_text(SidecarFile::open(path).value().section("parts").value()), "whole");
}

TEST(WriteSidecar, AReaderBesideTwoWritersSeesWholeFilesOnly) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.fathom", texts[] = {std::string(5000, 'a'), std::string(70000, 'b')};
  ASSERT_EQ(fault_of(write(path, texts[0])), "");
  std::atomic<int> writing{2}, failed{0};
  const auto writer = [&](const std::string& text) {
    for (int i = 0; i < 20; ++i) failed += write(path, text) ? 0 : 1;
    --writing;
  };
  std::thread a(writer, texts[0]), b(writer, texts[1]);
  int reads = 0;
  std::string fault;
  while (writing > 0) {
    const auto file = SidecarFile::open(path);
    if (!file) {
      fault = file.error().message;
      break;
    }
    const std::string parts(testing::as_text(file->section("parts").value()));
    EXPECT_TRUE(parts == texts[0] || parts == texts[1]);
    ++reads;
  }
  a.join(), b.join();
  EXPECT_EQ(fault, "");
  EXPECT_EQ(failed, 0);
  EXPECT_GT(reads, 0);
  EXPECT_EQ(folder.names(), Names{"a.fathom"});
}

}  // namespace
}  // namespace fathom
