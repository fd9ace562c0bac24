// ThreadPool: every part runs once, whatever the number of threads, and pools can be many.
#include "fathom/core/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace fathom {
namespace {

TEST(ThreadPool, RunsEveryPartExactlyOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool = ThreadPool::make(threads).value();
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t parts : {0, 1, 2, 5, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(parts));
      pool.run(parts, [&](int64_t part) { hits[static_cast<size_t>(part)]++; });
      for (auto& h : hits) EXPECT_EQ(h.load(), 1);
    }
  }
}

TEST(ThreadPool, SeesTheCallersWritesAndTheCallerSeesTheParts) {
  ThreadPool pool = ThreadPool::make(2).value();
  std::vector<int64_t> data(64, 0);  // plain memory: a missing fence is a race that TSan reports
  for (int64_t round = 1; round <= 2000; ++round) {
    pool.run(64, [&](int64_t part) { data[static_cast<size_t>(part)] += round; });
  }
  for (int64_t d : data) EXPECT_EQ(d, 2000 * 2001 / 2);
}

TEST(ThreadPool, WorkersThatFellAsleepWakeUp) {
  ThreadPool pool = ThreadPool::make(2).value();
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> n = 0;
    pool.run(10, [&](int64_t) { n++; });
    EXPECT_EQ(n.load(), 10);
  }
}

TEST(ThreadPool, RefusesAbsurdCounts) {
  for (int threads : {0, -1, 257, 1 << 30}) {
    auto pool = ThreadPool::make(threads);
    ASSERT_FALSE(pool.has_value());
    EXPECT_EQ(pool.error().code, ErrorCode::argument);
    EXPECT_NE(pool.error().message.find(std::to_string(threads)), std::string::npos);
  }
}

}  // namespace
}  // namespace fathom
