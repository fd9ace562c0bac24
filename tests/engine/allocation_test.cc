// A step allocates nothing once its shape was seen, but for a page of cells every 64 positions: every allocation of
// this program is counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace {
std::atomic<int64_t> n_allocations{0};
std::atomic<bool> refuses_pages{false};  // aligned memory that may be refused is
}  // namespace

// AddressSanitizer has allocation functions of its own, which these would come between.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCounts = false;
#else
constexpr bool kCounts = true;

void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  n_allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes != 0 ? bytes : 1);
}
void* operator new(size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  n_allocations.fetch_add(1, std::memory_order_relaxed);
  if (refuses_pages.load(std::memory_order_relaxed)) return nullptr;
  const auto a = static_cast<size_t>(align);
  return std::aligned_alloc(a, (bytes + a - 1) / a * a);
}
void* operator new(size_t bytes) {
  if (void* p = operator new(bytes, std::nothrow)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, std::align_val_t align) {
  if (void* p = operator new(bytes, align, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }
#endif

namespace fathom {
namespace {

constexpr int32_t kWarm = 70, kSteps = 50;  // within one page of 64 cells, and within what vectors have grown to

/// Allocations of `kSteps` steps of `rows` sequences each, after as many of the same shape as the sequences need.
int64_t allocations(const Policy& policy, int32_t rows, int32_t threads, int32_t warm = kWarm) {
  const Model model = testing::tiny_model({.family = "gemma3", .type = DType::q8_0});
  Session session = Session::make(model, {.max_tokens = 256, .max_sequences = rows, .threads = threads}).value();
  const auto step = [&](int32_t position) {
    Row row[8];
    for (int32_t s = 0; s < rows; ++s) {
      row[s] = {.token = 7 + s, .sequence = s, .position = position, .kind = RowKind::generated, .logits = true};
    }
    EXPECT_TRUE(session.step({row, static_cast<size_t>(rows)}, policy.ref()).has_value());
  };
  for (int32_t i = 0; i < warm; ++i) step(i);
  const int64_t before = n_allocations.load();
  for (int32_t i = 0; i < kSteps; ++i) step(warm + i);
  return n_allocations.load() - before;
}

class Allocation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!kCounts) GTEST_SKIP() << "allocations are AddressSanitizer's here";
  }
};

TEST_F(Allocation, TheCounterCounts) {
  const int64_t before = n_allocations.load();
  ::operator delete(::operator new(4));  // a new-expression may be left out by the compiler
  EXPECT_EQ(n_allocations.load(), before + 1);
}

TEST_F(Allocation, AStepWithinAPageAllocatesNothing) {
  for (int32_t threads : {1, 2}) {
    EXPECT_EQ(allocations(Policy(), 1, threads), 0) << threads;
    EXPECT_EQ(allocations(Policy(), 8, threads), 0) << threads;
  }
}

TEST_F(Allocation, AStepIntoANewPageIsSeen) { EXPECT_GT(allocations(Policy(), 1, 1, 100), 0); }

TEST_F(Allocation, APolicyWithChecksAndSkipsAllocatesNothing) {
  const Policy policy = skip_when{.similarity_above = 0.9f} | exit_when{.confidence_at_least = 0.1f, .from_layer = 2} |
                        budget{.of_full = 0.9f} | min_depth{.layers = 1};
  EXPECT_EQ(allocations(policy, 1, 2), 0);
  EXPECT_EQ(allocations(policy, 8, 2), 0);
}

// Memory refused while rows settle: what was owed is owed still, and settles when there is memory.
TEST_F(Allocation, SettlingThatIsRefusedMemoryLeavesTheSequenceValid) {
  const Model model = testing::tiny_model({.n_layers = 5, .type = DType::q8_0});
  Session full = Session::make(model, {.max_tokens = 128}).value(),
          s = Session::make(model, {.max_tokens = 128}).value();
  const auto ids = testing::random_ids(65, model.config().vocab, 3);
  const Policy policy = exit_at{.layer = 2} | kv{.mode = KvMode::verify};
  testing::run(full, std::span(ids).first(56));
  testing::run(s, std::span(ids).first(56));
  for (int32_t p = 56; p < 64; ++p) {
    const Row row{.token = ids[size_t(p)], .position = p, .kind = RowKind::generated, .logits = true};
    ASSERT_TRUE(s.step({&row, 1}, policy.ref()).has_value());
    ASSERT_TRUE(full.step({&row, 1}).has_value());
  }
  const Row next{
      .token = ids[64], .position = 64, .kind = RowKind::generated, .logits = true};  // the next page's first
  refuses_pages = true;
  const auto refused = s.settle({&next, 1});
  refuses_pages = false;
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::capacity);
  EXPECT_EQ(s.owed(), 8);
  EXPECT_EQ(s.length(), 64);
  const StepResult settled = s.settle({&next, 1}).value();
  const StepResult expected = full.step({&next, 1}).value();
  ASSERT_EQ(settled.settled.size(), 8u);
  const auto got = settled.logits[settled.rows[0].logits].flat(), want = expected.logits[0].flat();
  EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin(), want.end()));
}

}  // namespace
}  // namespace fathom
