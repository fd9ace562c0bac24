// Traces: what is written is read back bit for bit; what is cut or damaged is noticed.
#include "fathom/trace/trace.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "fathom/trace/reader.h"
#include "src/trace/format.h"
#include "tests/trace/trace_calls.h"

namespace fathom {
namespace {

constexpr SignalSet kNothingLookedAt[2];

TraceHeader header_of(int32_t n_layers) {
  return {.model_fingerprint = 0x0123456789abcdefu,
          .tokenizer_fingerprint = 0xfedcba9876543210u,
          .numeric_path = "fast",
          .policy = "exit_when(confidence_at_least=0.9)",
          .run_json = R"({"prompt":[1,2,3]})",
          .n_layers = n_layers,
          .encodes = n_layers % 2 == 0};
}

std::string temporary(const char* name) {
  return testing::TempDir() + "fathom_trace_" + std::to_string(getpid()) + "_" + name;
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

std::string write_calls(const std::vector<TraceEvent>& calls, int32_t n_layers, const char* name) {
  const std::string path = temporary(name);
  Trace trace = Trace::create(path, header_of(n_layers)).value();
  for (const TraceEvent& call : calls) write(trace, call);
  trace.finish().value();
  std::string file = contents(path);
  unlink(path.c_str());
  return file;
}

TEST(Trace, HeaderComesBackWhole) {
  const std::string file = write_calls({}, 18, "header");
  const TraceReader reader = TraceReader::from_bytes(bytes_of(file)).value();
  const TraceHeader& h = reader.header();
  const TraceHeader expected = header_of(18);
  EXPECT_EQ(h.model_fingerprint, expected.model_fingerprint);
  EXPECT_EQ(h.tokenizer_fingerprint, expected.tokenizer_fingerprint);
  EXPECT_EQ(h.numeric_path, expected.numeric_path);
  EXPECT_EQ(h.policy, expected.policy);
  EXPECT_EQ(h.run_json, expected.run_json);
  EXPECT_EQ(h.n_layers, 18);
  EXPECT_TRUE(h.encodes);
  const std::string other = write_calls({}, 17, "header");
  EXPECT_FALSE(TraceReader::from_bytes(bytes_of(other)).value().header().encodes);
}

TEST(Trace, EveryEventComesBackBitForBit) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    const auto calls = random_calls(seed, 12, 7, 9);
    const std::string file = write_calls(calls, 7, "events");
    TraceReader reader = TraceReader::from_bytes(bytes_of(file)).value();
    EXPECT_EQ(expect_prefix(reader, calls), calls.size()) << "seed " << seed;
    TraceEvent event;
    EXPECT_FALSE(reader.next(event).value());
    EXPECT_FALSE(reader.truncated());
  }
}

TEST(Trace, StepsOfThousandsOfRowsComeBackInParts) {
  const auto calls = random_calls(77, 2, 3, 5000);
  const std::string path = temporary("large");
  {
    Trace trace = Trace::create(path, header_of(3)).value();
    for (const TraceEvent& call : calls) write(trace, call);
  }
  TraceReader reader = TraceReader::open(path).value();
  EXPECT_EQ(expect_prefix(reader, calls), calls.size());
  unlink(path.c_str());
}

TEST(Trace, AFileCutAnywhereReadsToItsLastWholeRecord) {
  const auto calls = random_calls(5, 4, 4, 3);
  const std::string file = write_calls(calls, 4, "cut");
  size_t last = 0;
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string cut = file.substr(0, size);
    auto reader = TraceReader::from_bytes(bytes_of(cut));
    if (!reader) {
      EXPECT_EQ(last, 0u) << "the header is whole at " << size << " bytes";
      continue;
    }
    const size_t whole = expect_prefix(*reader, calls);
    EXPECT_GE(whole, last) << "at " << size;
    last = whole;
    TraceEvent event;
    auto end = reader->next(event);
    EXPECT_TRUE(end && !*end) << "a cut is no error, at " << size;
  }
  EXPECT_GT(last, 4u);
  const std::string cut = file.substr(0, file.size() - 1);
  TraceReader reader = TraceReader::from_bytes(bytes_of(cut)).value();
  expect_prefix(reader, calls);
  EXPECT_TRUE(reader.truncated());
}

