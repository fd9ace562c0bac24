// Digests of files, what a cache of them may be believed, and the fingerprints of a model. Next: manifest_test.cc.
#include "fathom/calibrate/sha256.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "fathom/calibrate/fingerprint.h"
#include "tests/support/sidecars.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::as_bytes;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

// FIPS 180-2, appendix B.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// Later than the tick within which a file may change unseen.
void let_it_settle() { std::this_thread::sleep_for(std::chrono::milliseconds(120)); }

FileSha256 digest(const std::string& path, const std::string& cache = {}) {
  return sha256_of_file(path, {.cache_folder = cache}).value();
}

TEST(Sha256, IsThatOfTheStandardForBytesAndFiles) {
  const TemporaryFolder folder;
  write_bytes(folder / "abc", "abc");
  EXPECT_EQ(sha256_of(as_bytes("abc")), kAbc);
  EXPECT_EQ(digest(folder / "abc").hex, kAbc);
  EXPECT_EQ(sha256_of({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::string large(3'000'001, 'l');  // several reads
  write_bytes(folder / "large", large);
  EXPECT_EQ(digest(folder / "large").hex, sha256_of(as_bytes(large)));
  EXPECT_EQ(digest(folder / "large").bytes, large.size());
  EXPECT_FALSE(sha256_of_file(folder / "none").has_value());
  EXPECT_FALSE(sha256_of_file(folder.path()).has_value());
}

TEST(Sha256, ADigestIsKeptOnlyForTheVeryFileThatWasRead) {
  const TemporaryFolder folder;
  const std::string file = folder / "abc", cache = folder / "deep/cache";
  write_bytes(file, "abc");
  let_it_settle();
  EXPECT_FALSE(digest(file, cache).from_cache);
  const FileSha256 again = digest(file, cache);
  EXPECT_TRUE(again.from_cache);
  EXPECT_EQ(again.hex, kAbc);
  EXPECT_EQ(again.cache_error, "");
  EXPECT_EQ(again.bytes, 3u);
  struct stat before {};
  ASSERT_EQ(stat(file.c_str(), &before), 0);
  write_bytes(file, "abd");  // as long, and its time of change set back
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  const FileSha256 changed = digest(file, cache);
  EXPECT_FALSE(changed.from_cache);
  EXPECT_EQ(changed.hex, sha256_of(as_bytes("abd")));
}

TEST(Sha256, AFileThatChangedJustNowIsNotKept) {
  const TemporaryFolder folder;
  write_bytes(folder / "abc", "abc");
  EXPECT_FALSE(digest(folder / "abc", folder / "cache").from_cache);
  EXPECT_FALSE(digest(folder / "abc", folder / "cache").from_cache);
}

TEST(Sha256, AMangledCacheIsNotBelievedAndFailsNoCall) {
  const TemporaryFolder folder;
  const std::string file = folder / "abc", cache = folder / "cache";
  write_bytes(file, "abc");
  let_it_settle();
  digest(file, cache);
  ASSERT_TRUE(digest(file, cache).from_cache);
  const std::vector<std::string> kept = testing::names_in(cache);
  ASSERT_EQ(kept.size(), 1u);
  const std::string path = cache + "/" + kept[0];
  const std::string good = read_bytes(path);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == '0' ? '1' : '0';
    write_bytes(path, bad);
    const FileSha256 result = digest(file, cache);
    ASSERT_FALSE(result.from_cache) << "byte " << i << " of " << good;
    ASSERT_EQ(result.hex, kAbc);
  }
  const FileSha256 nowhere = digest(file, "/dev/null/cache");
  EXPECT_EQ(nowhere.hex, kAbc);
  EXPECT_NE(nowhere.cache_error, "");
}

TEST(Sha256, StopsWhereItsCallerSays) {
  const TemporaryFolder folder;
  write_bytes(folder / "abc", "abc");
  const auto stopped = sha256_of_file(folder / "abc", {.on_progress = [](void*, uint64_t, uint64_t) { return false; }});
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
}

TEST(SidecarBinding, OfAModelFileIsWhatTheFileSays) {
  const TemporaryFolder folder;
  const std::string path = folder / "tiny.gguf";
  const auto bytes = testing::tiny_writer({.family = "qwen2"}).bytes();
  write_bytes(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const ModelFile file = ModelFile::open(path).value();
  const BoundModel faithful = binding_of(path, file, Numerics::faithful).value();
  EXPECT_EQ(faithful.binding.sha256, sha256_of(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  EXPECT_EQ(faithful.binding.n_layers, file.config().n_layers);
  EXPECT_EQ(faithful.binding.vocab, file.config().vocab);
  const BoundModel fast = binding_of(path, file, Numerics::fast).value();
  const std::vector<std::string> found = compare(faithful.binding, fast.binding);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rfind("numeric path: calibrated for ", 0), 0u) << found[0];
  write_bytes(folder / "other", "short");
  EXPECT_FALSE(binding_of(folder / "other", file, Numerics::fast).has_value()) << "another file lies there by now";
}

}  // namespace
}  // namespace fathom
