// The `fathom` command through its built binary: results, exit codes, JSON against its schemas. Next: batch_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

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

TEST_F(Cli, GenerateWritesOnlyTheTextToStdout) {
  const Ran plain = generate({"-p", "Hello", "-n", "12"});
  const Ran ran = generate({"-p", "Hello", "-n", "12", "--json"});
  ASSERT_EQ(plain.code, 0) << plain.err;
  const json result = checked(ran.out, "generate");
  const std::string text = result.at("text");
  EXPECT_EQ(plain.out, text + (text.ends_with('\n') || text.empty() ? "" : "\n"));
  EXPECT_EQ(plain.out.find('\x1b'), std::string::npos);
  EXPECT_NE(plain.err.find("tokens/s"), std::string::npos) << plain.err;
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(result.at("n_layers"), 4);
  EXPECT_EQ(result.at("policy"), "full_depth");
  EXPECT_EQ(result.at("mean_depth"), 4);
}

TEST_F(Cli, OneTokenHasNoRate) {
  const Ran one = generate({"-p", "Hello", "-n", "1"}), two = generate({"-p", "Hello", "-n", "2"});
  EXPECT_EQ(one.err.rfind("1 token, mean depth 4.00 of 4", 0), 0u) << one.err;
  EXPECT_EQ(two.err.rfind("2 tokens at ", 0), 0u) << two.err;
  const Ran json_one = generate({"-p", "Hello", "-n", "1", "--json"});
  EXPECT_TRUE(checked(json_one.out, "generate").at("tokens_per_second").is_null());
  EXPECT_GT(checked(generate({"-p", "Hello", "-n", "2", "--json"}).out, "generate").at("tokens_per_second"), 0);
}

TEST_F(Cli, AFileIsReadByteForByteAndIsThePromptItself) {
  const std::string text = "two  spaces\r\nand a newline\n";
  const std::string path = temporary_file("prompt", text);
  const Ran by_file = generate({"-f", path, "-n", "4", "--json"});
  const Ran by_text = generate({"-p", text, "-n", "4", "--json"});
  const Ran by_stdin = generate({"-f", "-", "-n", "4", "--json"}, {.input = text});
  ASSERT_EQ(by_file.code, 0) << by_file.err;
  EXPECT_EQ(json::parse(by_file.out).at("tokens"), json::parse(by_text.out).at("tokens"));
  EXPECT_EQ(json::parse(by_file.out).at("prompt_tokens"), json::parse(by_text.out).at("prompt_tokens"));
  EXPECT_EQ(json::parse(by_file.out).at("tokens"), json::parse(by_stdin.out).at("tokens"));
  unlink(path.c_str());
}

TEST_F(Cli, ASeedGivesTheSameTextWhateverTheThreads) {
  const std::vector<std::string> args = {"-p", "Hello", "-n", "20", "--temperature", "1", "--seed", "3", "--json"};
  const auto tokens = [&](std::vector<std::string> more) {
    more.insert(more.begin(), args.begin(), args.end());
    return json::parse(generate(more).out).at("tokens");
  };
  EXPECT_EQ(tokens({}), tokens({"--ctx", "512"}));
  EXPECT_NE(tokens({}), tokens({"--sequence", "1"}));
  Ran two = fathom_command({"generate", "-m", model_, "--threads", "2", "-p", "Hello", "-n", "20", "--temperature", "1",
                            "--seed", "3", "--json"});
  EXPECT_EQ(tokens({}), json::parse(two.out).at("tokens"));
}

TEST_F(Cli, ColourShadesByDepthWhereItIsAskedForAndNowhereElse) {
  const std::vector<std::string> args = {"-p", "Hello", "-n", "12", "--policy", "exit_at(layer=2)"};
  auto with = [&](std::vector<std::string> more, const testing::SpawnOptions& options = {}) {
    more.insert(more.begin(), args.begin(), args.end());
    return generate(more, options).out;
  };
  EXPECT_EQ(with({}).find('\x1b'), std::string::npos) << "a file is no terminal";
  const std::string shaded = with({"--color", "always"}, {.environment = {"NO_COLOR=1"}});
  EXPECT_NE(shaded.find("\x1b[48;5;"), std::string::npos);
  EXPECT_NE(shaded.find("of 4 layers"), std::string::npos);
  EXPECT_EQ(with({"--color", "never"}), with({}));
}

