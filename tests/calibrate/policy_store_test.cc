// A store shows what lies there, runs nothing that was not activated, and goes back the way it came.
#include "fathom/calibrate/policy_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "fathom/calibrate/sha256.h"
#include "fathom/calibrate/sidecar_file.h"
#include "tests/support/sidecars.h"

namespace fathom {
namespace {

using testing::as_bytes;
using testing::put_sidecar;
using testing::read_bytes;
using testing::small_manifest;
using testing::TemporaryFolder;
using testing::write_bytes;

constexpr const char* kPolicies[] = {"exit_when(confidence_at_least=0.9) | min_depth(layers=6)",
                                     "exit_when(confidence_at_least=0.8) | min_depth(layers=6)", "full_depth"};

class PolicyStoreTest : public ::testing::Test {
 protected:
  PolicyStoreTest() {
    const char* const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; ++i) put_sidecar(folder_.path(), names[i], small_manifest(kPolicies[i]));
  }
  static std::string active(const PolicyStore& store) {
    const auto active = store.active().value();
    return active ? active->name : "";
  }
  template <class T>
  static std::string fault_of(const Result<T>& result) {
    return result ? std::string() : result.error().message;
  }
  std::string path(const char* name) const { return folder_ / (std::string(name) + ".fathom"); }

