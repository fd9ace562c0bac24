// Records that no writer makes, checksums right: each is an error, and none takes memory or reads beyond its end.
// Next: replay_test.cc.
#include "fathom/trace/reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <limits>

#include "fathom/trace/trace.h"
#include "src/trace/format.h"

namespace fathom {
namespace {

TraceHeader header_of(int32_t n_layers) {
  return {.model_fingerprint = 0x0123456789abcdefu,
          .tokenizer_fingerprint = 0xfedcba9876543210u,
          .numeric_path = "fast",
          .policy = "exit_when(confidence_at_least=0.9)",
          .run_json = R"({"prompt":[1,2,3]})",
          .n_layers = n_layers};
}

/// The file of a trace in which nothing happened.
std::string empty_trace(int32_t n_layers) {
  const std::string path = testing::TempDir() + "fathom_reader_" + std::to_string(getpid());
  EXPECT_TRUE(Trace::create(path, header_of(n_layers)).value().finish().has_value());
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  unlink(path.c_str());
  return bytes;
}

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

namespace tf = trace_format;

// `file` and one more record of these contents, its length and checksum right.
std::string with_record(const std::string& file, const std::string& payload) {
  tf::Output frame;
  frame.u32(static_cast<uint32_t>(payload.size()));
  frame.u32(tf::checksum(payload.data(), payload.size(), file.size()));
  return file + frame.bytes + payload;
}

std::string encoded(std::initializer_list<uint64_t> varints) {
  tf::Output out;
  for (const uint64_t x : varints) out.varint(x);
  return out.bytes;
}

// The record's events, or why there are none.
Result<std::vector<TraceEvent>> events_of(const std::string& payload, TraceEvent* last = nullptr) {
  const std::string file = with_record(empty_trace(2), payload);
  TraceReader reader = TraceReader::from_bytes(bytes_of(file)).value();
  std::vector<TraceEvent> events;
  TraceEvent event;
  for (;;) {
    auto more = reader.next(event);
    if (last != nullptr) *last = event;
    if (!more) return more.error();
    if (!*more) return events;
    events.push_back(event);
  }
}

void expect_read(const std::string& payload, const char* what) {
  const auto events = events_of(payload);
  EXPECT_TRUE(events) << what << ": " << events.error().message;
}

void expect_impossible(const std::string& payload, const char* what) {
  const auto events = events_of(payload);
  ASSERT_FALSE(events) << what << " is believed";
  EXPECT_EQ(events.error().code, ErrorCode::format);
  EXPECT_NE(events.error().message.find("byte "), std::string::npos) << events.error().message;
}

constexpr uint64_t kRowsTag = 1, kMoreRowsTag = 2, kBoundaryTag = 3, kCommitTag = 4, kRollbackTag = 5, kChoiceTag = 6,
                   kFatesTag = 7;
constexpr uint64_t kIntMax = 0x7fffffff;

// A step of two rows.
std::string two_rows() { return encoded({kRowsTag, 2, 0, 10, 0, 12}); }

TEST(Trace, AReferenceBehindTheRowsOfTheStepIsAnError) {
  const auto commits = [](std::initializer_list<uint64_t> rest) { return two_rows() + encoded(rest); };
  expect_read(commits({kCommitTag, 2, tf::kNoToken, tf::kNoToken}), "both rows");
  expect_read(commits({kCommitTag, 1, tf::kNoToken | tf::kCommitNotNext, 2}), "the second row");
  expect_impossible(commits({kCommitTag, 3, tf::kNoToken, tf::kNoToken, tf::kNoToken}), "the row after the second");
  expect_impossible(commits({kCommitTag, 1, tf::kNoToken | tf::kCommitNotNext, 3}), "the third of two rows");
  expect_impossible(commits({kCommitTag, 1, tf::kNoToken | tf::kCommitNotNext, tf::kMaxStepRows}), "the last of many");
  expect_impossible(commits({kCommitTag, 1, tf::kNoToken | tf::kCommitNotNext, tf::kMaxStepRows + 1}), "one too far");
  expect_impossible(encoded({kCommitTag, 1, tf::kNoToken}), "a row of no step");
  const auto steps = [](std::initializer_list<uint64_t> rest) {
    return two_rows() + encoded({kBoundaryTag, 0, 0, 1}) + encoded(rest);
  };
  expect_read(steps({1, tf::kNotNext, 2}), "a decision about the second row");
  expect_impossible(steps({1, tf::kNotNext, 3}), "a decision about the third of two rows");
  expect_impossible(steps({3, 0, 0, 0}), "three decisions about two rows");
}

TEST(Trace, AVerdictThatThereIsNotIsAnError) {
  for (int verdict = 0; verdict < 256; ++verdict) {
    std::string payload = two_rows() + encoded({kBoundaryTag, 0, 0, 1, 1, tf::kDecided});
    payload += static_cast<char>(verdict);
    payload += '\0';  // the stage
    const int saving = verdict % 16, removal = verdict - saving;
    const bool is_one = saving <= 3 || saving == 7 || saving == 8 || saving == 10;
    EXPECT_EQ(events_of(payload).has_value(), is_one && (removal == 0 || removal == 16 || removal == 32))
        << "verdict " << verdict;
  }
}

TEST(Trace, ACountThatItsRecordCannotHoldIsAnErrorBeforeMemoryIsTaken) {
  for (const uint64_t tag : {kRowsTag, kMoreRowsTag, kCommitTag, kRollbackTag, kChoiceTag, kFatesTag}) {
    TraceEvent event;
    ASSERT_FALSE(events_of(encoded({tag, 1000, 0, 10}), &event));
    EXPECT_EQ(
        event.rows.size() + event.commits.size() + event.rollbacks.size() + event.choices.size() + event.fates.size(),
        0u)
        << "tag " << tag;
  }
  TraceEvent event;
  ASSERT_FALSE(events_of(encoded({kBoundaryTag, 0, 0, 1, 1000, 0, 0}), &event));
  EXPECT_EQ(event.steps.size() + event.sequences.size() + event.decisions.size(), 0u);
  for (const uint64_t n : {uint64_t{tf::kMaxEventRows}, uint64_t{tf::kMaxEventRows} + 1}) {
    const std::string payload = encoded({kRowsTag, n}) + std::string(2 * n, '\0');
    EXPECT_EQ(events_of(payload).has_value(), n == tf::kMaxEventRows) << n << " rows in one event";
  }
}

TEST(Trace, FieldsOutOfTheirRangeAreErrors) {
  expect_impossible(encoded({0}), "an event of tag 0");
  expect_impossible(encoded({8, 0}), "an event of tag 8");
  expect_impossible(encoded({kRowsTag, 1, 32, 10}), "an unknown flag of a row");
  expect_impossible(encoded({kRowsTag, 1, tf::kDraft | tf::kSettled, 10}), "a draft that settles");
  expect_read(encoded({kRowsTag, 1, tf::kOtherPosition, kIntMax, 10}), "the last position");
  expect_impossible(encoded({kRowsTag, 1, tf::kOtherPosition, kIntMax + 1, 10}), "a position past the last");
  expect_impossible(encoded({kRowsTag, 2, tf::kOtherPosition, kIntMax, 10, 0, 10}), "the position after the last");
  expect_impossible(encoded({kRowsTag, 1, 0, uint64_t{1} << 32}), "a token of 33 bits");
  expect_impossible(encoded({kRowsTag, 1, 0}), "a row without its token");
  const auto boundary = [](std::initializer_list<uint64_t> rest) {
    return two_rows() + encoded({kBoundaryTag}) + encoded(rest);
  };
  expect_read(boundary({0, 0, 1, 1, 0}), "a decision behind layer 1 of 2");
  expect_impossible(boundary({0, 0, 2, 1, 0}), "a decision behind the last layer");
  expect_impossible(boundary({1 << kSignals, 0, 1, 1, 0}), "a signal of prompt rows that there is not");
  expect_impossible(boundary({0, 1 << kSignals, 1, 1, 0}), "a signal of generated rows that there is not");
  expect_impossible(two_rows() + encoded({kBoundaryTag, 0, 0, 1, 1}) + "\x80", "an unknown flag of a decision");
  expect_read(boundary({0, 0, 1, 1, tf::kNotNext, 0, 4, 6, 1}), "a decision that names its row");
  expect_impossible(boundary({0, 0, 1, 1, tf::kNotNext, 0, 4, 6, 2}), "a row of the third kind");
  expect_impossible(two_rows() + encoded({kCommitTag, 1, 16 | tf::kNoToken}), "an unknown flag of a row's end");
  expect_impossible(two_rows() + encoded({kCommitTag, 1, 0, kIntMax + 1}), "a next token past the last");
}

TEST(Trace, FatesOutOfTheirRangeAreErrors) {
  const auto fates = [](std::initializer_list<uint64_t> rest, float share = 0.5f) {
    tf::Output out;
    out.f32(share);
    return encoded({kFatesTag, 1}) + encoded(rest) + out.bytes;
  };
  expect_read(fates({0}), "a row that ran to the end");
  expect_read(fates({15, 1, kIntMax, 2, kIntMax}), "every field, the largest");
  expect_impossible(fates({16}), "an unknown flag of a fate");
  expect_impossible(fates({tf::kRemoved, 3}), "removed behind layer 3 of 2");
  expect_impossible(fates({tf::kJoined, 1}), "joined and yet not removed");
  expect_impossible(fates({tf::kFatePosition, kIntMax + 1}), "a position past the last");
  expect_impossible(fates({tf::kRemoved | tf::kJoined, 1, kIntMax + 1}), "joined past the last position");
  using Limits = std::numeric_limits<float>;
  for (const float share : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity(), -0.5f}) {
    expect_impossible(fates({0}, share), "a share that is none");
  }
  expect_impossible(encoded({kFatesTag, 1, 0, 1}), "a share that is cut off");
}

TEST(Trace, RollbacksAndChoicesOutOfTheirRangeAreErrors) {
  expect_read(encoded({kRollbackTag, 1, 0, kIntMax}), "a rollback to the last length");
  expect_impossible(encoded({kRollbackTag, 1, 0, kIntMax + 1}), "a rollback past the last length");
  expect_impossible(encoded({kRollbackTag, 1, uint64_t{1} << 32, 0}), "a sequence of 33 bits");
  expect_impossible(encoded({kRollbackTag, 2, 0, 1, 0}), "a rollback without its length");
  expect_read(encoded({kChoiceTag, 1, 63, 1, kIntMax, kIntMax, kIntMax, kIntMax, kIntMax}), "the largest choice");
  expect_impossible(encoded({kChoiceTag, 1}) + "\x40", "an unknown flag of a choice");
  for (const uint64_t flag : {tf::kChosenPosition, tf::kOwn, tf::kSource, tf::kProposed, tf::kConfidence}) {
    expect_impossible(encoded({kChoiceTag, 1, flag, kIntMax + 1}), "a number of a choice past the last");
    expect_impossible(encoded({kChoiceTag, 1, flag}), "a number of a choice that is not there");
  }
  const std::string at_the_end = encoded({kRowsTag, 1, tf::kOtherPosition, kIntMax, 10});
  expect_impossible(at_the_end + encoded({kChoiceTag, 1, 0}), "a choice about the position after the last");
  expect_read(at_the_end + encoded({kRollbackTag, 1, 0, kIntMax, kRowsTag, 1, 0, 10}), "the last position again");
}

}  // namespace
}  // namespace fathom