TEST(Trace, ADamagedByteIsNoticedAndNothingFalseIsRead) {
  const auto calls = random_calls(6, 3, 4, 3);
  const std::string file = write_calls(calls, 4, "damaged");
  for (size_t at = 0; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] ^= 0x41;
    auto reader = TraceReader::from_bytes(bytes_of(damaged));
    if (!reader) continue;
    expect_prefix(*reader, calls);
    ASSERT_FALSE(HasFailure()) << "byte " << at;
    TraceEvent event;
    const auto again = reader->next(event);
    EXPECT_TRUE(!again || reader->truncated()) << "byte " << at << " is changed and nobody noticed";
    EXPECT_TRUE(again || again.error().message.find("byte") != std::string::npos) << again.error().message;
  }
}

TEST(Trace, HostileLengthsAreErrorsWithTheirOffset) {
  std::string file = write_calls({}, 2, "hostile");
  const size_t offset = file.size();
  for (const char* frame : {"\xff\xff\xff\xff....", "\0\0\0\0....", "\x01\x00\x10\x00...."}) {
    const std::string hostile = file + std::string(frame, 8);
    TraceReader reader = TraceReader::from_bytes(bytes_of(hostile)).value();
    TraceEvent event;
    const auto result = reader.next(event);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("length at byte " + std::to_string(offset)), std::string::npos)
        << result.error().message;
  }
}

TEST(Trace, OtherFilesAreRefusedByName) {
  const std::string path = temporary("other");
  std::ofstream(path) << "GGUF is not a trace";
  const auto result = TraceReader::open(path);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find(path), std::string::npos) << result.error().message;
  unlink(path.c_str());
  EXPECT_EQ(TraceReader::open(path).error().code, ErrorCode::file);
  EXPECT_EQ(TraceReader::open(testing::TempDir()).error().code, ErrorCode::file);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(TraceReader::open(path).error().code, ErrorCode::file);
  unlink(path.c_str());
  for (const char version : {3, 5}) {
    std::string other = write_calls({}, 2, "version");
    other[8] = version;
    const auto refused = TraceReader::from_bytes(bytes_of(other));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
    EXPECT_NE(refused.error().message.find("version " + std::to_string(version) + " of 4"), std::string::npos);
  }
}

TEST(Trace, AnUnwritablePathIsAnErrorThatNamesIt) {
  const auto result = Trace::create("/nonexistent/dir/trace", header_of(2));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::file);
  EXPECT_NE(result.error().message.find("/nonexistent/dir/trace"), std::string::npos);
}

TEST(Trace, AFailureToWriteIsKeptAndReportedByFinish) {
  const std::string path = temporary("full");
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_IGN);
  Trace trace = Trace::create(path, header_of(2)).value();
  rlimit small = old;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  for (int i = 0; i < 2000; ++i) {
    trace.rows(std::vector<TraceRow>{{0, i, 5, RowKind::generated}});
    trace.commit(std::vector<TraceCommit>{{0, i, i, 2, 1}});
  }
  const auto result = trace.finish();
  setrlimit(RLIMIT_FSIZE, &old);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find(path), std::string::npos) << result.error().message;
  TraceReader reader = TraceReader::open(path).value();  // what was written before is readable
  TraceEvent event;
  int events = 0;
  while (reader.next(event).value()) ++events;
  EXPECT_GT(events, 100);
  unlink(path.c_str());
}

TEST(Trace, ABoundaryOfAModelWithMoreLayersIsAnErrorOfFinish) {
  for (int32_t layer : {-1, 4, 1 << 30}) {
    const std::string path = temporary("layers");
    Trace trace = Trace::create(path, header_of(4)).value();
    EXPECT_EQ(trace.n_layers(), 4);
    Step step;
    step.layer = layer;
    trace.boundary(kNothingLookedAt, std::vector<int32_t>{0}, std::vector<Step>{step}, std::vector<Decision>{{}});
    const auto finished = trace.finish();
    ASSERT_FALSE(finished);
    EXPECT_NE(finished.error().message.find("layer " + std::to_string(layer)), std::string::npos);
    unlink(path.c_str());
  }
}

