// What a trace says of drafts: choices, guesses, rows that settle and what is taken back.
#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "fathom/engine/generate.h"
#include "fathom/trace/reader.h"
#include "fathom/trace/replay.h"
#include "tests/engine/lossless_support.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Dice;
using testing::random_ids;

// The text that a trace's commits spell, with what was taken back left out.
struct Spelled {
  std::vector<int32_t> tokens;  // by position, -1 where none was chosen
  int64_t choices = 0, drafts = 0, settled = 0, taken_back = 0;
};

Spelled spell(TraceReader& reader) {
  Spelled s;
  TraceEvent event;
  while (reader.next(event).value()) {
    s.choices += std::ssize(event.choices);
    for (const TraceRow& row : event.rows) {
      s.drafts += row.role == RowRole::draft;
      s.settled += row.role == RowRole::settled;
      if (row.role != RowRole::settled) {
        EXPECT_EQ(row.position, std::ssize(s.tokens)) << "rows continue what stands";
        s.tokens.push_back(-1);
      }
    }
    for (const TraceCommit& commit : event.commits) {
      int32_t& token = s.tokens.at(static_cast<size_t>(commit.position));
      if (commit.token >= 0) token = commit.token;  // a row that settles later has said its token before
    }
    for (const TraceRollback& back : event.rollbacks) {
      s.taken_back += std::ssize(s.tokens) - back.length;
      s.tokens.resize(static_cast<size_t>(back.length));
    }
  }
  return s;
}

TEST(DraftTrace, SpellsTheTextThatStandsAndReplays) {
  const Model model = testing::tiny_model({.n_layers = 5, .type = DType::q8_0});
  for (const char* text :
       {"exit_at(3) | kv(verify, max_rows=5)", "draft_ngram | kv(verify)",
        "exit_when(0.01, from_layer=2) | draft_ngram | kv(verify)", "exit_at(2) | kv(settle_later)"}) {
    SCOPED_TRACE(text);
    const Policy policy = Policy::parse(text).value();
    Session session = Session::make(model, {.max_tokens = 128}).value();
    const std::string path = ::testing::TempDir() + "/draft.trace";
    Trace trace = Trace::create(path, {.policy = text, .run_json = "{}", .n_layers = 5}).value();
    Dice dice(5);
    GenerateOptions options{.max_new_tokens = 60, .policy = policy, .trace = &trace};
    options.sample = {.temperature = 1, .seed = 3};
    options.draft_chooser = &dice;
    const auto prompt = random_ids(8, model.config().vocab, 7);
    const Generation out = generate(session, prompt, options).value();
    trace.finish().value();

    TraceReader reader = TraceReader::open(path).value();
    const Spelled spelled = spell(reader);
    ASSERT_EQ(spelled.tokens.size(), 8 + out.tokens.size() - 1);
    EXPECT_EQ(std::vector(spelled.tokens.begin() + 7, spelled.tokens.end()), out.tokens);
    EXPECT_EQ(spelled.choices > 0, policy.settings().kv == KvMode::verify);
    EXPECT_GE(spelled.settled + spelled.drafts, policy.is_full_depth() ? 0 : 20);
    EXPECT_EQ(spelled.taken_back > 0, out.accepted < out.proposed);

    TraceReader again = TraceReader::open(path).value();
    const ReplayReport report = replay(again, policy.ref()).value();
    EXPECT_EQ(report.decided_same, report.rows);
    EXPECT_EQ(report.settled_rows, spelled.settled);
    std::remove(path.c_str());
  }
}

// How the head came to each row's logits: the trace has it, with the reason where a screen was of no use.
TEST(DraftTrace, SaysHowTheHeadWasRead) {
  const Model model = testing::tiny_model({.vocab = 4096, .type = DType::q8_0}, {.screen_head = true});
  const auto ways = [&](const char* text, const SampleOptions& sample) {
    Session session = Session::make(model, {.max_tokens = 64}).value();
    const std::string path = ::testing::TempDir() + "/head.trace";
    Trace trace = Trace::create(path, {.policy = text, .run_json = "{}", .n_layers = 4}).value();
    const Policy policy = Policy::parse(text).value();
    Dice dice(7);
    GenerateOptions options{.max_new_tokens = 20, .policy = policy, .trace = &trace};
    options.sample = sample;
    options.draft_chooser = &dice;
    generate(session, random_ids(8, 4096, 7), options).value();
    trace.finish().value();
    std::set<HeadWay> seen;
    TraceReader reader = TraceReader::open(path).value();
    TraceEvent event;
    while (reader.next(event).value()) {
      for (const TraceCommit& commit : event.commits) {
        if (commit.token >= 0) seen.insert(commit.head);
      }
    }
    std::remove(path.c_str());
    return seen;
  };
  EXPECT_EQ(ways("full_depth", {}), std::set{HeadWay::whole});
  Session plain = Session::make(testing::tiny_model({.vocab = 4096, .type = DType::q8_0}), {.max_tokens = 64}).value();
  const auto refused = generate(plain, random_ids(8, 4096, 7), {.policy = screen_head{}});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("OpenOptions::screen_head"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(ways("screen_head", {}).count(HeadWay::screened) +
              ways("screen_head", {}).count(HeadWay::whole_survivors));
  EXPECT_EQ(ways("screen_head", {.temperature = 1, .top_p = 0.9f}), std::set{HeadWay::whole_top_p});
  EXPECT_EQ(ways("defer_head | kv(verify)", {}).count(HeadWay::shortlist), 1u);
}

}  // namespace
}  // namespace fathom