TEST_F(Cli, ChatPutsTheTextIntoTheTemplate) {
  const Ran raw = generate({"-p", "Hello", "-n", "2", "--json"});
  const Ran chat = generate({"-p", "Hello", "-n", "2", "--chat", "--json"});
  ASSERT_EQ(chat.code, 0) << chat.err;
  EXPECT_GT(json::parse(chat.out).at("prompt_tokens"), json::parse(raw.out).at("prompt_tokens"));
  const Ran none = fathom_command({"generate", "-m", plain_, "-p", "Hello", "--chat"});
  expect_failure(none, 1, "chat template");
}

TEST_F(Cli, ChatAnswersEachLineAndKnowsWhatWasSaid) {
  // The policy runs the first tokens of a text deeper: with what was generated before /new forgotten, it does so again.
  const Ran ran = fathom_command(
      {"chat", "-m", model_, "-n", "5", "--json", "--policy", "exit_at(layer=1) | full_depth_first(tokens=2)"},
      {.input = "Hello\n\nAgain\n/new\nHello\n"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::vector<json> answers = checked_lines(ran.out, "generate");
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].at("tokens"), answers[2].at("tokens")) << "/new forgets";
  EXPECT_EQ(answers[0].at("depths"), answers[2].at("depths"));
  EXPECT_NE(answers[0].at("prompt_tokens"), answers[1].at("prompt_tokens"));
}

TEST_F(Cli, InfoTokenizeAndPerplexityFitTheirSchemas) {
  const Ran info = fathom_command({"info", "-m", model_, "--json"});
  ASSERT_EQ(info.code, 0) << info.err;
  EXPECT_EQ(checked(info.out, "info").at("chat_template_kind"), "chatml");
  EXPECT_NE(fathom_command({"info", "-m", plain_}).out.find("gemma3"), std::string::npos);

  const Ran tokens = fathom_command({"tokenize", "-m", model_, "-p", "Hello\xff", "--json"});
  ASSERT_EQ(tokens.code, 0) << tokens.err;
  EXPECT_EQ(checked(tokens.out, "tokenize").at("ids").size(), json::parse(tokens.out).at("pieces").size());

  const std::string text =
      temporary_file("text", "The sea is wide and the sea is deep. The sea is wide and the sea is deep.");
  const std::string per_token = temporary_path("per_token");
  const Ran ppl = fathom_command({"perplexity", "-m", model_, "-f", text, "--ctx", "16", "--policy", "exit_at(layer=3)",
                                  "--per-token", per_token, "--json"});
  ASSERT_EQ(ppl.code, 0) << ppl.err;
  const json result = checked(ppl.out, "perplexity");
  EXPECT_EQ(result.at("mean_depth"), 3);
  std::istringstream lines(file_content(per_token));
  int64_t n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    const json token = checked(line, "per_token");
    for (const char* field : {"nll", "argmax", "depth"}) {
      EXPECT_EQ(token.at(field).is_null(), n % 16 == 0) << field << " of token " << n << ", no token begins the text";
    }
  }
  EXPECT_EQ(n, result.at("n_tokens"));
  unlink(text.c_str());
  unlink(per_token.c_str());
}