  TemporaryFolder folder_;
  PolicyStore store_ = PolicyStore::open(folder_.path()).value();
};

TEST_F(PolicyStoreTest, ListsEverySidecarDamagedOnesToo) {
  write_bytes(path("broken"), read_bytes(path("a")).substr(0, 200));
  write_bytes(folder_ / "letter.txt", "dear reader");
  ASSERT_TRUE(store_.activate("b").has_value());
  const std::vector<StoredPolicy> list = store_.list().value();
  ASSERT_EQ(list.size(), 4u);
  const char* const names[] = {"a", "b", "broken", "c"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(list[i].name, names[i]);
    EXPECT_EQ(list[i].active, i == 1);
    EXPECT_EQ(list[i].manifest.has_value(), i != 2);
    EXPECT_EQ(list[i].fault.empty(), i != 2);
  }
  EXPECT_EQ(list[0].manifest->policy, kPolicies[0]);
  EXPECT_NE(list[2].fault.find("has 200 bytes of "), std::string::npos) << list[2].fault;
}

TEST_F(PolicyStoreTest, RollsBackTheWayItCameHoweverOftenItIsActivatedInBetween) {
  EXPECT_NE(fault_of(store_.rollback()).find("nothing is active"), std::string::npos);
  EXPECT_EQ(folder_.names().size(), 3u) << "an empty store was touched";
  for (const char* name : {"a", "b", "c.fathom"}) ASSERT_EQ(fault_of(store_.activate(name)), "");
  EXPECT_EQ(active(store_), "c");
  EXPECT_EQ(store_.rollback().value().name, "b");
  ASSERT_EQ(fault_of(store_.activate("c")), "");  // b stands before it once more
  EXPECT_EQ(store_.rollback().value().name, "b");
  EXPECT_EQ(store_.rollback().value().name, "a");
  EXPECT_EQ(fault_of(store_.rollback()),
            "policy store " + folder_.path() + ": nothing was active before a: activate a policy by name");
  EXPECT_EQ(active(store_), "a");
}

TEST_F(PolicyStoreTest, WhatIsActiveAlreadyStaysAndNothingIsWritten) {
  const ActivePolicy first = store_.activate("a").value();
  const std::string history = read_bytes(folder_ / "history.jsonl");
  EXPECT_EQ(store_.activate("a").value(), first);
  EXPECT_EQ(read_bytes(folder_ / "history.jsonl"), history);
}

TEST_F(PolicyStoreTest, ASidecarThatChangedSinceItsActivationIsNotRun) {
  EXPECT_NE(fault_of(store_.open_active()).find("nothing is active"), std::string::npos);
  ASSERT_EQ(fault_of(store_.activate("a")), "");
  ASSERT_EQ(fault_of(store_.activate("b")), "");
  EXPECT_EQ(read_manifest(store_.open_active().value()).value().policy, kPolicies[1]);
  const std::string old = read_bytes(path("b"));
  put_sidecar(folder_.path(), "b", small_manifest("full_depth"));
  EXPECT_NE(fault_of(store_.open_active()).find("changed since it was activated"), std::string::npos);
  write_bytes(path("b"), old);
  EXPECT_EQ(fault_of(store_.open_active()), "");
  put_sidecar(folder_.path(), "a", small_manifest("full_depth"));
  EXPECT_NE(fault_of(store_.rollback()).find("changed since it was activated"), std::string::npos);
  EXPECT_EQ(active(store_), "b");
  unlink(path("b").c_str());
  EXPECT_NE(fault_of(store_.open_active()).find("policy b is active, but "), std::string::npos);
}

TEST_F(PolicyStoreTest, NothingIsActivatedThatCannotBeRun) {
  ASSERT_EQ(fault_of(store_.activate("a")), "");
  const std::string before = read_bytes(folder_ / "active");
  put_sidecar(folder_.path(), "later", small_manifest("stage_of_tomorrow(x=1)"));
  put_sidecar(folder_.path(), "deep", small_manifest("exit_at(layer=13)"));
  write_bytes(path("broken"), read_bytes(path("b")).substr(0, 200));
  EXPECT_NE(fault_of(store_.activate("later")).find("its policy: "), std::string::npos);
  EXPECT_NE(fault_of(store_.activate("deep")).find("its policy: "), std::string::npos);
  EXPECT_NE(fault_of(store_.activate("broken")).find("has 200 bytes of "), std::string::npos);
  EXPECT_NE(fault_of(store_.activate("none")).find("there is no "), std::string::npos);
  for (const char* name : {"", "../a", "a/b", ".a", "a\nb", "\xff"}) {
    EXPECT_NE(fault_of(store_.activate(name)).find("no name of a sidecar"), std::string::npos) << name;
  }
  EXPECT_EQ(read_bytes(folder_ / "active"), before);
}

// The manifest can be read, and what the policy asks for cannot.
TEST_F(PolicyStoreTest, ASidecarWhosePartsCannotBeReadIsListedWithItsFaultAndNotActivated) {
  for (const std::string_view name : {section::kParts, section::kRouters}) {
    const std::string manifest = manifest_json(small_manifest());
    const SidecarSection sections[] = {{std::string(section::kManifest), as_bytes(manifest)},
                                       {std::string(name), as_bytes("no parts")}};
    ASSERT_TRUE(write_sidecar(path("c"), sections).has_value());
    const std::vector<StoredPolicy> list = store_.list().value();
    EXPECT_TRUE(list[0].fault.empty());
    EXPECT_TRUE(list[2].manifest.has_value());
    EXPECT_NE(list[2].fault.find(name), std::string::npos) << list[2].fault;
    EXPECT_NE(fault_of(store_.activate("c")).find(name), std::string::npos);
  }
}

TEST_F(PolicyStoreTest, ALineThatWasCutOffIsInNobodysWay) {
  ASSERT_EQ(fault_of(store_.activate("a")), "");
  const std::string history = read_bytes(folder_ / "history.jsonl");
  // A line without an "active" that names it, then half a line.
  const std::string orphan =
      R"({"event":"activate","name":"c","sha256":")" + std::string(64, 'a') + R"(","time":"","before":1})" + "\n";
  write_bytes(folder_ / "history.jsonl", history + orphan + R"({"event":"activ)");
  EXPECT_EQ(active(store_), "a");
  ASSERT_EQ(fault_of(store_.activate("b")), "");
  EXPECT_EQ(read_bytes(folder_ / "history.jsonl").rfind(history + orphan + R"({"event":"activate","name":"b")", 0), 0u);
  EXPECT_EQ(store_.rollback().value().name, "a");
}

TEST_F(PolicyStoreTest, AMangledStoreIsMendedByAnActivation) {
  ASSERT_EQ(fault_of(store_.activate("a")), "");
  write_bytes(folder_ / "active", R"({"format":9})");
  EXPECT_EQ(store_.activate("b").error().code, ErrorCode::unsupported);
  for (const char* text : {"", "no JSON", R"({"format":1,"name":"a"})", "[]"}) {
    write_bytes(folder_ / "active", text);
    EXPECT_NE(fault_of(store_.open_active()), "") << text;
  }
  unlink((folder_ / "history.jsonl").c_str());
  ASSERT_EQ(fault_of(store_.activate("b")), "");
  EXPECT_EQ(active(store_), "b");
}

TEST_F(PolicyStoreTest, OfManyActivationsAtOnceEachIsInTheHistoryOnce) {
  const auto work = [&](const char* name) {
    const PolicyStore store = PolicyStore::open(folder_.path()).value();
    for (int i = 0; i < 10; ++i) EXPECT_EQ(fault_of(store.activate(name)), "");
  };
  std::thread a(work, "a"), b(work, "b");
  a.join(), b.join();
  const auto active = store_.active().value();
  ASSERT_TRUE(active.has_value());
  const std::string history = read_bytes(folder_ / "history.jsonl");
  EXPECT_EQ(active->entry, std::count(history.begin(), history.end(), '\n'));
  EXPECT_EQ(active->sha256, sha256_of(testing::as_bytes(read_bytes(path(active->name.c_str())))));
  int64_t back = 0;
  while (store_.rollback()) ++back;
  EXPECT_EQ(back, active->entry - 1) << "a line was lost on the way back";
}

}  // namespace
}  // namespace fathom