TEST(Trace, EveryStepIsInTheFileWhenItsCommitReturns) {
  const std::string path = temporary("crash");
  Trace trace = Trace::create(path, header_of(2)).value();
  for (int i = 0; i < 5; ++i) {
    trace.rows(std::vector<TraceRow>{{0, i, 5, RowKind::generated}});
    trace.commit(std::vector<TraceCommit>{{0, i, i, 2, 1}});
    TraceReader reader = TraceReader::open(path).value();
    TraceEvent event;
    int events = 0;
    while (reader.next(event).value()) ++events;
    EXPECT_EQ(events, 2 * (i + 1));
  }
  unlink(path.c_str());
}

// A decoded token of an 18-layer model whose work changes by position at every boundary.
TEST(Trace, ADecodedRowTakesAtMostTwelveBytesABoundaryWithoutSignals) {
  const std::string path = temporary("compact");
  Trace trace = Trace::create(path, header_of(18)).value();
  const size_t before = contents(path).size();
  for (int32_t i = 0; i < 100; ++i) {
    trace.rows(std::vector<TraceRow>{{0, 10 + i, 1000 + i, RowKind::generated}});
    for (int32_t layer = 0; layer < 18; ++layer) {
      Step step;
      step.layer = layer;
      step.n_layers = 18;
      step.position = 10 + i;
      step.generated = i;
      step.work_spent = 0.73f * static_cast<float>(i);
      step.work_rows = static_cast<float>(i + 1);
      step.work_if_exit = (static_cast<float>(layer) + 1e-4f * static_cast<float>(i)) / 18;
      step.work_if_run = (static_cast<float>(layer) + 1 + 1e-4f * static_cast<float>(i)) / 18;
      trace.boundary(kNothingLookedAt, std::vector<int32_t>{0}, std::vector<Step>{step}, std::vector<Decision>{{}});
    }
    trace.commit(std::vector<TraceCommit>{{0, 10 + i, 1001 + i, 18, 1}});
  }
  trace.finish().value();
  const size_t bytes = contents(path).size() - before;
  EXPECT_LE(bytes, 100 * 18 * 12u);
  unlink(path.c_str());
}

TEST(Trace, ARoleTakesNoByteAndAPassThatDraftsNothingThree) {
  const auto size_of = [](RowRole role, std::vector<TraceChoice> choices) {
    std::vector<TraceEvent> calls(choices.empty() ? 0 : 1);
    if (!choices.empty()) calls[0].kind = TraceEvent::Kind::choice, calls[0].choices = choices;
    calls.emplace_back().rows = {{0, 0, 7, RowKind::generated, role}};
    return write_calls(calls, 2, "roles").size();
  };
  const size_t certain = size_of(RowRole::certain, {});
  EXPECT_EQ(size_of(RowRole::draft, {}), certain);
  EXPECT_EQ(size_of(RowRole::settled, {}), certain);
  EXPECT_EQ(size_of(RowRole::certain, {{0, 0, 0, 0, 0, 0}}), certain + 3);
  EXPECT_EQ(size_of(RowRole::certain, {{0, 0, 0, 3, 5, 2}}), certain + 6);
}

// Where the text goes on is known from the rollback.
TEST(Trace, ARowAfterARollbackNeedNotNameItsPosition) {
  const auto size_of = [](int32_t length, int32_t position) {
    std::vector<TraceEvent> calls(3);
    calls[0].rows = {{1, 0, 7, RowKind::generated}, {1, 1, 7, RowKind::generated}, {1, 2, 7, RowKind::generated}};
    calls[1].kind = TraceEvent::Kind::rollback, calls[1].rollbacks = {{1, length}};
    calls[2].rows = {{1, position, 7, RowKind::generated}};
    return write_calls(calls, 2, "back").size();
  };
  EXPECT_EQ(size_of(1, 1), size_of(3, 3));
  EXPECT_EQ(size_of(1, 1) + 1, size_of(1, 3));
}

}  // namespace
}  // namespace fathom
