// --quality lossless through the command: the tokens of full depth, and a run that is had again from its trace,
// whatever was done to it. Next: usage_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include "fathom/trace/reader.h"
#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/cli/spawn.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::checked;
using testing::checked_lines;
using testing::Cli;
using testing::expect_failure;
using testing::fathom_command;
using testing::file_content;
using testing::Ran;
using testing::temporary_file;
using testing::temporary_path;

constexpr const char* kLossless = "draft_ngram | defer_head | kv(verify, max_rows=16)";
constexpr const char* kRepeats = "one two three four one two three four one two three four one";

TEST_F(Cli, QualityIsAPolicyInWordsAndTheOutputSaysWhich) {
  for (const char* temperature : {"0", "0.9"}) {
    const std::vector<std::string> args = {"-p", kRepeats, "-n", "60", "--temperature", temperature, "--json"};
    const auto with = [&](const char* quality) {
      std::vector<std::string> all = args;
      all.insert(all.end(), {"--quality", quality});
      return checked(generate(all).out, "generate");
    };
    const json plain = checked(generate(args).out, "generate"), full = with("full"), lossless = with("lossless");
    EXPECT_EQ(full.at("policy"), "full_depth");
    EXPECT_EQ(lossless.at("policy"), kLossless);
    for (const char* field : {"tokens", "text", "depths", "stop_reason"}) {
      EXPECT_EQ(full.at(field), plain.at(field));
      EXPECT_EQ(lossless.at(field), plain.at(field)) << field << " at temperature " << temperature;
    }
    EXPECT_EQ(full.at("passes"), 59);
    EXPECT_EQ(full.at("proposed"), 0);
    EXPECT_LE(lossless.at("passes"), 59);
    EXPECT_LE(lossless.at("accepted"), lossless.at("proposed"));
    EXPECT_EQ(lossless.at("drafted").size(), lossless.at("tokens").size());
  }
}

TEST_F(Cli, QualityBesideAPolicyIsAUsageError) {
  const std::string said = "--policy: does not go with --quality: give one of them";
  expect_failure(generate({"-p", "x", "--quality", "full", "--policy", "full_depth"}), 2, said);
  expect_failure(fathom_command({"chat", "-m", model_, "--policy", "exit_at(1)", "--quality", "lossless"}), 2, said);
  expect_failure(generate({"-p", "x", "--quality", "good"}), 2, "--quality good: give one of full, lossless");
}

TEST_F(Cli, DraftedTokensAreUnderlinedAndTheLegendSaysSo) {
  const std::vector<std::string> args = {"-p", kRepeats,   "-n",
                                         "60", "--policy", "exit_at(3) | draft_ngram | kv(verify)"};
  std::vector<std::string> shown = args, asked = args;
  shown.insert(shown.end(), {"--color", "always"});
  asked.push_back("--json");
  const Ran ran = generate(shown);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const bool underlined = ran.out.find("\x1b[4;48;5;") != std::string::npos;
  EXPECT_EQ(underlined, ran.out.find("drafted, then confirmed") != std::string::npos);
  EXPECT_EQ(ran.err.find(" passes, ") != std::string::npos, ran.err.find(" guesses right") != std::string::npos);
  EXPECT_GT(checked(generate(asked).out, "generate").at("proposed"), 0) << "every way is tried at the start";
}