TEST_F(Cli, ATraceIsHadAgainAndAnsweredByAnotherPolicy) {
  const std::string trace = temporary_path("trace");
  const Ran ran = generate({"-p", "Hello", "-n", "20", "--temperature", "0.9", "--seed", "4", "--policy",
                            "exit_when(confidence_at_least=0.999)", "--trace", trace});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Ran again = fathom_command({"replay", trace, "-m", model_, "--check", "--json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_TRUE(checked(again.out, "check").at("same"));
  EXPECT_GT(checked(again.out, "check").at("decisions"), 0);

  const Ran other = fathom_command({"replay", trace, "--policy", "exit_at(layer=1)", "--json"});
  const json report = checked(other.out, "replay");
  EXPECT_EQ(report.at("decided_differently"), 1);
  EXPECT_EQ(report.at("rows"), report.at("decided_same").get<int>() + report.at("decided_differently").get<int>() +
                                   report.at("unknown_signal").get<int>() +
                                   report.at("unknown_after_divergence").get<int>());

  expect_failure(fathom_command({"replay", trace, "-m", plain_, "--check"}), 1, "another model");
  std::string cut = file_content(trace);
  cut.resize(cut.size() - 5);
  const std::string cut_path = temporary_file("cut", cut);
  const Ran cut_ran = fathom_command({"replay", cut_path, "-m", model_, "--check"});
  EXPECT_EQ(cut_ran.code, 0) << cut_ran.err;
  EXPECT_NE(cut_ran.err.find("cut off"), std::string::npos) << cut_ran.err;
  unlink(cut_path.c_str());
  unlink(trace.c_str());
}

// One row that is drafted, settled and, with the guess behind it, taken back; then one that a choice ran in full.
void write_drafts(const std::string& path) {
  Trace trace = Trace::create(path, {.policy = "full_depth", .n_layers = 2}).value();
  const auto run = [&](std::vector<TraceRow> rows) {
    trace.rows(rows);
    std::vector<TraceCommit> commits;
    commits.reserve(rows.size());
    for (const TraceRow& row : rows) commits.push_back({row.sequence, row.position, 1, 2, 1});
    trace.commit(commits);
  };
  run({{0, 0, 1, RowKind::prompt}});
  run({{0, 1, 1, RowKind::generated, RowRole::draft}});
  run({{0, 1, 1, RowKind::generated, RowRole::settled}, {0, 2, 1, RowKind::generated, RowRole::draft}});
  trace.rollback(std::vector<TraceRollback>{{0, 1}});
  trace.choice(std::vector<TraceChoice>{{.position = 1}});
  run({{0, 1, 1, RowKind::generated}});
  trace.finish().value();
}

TEST_F(Cli, ReplaySaysHowManyRowsWereDraftedSettledAndTakenBackWhereThereAreAny) {
  const std::string trace = temporary_path("drafts"), plain = temporary_path("no_drafts");
  write_drafts(trace);
  const Ran ran = fathom_command({"replay", trace, "--policy", "full_depth"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  for (const char* line :
       {"        4  100.0 %  rows\n", "        2           drafted\n", "        1           settled\n",
        "        2           taken back\n", "        1           of those decided the same: run in full"}) {
    EXPECT_NE(ran.out.find(line), std::string::npos) << line << " is not in:\n" << ran.out;
  }
  const json report = checked(fathom_command({"replay", trace, "--policy", "full_depth", "--json"}).out, "replay");
  EXPECT_EQ(report.at("drafted_rows"), 2);
  EXPECT_EQ(report.at("settled_rows"), 1);
  EXPECT_EQ(report.at("rolled_back_rows"), 2);
  EXPECT_EQ(report.at("not_asked_rows"), 1);

  ASSERT_EQ(generate({"-p", "Hello", "-n", "4", "--trace", plain}).code, 0);
  const std::string without = fathom_command({"replay", plain, "--policy", "full_depth"}).out;
  EXPECT_NE(without.find("decided the same"), std::string::npos);
  for (const char* word : {"drafted", "settled", "taken back", "in full"}) {
    EXPECT_EQ(without.find(word), std::string::npos) << word << " is in:\n" << without;
  }
  EXPECT_EQ(
      checked(fathom_command({"replay", plain, "--policy", "full_depth", "--json"}).out, "replay").at("drafted_rows"),
      0);
  unlink(trace.c_str());
  unlink(plain.c_str());
}

TEST_F(Cli, ADialogueThatOutgrowsItsContextSaysWhichOptionAndGoesOn) {
  const Ran ran = fathom_command({"chat", "-m", model_, "-n", "2", "--ctx", "64", "--json"},
                                 {.input = std::string(400, 'x') + "\nHello\n"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("raise --ctx"), std::string::npos) << ran.err;
  EXPECT_EQ(ran.err.find("SessionOptions"), std::string::npos) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 1) << "the second message is answered";
}

// Copies a trace, one signal moved by a step of its last bit.
void flip_a_signal(const std::string& from, const std::string& to) {
  TraceReader reader = TraceReader::open(from).value();
  Trace trace = Trace::create(to, reader.header()).value();
  bool flipped = false;
  for (TraceEvent event; reader.next(event).value();) {
    if (!event.rows.empty()) trace.rows(event.rows);
    for (Step& step : event.steps) {
      float& signal = step.signals[static_cast<int>(Signal::exit_confidence)];
      if (flipped || std::isnan(signal)) continue;
      signal = std::nextafter(signal, 2.0f);
      flipped = true;
    }
    if (!event.steps.empty()) trace.boundary(event.computed, event.sequences, event.steps, event.decisions);
    if (!event.commits.empty()) trace.commit(event.commits);
  }
  trace.finish().value();
  ASSERT_TRUE(flipped);
}

TEST_F(Cli, CheckNoticesTheLastBitOfOneSignal) {
  const std::string trace = temporary_path("sound"), touched = temporary_path("touched");
  ASSERT_EQ(generate({"-p", "Hello", "-n", "6", "--policy", "exit_when(0.999)", "--trace", trace}).code, 0);
  flip_a_signal(trace, touched);
  EXPECT_EQ(fathom_command({"replay", trace, "-m", model_, "--check"}).code, 0);
  const Ran ran = fathom_command({"replay", touched, "-m", model_, "--check"});
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_NE(ran.out.find("different: layer"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("exit_confidence"), std::string::npos) << ran.out;
  unlink(trace.c_str());
  unlink(touched.c_str());
}

TEST_F(Cli, AnInterruptPrintsWhatThereIsAndGives130) {
  const Ran ran =
      generate({"-p", "Hello", "-n", "4000", "--target", "ref", "--temperature", "3"}, {.interrupt_after_bytes = 20});
  EXPECT_EQ(ran.code, 130) << ran.err;
  EXPECT_GE(ran.out.size(), 20u);
  EXPECT_NE(ran.err.find("stopped by interrupt"), std::string::npos) << ran.err;
}

// Without a look between chunks the first token is chosen before the interrupt is seen.
TEST_F(Cli, AnInterruptWithinALongPromptEndsItBetweenChunks) {
  const std::string trace = temporary_path("interrupted");
  const auto prompt = [&](const char* tokens, const testing::SpawnOptions& options) {
    unlink(trace.c_str());
    return generate({"-p", std::string(3900, 'x'), "-n", tokens, "--ctx", "4000", "--target", "ref", "--trace", trace},
                    options);
  };
  ASSERT_EQ(prompt("1", {}).code, 0);
  TraceReader reader = TraceReader::open(trace).value();
  const auto begun = static_cast<int64_t>(reader.header().run_json.size()) + 1000;  // the header and a first chunk
  ASSERT_GT(static_cast<int64_t>(file_content(trace).size()), begun + 4000) << "the prompt should take many chunks";
  std::string said;
  for (int attempt = 0; attempt < 5 && said.rfind("0 tokens", 0) != 0; ++attempt) {  // the prompt may be faster
    const Ran ran = prompt("50", {.interrupt_after_bytes = begun, .watched = trace});
    EXPECT_EQ(ran.code, 130) << ran.err;
    said = ran.err;
  }
  EXPECT_EQ(said.rfind("0 tokens", 0), 0u) << said;
  EXPECT_NE(said.find("stopped by interrupt"), std::string::npos) << said;
  unlink(trace.c_str());
}

}  // namespace
}  // namespace fathom
