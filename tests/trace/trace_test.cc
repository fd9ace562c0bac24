// Traces: what is written is read back bit for bit; what is cut or damaged is noticed.
#include "fathom/trace/trace.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <iterator>
#include <random>

#include "fathom/trace/reader.h"
#include "src/trace/format.h"

namespace fathom {
namespace {

constexpr SignalSet kNothingLookedAt[2];

TraceHeader header_of(int32_t n_layers) {
  return {.model_fingerprint = 0x0123456789abcdefu,
          .tokenizer_fingerprint = 0xfedcba9876543210u,
          .numeric_path = "fast",
          .policy = "exit_when(confidence_at_least=0.9)",
          .run_json = R"({"prompt":[1,2,3]})",
          .n_layers = n_layers};
}

std::string temporary(const char* name) {
  return testing::TempDir() + "fathom_trace_" + std::to_string(getpid()) + "_" + name;
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

// One call of Trace's engine side, kept to compare with.
struct Call {
  std::vector<TraceRow> rows;
  std::array<SignalSet, 2> computed;
  std::vector<int32_t> sequences;
  std::vector<Step> steps;
  std::vector<Decision> decisions;
  std::vector<TraceCommit> commits;
};

void write(Trace& trace, const Call& call) {
  if (!call.rows.empty()) trace.rows(call.rows);
  if (!call.steps.empty()) trace.boundary(call.computed, call.sequences, call.steps, call.decisions);
  if (!call.commits.empty()) trace.commit(call.commits);
}

// Random steps as an engine would make them, and now and then as it would not: rows out of order, unknown rows.
std::vector<Call> random_calls(uint32_t seed, int steps, int32_t n_layers, int most_rows) {
  std::mt19937 bits(seed);
  auto below = [&](uint32_t n) { return static_cast<int32_t>(bits() % n); };
  auto real = [&] { return below(8) == 0 ? std::nanf("") : static_cast<float>(below(1000)) / 7; };
  std::vector<Call> calls;
  for (int s = 0; s < steps; ++s) {
    Call enter;
    const int n = 1 + below(most_rows);
    for (int i = 0; i < n; ++i) {
      enter.rows.push_back(
          {below(3), below(4) == 0 ? below(2000) : i, below(262144), below(2) ? RowKind::generated : RowKind::prompt});
    }
    calls.push_back(enter);
    for (int32_t layer = 0; layer < n_layers; ++layer) {
      if (below(3) == 0) continue;
      Call boundary;
      for (SignalSet& of_kind : boundary.computed) of_kind.bits = below(2) ? 0 : below(1 << kSignals);
      for (const TraceRow& row : enter.rows) {
        if (below(4) == 0) continue;
        Step step;
        step.layer = layer;
        step.n_layers = n_layers;
        step.position = below(20) == 0 ? below(100000) : row.position;
        step.generated = below(5);
        step.kind = row.kind;
        step.work_spent = real(), step.work_rows = real(), step.work_if_exit = real(), step.work_if_run = real();
        for (int i = 0; i < kSignals; ++i) {
          if (boundary.computed[static_cast<int>(row.kind)].has(static_cast<Signal>(i))) step.signals[i] = real();
        }
        boundary.sequences.push_back(row.sequence);
        boundary.steps.push_back(step);
        const Verdict verdicts[] = {Verdict::run, Verdict::skip_attention, Verdict::skip_feed_forward,
                                    Verdict::skip_layer, Verdict::exit};
        boundary.decisions.push_back({verdicts[below(5)], static_cast<int8_t>(below(4) - 1)});
      }
      calls.push_back(boundary);
    }
    Call commit;
    for (const TraceRow& row : enter.rows) {
      if (below(5) != 0)
        commit.commits.push_back({row.sequence, row.position, below(3) ? below(262144) : -1, real(), real()});
    }
    calls.push_back(commit);
  }
  return calls;
}

std::string write_calls(const std::vector<Call>& calls, int32_t n_layers, const char* name) {
  const std::string path = temporary(name);
  Trace trace = Trace::create(path, header_of(n_layers)).value();
  for (const Call& call : calls) write(trace, call);
  trace.finish().value();
  std::string file = contents(path);
  unlink(path.c_str());
  return file;
}

bool same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

void expect_same(const Step& a, const Step& b) {
  ASSERT_EQ(a.layer, b.layer);
  ASSERT_EQ(a.n_layers, b.n_layers);
  ASSERT_EQ(a.position, b.position);
  ASSERT_EQ(a.generated, b.generated);
  ASSERT_EQ(a.kind, b.kind);
  ASSERT_TRUE(same(a.work_spent, b.work_spent)) << a.work_spent << " and " << b.work_spent;
  ASSERT_TRUE(same(a.work_rows, b.work_rows)) << a.work_rows << " and " << b.work_rows;
  ASSERT_TRUE(same(a.work_if_exit, b.work_if_exit)) << a.work_if_exit << " and " << b.work_if_exit;
  ASSERT_TRUE(same(a.work_if_run, b.work_if_run)) << a.work_if_run << " and " << b.work_if_run;
  for (int s = 0; s < kSignals; ++s) ASSERT_TRUE(same(a.signals[s], b.signals[s])) << kSignalNames[s];
}

// Reads events and joins the parts of long calls; compares them with the calls in order, up to the file's end.
// Returns how many calls were read whole.
size_t expect_prefix(TraceReader& reader, const std::vector<Call>& calls) {
  std::vector<Call> read;
  TraceEvent event;
  for (;;) {
    auto more = reader.next(event);
    if (!more || !*more) break;
    if (event.kind == TraceEvent::Kind::rows ||
        (event.kind != TraceEvent::Kind::more_rows && read.size() < calls.size())) {
      const bool joins = !read.empty() && event.kind == TraceEvent::Kind::boundary && !read.back().steps.empty() &&
                         read.back().steps.size() < calls[read.size() - 1].steps.size();
      const bool joins_commit = !read.empty() && event.kind == TraceEvent::Kind::commit &&
                                !read.back().commits.empty() &&
                                read.back().commits.size() < calls[read.size() - 1].commits.size();
      while (!joins && !joins_commit && read.size() < calls.size() && calls[read.size()].rows.empty() &&
             calls[read.size()].steps.empty() && calls[read.size()].commits.empty()) {
        read.emplace_back();  // empty calls leave nothing in the file
      }
      if (!joins && !joins_commit) read.emplace_back();
    }
    Call& call = read.back();
    call.computed = event.computed;
    call.rows.insert(call.rows.end(), event.rows.begin(), event.rows.end());
    call.sequences.insert(call.sequences.end(), event.sequences.begin(), event.sequences.end());
    call.steps.insert(call.steps.end(), event.steps.begin(), event.steps.end());
    call.decisions.insert(call.decisions.end(), event.decisions.begin(), event.decisions.end());
    call.commits.insert(call.commits.end(), event.commits.begin(), event.commits.end());
  }
  EXPECT_LE(read.size(), calls.size());
  for (size_t c = 0; c < std::min(read.size(), calls.size()); ++c) {
    const Call &a = read[c], &b = calls[c];
    EXPECT_EQ(a.rows.size(), b.rows.size());
    EXPECT_EQ(a.sequences, b.sequences);
    EXPECT_EQ(a.decisions, b.decisions);
    EXPECT_EQ(a.steps.size(), b.steps.size());
    EXPECT_EQ(a.commits.size(), b.commits.size());
    if (testing::Test::HasFailure()) return c;
    EXPECT_TRUE(b.steps.empty() || a.computed == b.computed);
    for (size_t i = 0; i < a.steps.size(); ++i) expect_same(a.steps[i], b.steps[i]);
    for (size_t i = 0; i < a.rows.size(); ++i) {
      EXPECT_EQ(std::tie(a.rows[i].sequence, a.rows[i].position, a.rows[i].token, a.rows[i].kind),
                std::tie(b.rows[i].sequence, b.rows[i].position, b.rows[i].token, b.rows[i].kind));
    }
    for (size_t i = 0; i < a.commits.size(); ++i) {
      EXPECT_EQ(std::tie(a.commits[i].sequence, a.commits[i].position, a.commits[i].token),
                std::tie(b.commits[i].sequence, b.commits[i].position, b.commits[i].token));
      EXPECT_TRUE(same(a.commits[i].depth, b.commits[i].depth) && same(a.commits[i].work, b.commits[i].work));
    }
  }
  return read.size();
}

// Index after the last call that leaves something in the file.
size_t filled(const std::vector<Call>& calls) {
  size_t n = calls.size();
  while (n > 0 && calls[n - 1].rows.empty() && calls[n - 1].steps.empty() && calls[n - 1].commits.empty()) --n;
  return n;
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
}

TEST(Trace, EveryEventComesBackBitForBit) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    const auto calls = random_calls(seed, 12, 7, 9);
    const std::string file = write_calls(calls, 7, "events");
    TraceReader reader = TraceReader::from_bytes(bytes_of(file)).value();
    EXPECT_EQ(expect_prefix(reader, calls), filled(calls)) << "seed " << seed;
    EXPECT_FALSE(reader.truncated());
  }
}

TEST(Trace, StepsOfThousandsOfRowsComeBackInParts) {
  const auto calls = random_calls(77, 2, 3, 5000);
  const std::string path = temporary("large");
  {
    Trace trace = Trace::create(path, header_of(3)).value();
    for (const Call& call : calls) write(trace, call);
  }
  TraceReader reader = TraceReader::open(path).value();
  EXPECT_EQ(expect_prefix(reader, calls), filled(calls));
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
  std::string newer = write_calls({}, 2, "newer");
  ++newer[8];
  EXPECT_EQ(TraceReader::from_bytes(bytes_of(newer)).error().code, ErrorCode::unsupported);
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

}  // namespace
}  // namespace fathom