TEST_F(Cli, ADialogueIsTheSameWithDrafts) {
  const auto answers = [](const char* quality) {
    const Ran ran = fathom_command({"chat", "-m", model_, "-n", "40", "--quality", quality, "--json"},
                                   {.input = std::string(kRepeats) + "\nAgain: " + kRepeats + "\n/new\nHello\n"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    json all = json::array();
    for (const json& answer : checked_lines(ran.out, "generate")) {
      all.push_back({answer.at("tokens"), answer.at("text"), answer.at("stop_reason"), answer.at("prompt_tokens")});
    }
    return all;
  };
  const json full = answers("full");
  EXPECT_EQ(full.size(), 3u);
  EXPECT_EQ(answers("lossless"), full);
}

// Records a text with drafts in `path`; the policy's savings are tried at the start, so that there are some.
json record(const std::string& model, const std::string& path, const char* policy, const char* temperature) {
  const Ran ran = fathom_command({"generate", "-m", model, "--threads", "1", "-p", kRepeats, "-n", "50",
                                  "--temperature", temperature, "--policy", policy, "--trace", path, "--json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  return checked(ran.out, "generate");
}

TEST_F(Cli, ARunWithDraftsIsHadAgainFromItsTrace) {
  const std::string trace = temporary_path("drafts_again");
  for (const char* policy : {kLossless, "exit_at(2) | draft_ngram | kv(verify)", "skip_layers([1, 2]) | kv(verify)",
                             "exit_when(signal=diversity, at_least=0.2, from_layer=2)",
                             "exit_when(signal=diversity, at_least=0.2) | draft_ngram | kv(verify)",
                             "exit_when(signal=attention_received, below=0.3)", "exit_at(2) | kv(settle_later)"}) {
    for (const char* temperature : {"0", "0.8"}) {
      record(model_, trace, policy, temperature);
      const Ran ran = fathom_command({"replay", trace, "-m", model_, "--check", "--json"});
      EXPECT_EQ(ran.code, 0) << policy << " at " << temperature << ": " << ran.out << ran.err;
      EXPECT_TRUE(checked(ran.out, "check").at("same"));
      unlink(trace.c_str());
    }
  }
}

// Copies a trace, its choices as `edit` leaves them; how many there were.
template <class Edit>
int copy_choices(const std::string& from, const std::string& to, Edit edit) {
  TraceReader reader = TraceReader::open(from).value();
  Trace trace = Trace::create(to, reader.header()).value();
  int n = 0;
  for (TraceEvent event; reader.next(event).value();) {
    for (TraceChoice& choice : event.choices) edit(choice, n++);
    if (!event.choices.empty()) trace.choice(event.choices);
    if (!event.rows.empty()) trace.rows(event.rows);
    if (!event.steps.empty()) trace.boundary(event.computed, event.sequences, event.steps, event.decisions);
    if (!event.commits.empty()) trace.commit(event.commits);
    if (!event.rollbacks.empty()) trace.rollback(event.rollbacks);
  }
  trace.finish().value();
  return n;
}

TEST_F(Cli, ATraceWhoseChoicesWereChangedIsReportedAsDifferent) {
  const std::string trace = temporary_path("choices"), touched = temporary_path("choices_touched");
  const json run = record(model_, trace, "exit_at(2) | draft_ngram | kv(verify)", "0");
  ASSERT_GT(run.at("proposed"), 0);
  using Edit = void (*)(TraceChoice&);
  const Edit edits[] = {[](TraceChoice& c) { c.own = c.own == 3 ? 4 : 3; },
                        [](TraceChoice& c) { c.own = 2147483647; },
                        [](TraceChoice& c) { c.source = 2147483647; },
                        [](TraceChoice& c) { c.position += 1; },
                        [](TraceChoice& c) { c.position = 2147483647; },
                        [](TraceChoice& c) { c.sequence += 1; },
                        [](TraceChoice& c) { c.proposed += 1; },
                        [](TraceChoice& c) { c.confidence += 1; }};
  const int n = copy_choices(trace, touched, [](TraceChoice&, int) {});
  ASSERT_GT(n, 5);
  EXPECT_EQ(fathom_command({"replay", touched, "-m", model_, "--check"}).code, 0) << "a faithful copy";
  for (size_t e = 0; e < std::size(edits); ++e) {
    for (const int touch : {0, n / 2, n - 1}) {
      copy_choices(trace, touched, [&](TraceChoice& choice, int i) {
        if (i == touch) edits[e](choice);
      });
      const Ran ran = fathom_command({"replay", touched, "-m", model_, "--check"});
      EXPECT_EQ(ran.code, 1) << "edit " << e << " of choice " << touch << ": " << ran.out << ran.err;
      EXPECT_EQ(ran.out.rfind("different: ", 0), 0u) << "edit " << e << " of choice " << touch << ": " << ran.out;
    }
  }
  unlink(trace.c_str());
  unlink(touched.c_str());
}

TEST_F(Cli, ATraceWithDraftsThatIsCutOffIsCheckedToItsEnd) {
  const std::string trace = temporary_path("whole"), cut = temporary_path("cut_off");
  record(model_, trace, "exit_at(2) | draft_ngram | kv(verify)", "0.8");
  const std::string whole = file_content(trace);
  const auto header = TraceReader::open(trace).value().header().run_json.size() + 100;
  ASSERT_GT(whole.size(), header + 200);
  for (size_t i = 1; i < 16; ++i) {
    temporary_file("cut_off", whole.substr(0, header + i * (whole.size() - header) / 16));
    const Ran check = fathom_command({"replay", cut, "-m", model_, "--check", "--json"});
    const json result = checked(check.out, "check");
    if (result.at("truncated")) {
      EXPECT_EQ(check.code, 0) << i << ": " << check.out << check.err;
      EXPECT_TRUE(result.at("same")) << i;
    } else {  // it ends with a whole record
      EXPECT_EQ(check.code, 1) << i;
      EXPECT_EQ(result.at("first_difference"), "the run goes on where the record ends") << i;
    }
    EXPECT_EQ(fathom_command({"replay", cut, "--policy", "exit_at(1) | kv(verify)"}).code, 0);
  }
  unlink(trace.c_str());
  unlink(cut.c_str());
}

}  // namespace
}  // namespace fathom
