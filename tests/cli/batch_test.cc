// generate --batch: the texts of a file as they would be alone, in its order, and every line that is refused.
// Next: lossless_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

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
using testing::Ran;
using testing::temporary_file;

class CliBatch : public Cli {
 protected:
  // generate --batch on a file with these lines.
  static Ran batch(const std::string& lines, std::vector<std::string> more = {}, int at_once = 3,
                   const testing::SpawnOptions& options = {}) {
    const std::string path = temporary_file("prompts.jsonl", lines);
    more.insert(more.begin(), {"-f", path, "--batch", std::to_string(at_once), "--json"});
    Ran ran = generate(more, options);
    unlink(path.c_str());
    return ran;
  }
};

const char* const kTexts[] = {"Hello", "The sea is wide", "a", "one two three one two three one two",
                              "\xc3\xa4\n\"x\""};

std::string lines_of(int n) {
  std::string lines;
  for (int i = 0; i < n; ++i) {
    json line = {{"text", kTexts[i % 5]}};
    if (i % 3 == 0) line["id"] = "id \xe2\x82\xac " + std::to_string(i);
    if (i % 3 == 1) line["id"] = i - 2;
    if (i % 2 == 1) line["seed"] = i % 4;
    lines += line.dump() + "\n";
  }
  return lines;
}

TEST_F(CliBatch, EachLineIsTheTextAloneUnderItsNumberAndInTheFilesOrder) {
  for (const char* policy : {"full_depth", "exit_at(2)", "exit_at(2) | kv(settle_later, max_rows=64)",
                             "exit_at(1) | draft_ngram | kv(verify)"}) {
    const std::vector<std::string> options = {"-n", "24",       "--temperature", "0.9",    "--seed",
                                              "5",  "--policy", policy,          "--stop", "e"};
    const Ran ran = batch(lines_of(7), options);
    ASSERT_EQ(ran.code, 0) << policy << ": " << ran.err;
    EXPECT_EQ(ran.err, "");
    const std::vector<json> lines = checked_lines(ran.out, "generate_batch");
    ASSERT_EQ(lines.size(), 7u) << policy;
    for (int i = 0; i < 7; ++i) {
      std::vector<std::string> alone = options;
      alone[5] = i % 2 == 1 ? std::to_string(i % 4) : "5";
      alone.insert(alone.end(), {"-p", kTexts[i % 5], "--sequence", std::to_string(i + 1), "--json"});
      const json expected = checked(generate(alone).out, "generate");
      const json& line = lines[static_cast<size_t>(i)];
      EXPECT_EQ(line.at("line"), i + 1);
      for (const char* field : {"text", "tokens", "depths", "stop_reason", "prompt_tokens", "policy"}) {
        EXPECT_EQ(line.at(field), expected.at(field)) << policy << ", line " << i + 1 << ", " << field;
      }
    }
  }
}

TEST_F(CliBatch, TheNumberOfTextsAtOnceChangesNone) {
  const auto tokens = [&](int at_once, const char* quality) {
    std::vector<json> all;
    const Ran ran = batch(lines_of(9), {"-n", "16", "--temperature", "1", "--quality", quality}, at_once);
    EXPECT_EQ(ran.code, 0) << ran.err;
    for (const json& line : checked_lines(ran.out, "generate_batch")) all.push_back(line.at("tokens"));
    return all;
  };
  const std::vector<json> one = tokens(1, "full");
  EXPECT_EQ(one.size(), 9u);
  for (const int at_once : {2, 8, 256}) {
    EXPECT_EQ(tokens(at_once, "full"), one) << at_once;
    EXPECT_EQ(tokens(at_once, "lossless"), one) << at_once;
  }
  EXPECT_NE(one[0], one[5]) << "one seed and one text, but two lines";
}

TEST_F(CliBatch, IdsComeBackAsTheyCame) {
  const Ran ran = batch(R"({"id": "a \u20ac \"b\"", "text": "x"})"
                        "\n"
                        R"({"id": 18446744073709551615, "text": "x"})"
                        "\r\n"
                        R"({"text": "x", "id": -9223372036854775808})"
                        "\n"
                        R"( {"text":"x"} )",
                        {"-n", "1"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::vector<json> lines = checked_lines(ran.out, "generate_batch");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].at("id"), "a \xe2\x82\xac \"b\"");
  EXPECT_EQ(lines[1].at("id").dump(), "18446744073709551615");
  EXPECT_EQ(lines[2].at("id").dump(), "-9223372036854775808");
  EXPECT_TRUE(lines[3].at("id").is_null());
}

TEST_F(CliBatch, StandardInputAndTheChatTemplateServeItToo) {
  const auto run = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"-f", "-", "--batch", "2", "--json", "-n", "2"});
    return generate(more, {.input = "{\"text\": \"Hello\"}\n{\"text\": \"sea\"}\n"});
  };
  const Ran plain = run({}), chat = run({"--chat", "--system", "Be brief."});
  ASSERT_EQ(plain.code, 0) << plain.err;
  ASSERT_EQ(chat.code, 0) << chat.err;
  const auto raw = checked_lines(plain.out, "generate_batch"), asked = checked_lines(chat.out, "generate_batch");
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_GT(asked[1].at("prompt_tokens"), raw[1].at("prompt_tokens"));
  const Ran alone = generate({"-p", "sea", "-n", "2", "--chat", "--system", "Be brief.", "--json"});
  EXPECT_EQ(asked[1].at("tokens"), json::parse(alone.out).at("tokens"));
}

TEST_F(CliBatch, ABadLineIsNamedWithItsFaultAndTheRemedyBeforeAnyTextIsBegun) {
  const std::string good = R"({"text": "Hello"})"
                           "\n";
  const std::string form = R"(write one object a line, such as {"text": "Once upon"})";
  const std::pair<std::string, std::string> cases[] = {
      {"Hello", R"(line 2: no JSON at byte 1, at "H": )" + form},
      {R"({"text": "Hel)", "line 2: no JSON at byte 14, at "},
      {R"({"text": "a"} {"text": "b"})", "line 2: no JSON at byte 15, at "},
      {"{\"text\": \"\xff\"}", "line 2: no JSON at byte 11, at "},
      {R"({"text": "\ud800"})", "line 2: no JSON at byte "},
      {"\x1b[31m", "line 2: no JSON at byte 1, at "},
      {R"(["Hello"])", "line 2: [...] is no object: " + form},
      {R"("Hello")", R"(line 2: "Hello" is no object: )" + form},
      {"null", "line 2: null is no object: "},
      {"", "line 2: the line is empty: take it out"},
      {" \t\r", "line 2: the line is empty: take it out"},
      {"{}", "line 2: text is missing: " + form},
      {R"({"id": 3})", "line 2: text is missing: "},
      {R"({"text": ""})", "line 2: text is empty: give at least one character"},
      {R"({"text": 5})", "line 2: text 5: give a string"},
      {R"({"text": -5})", "line 2: text -5: give a string"},
      {R"({"text": null})", "line 2: text null: give a string"},
      {R"({"text": ["a"]})", "line 2: text [...]: give a string"},
      {R"({"text": {"a": 1}})", "line 2: text {...}: give a string"},
      {R"({"text": "a", "id": 1.5})", "line 2: id 1.5: give a string or a whole number of 64 bits"},
      {R"({"text": "a", "id": 18446744073709551616})", "line 2: id 18446744073709551616: give"},
      {R"({"text": "a", "id": true})", "line 2: id true: give a string"},
      {R"({"text": "a", "id": []})", "line 2: id [...]: give a string"},
      {R"({"text": "a", "seed": -1})", "line 2: seed -1: give a whole number from 0 to 18446744073709551615"},
      {R"({"text": "a", "seed": "7"})", R"(line 2: seed "7": give a whole number)"},
      {R"({"text": "a", "seed": 1e3})", "line 2: seed 1e3: give a whole number"},
      {R"({"text": "a", "sed": 7})", R"(line 2: no field "sed" is known: give text, id and seed alone)"},
      {R"({"text": "a", "text": "b"})", "line 2: text is given twice: give it once"},
      {std::string(size_t{1} << 20, '['), "line 2: [...] is no object"},
      {"{\"text\": " + std::string(size_t{1} << 20, '['), "line 2: text [...]: give a string"},
      {"{\"" + std::string(300, 'k') + "\": 1}", "line 2: no field \"" + std::string(40, 'k') + "\"... is known"},
      {"{\"text\": \"" + std::string(300, 'x') + "\"}", "line 2: a prompt of "},
  };
  for (const auto& [line, said] : cases) {
    std::string lines = good;
    lines.append(line).append("\n").append(good);
    const Ran ran = batch(lines, {"--ctx", "100"});
    expect_failure(ran, 1, said);
    EXPECT_NE(ran.err.find("prompts.jsonl, line 2: "), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find('\x1b'), std::string::npos) << "a terminal would obey it";
    EXPECT_LT(ran.err.size(), 400u) << ran.err;
  }
  expect_failure(batch("{\"text\": \"" + std::string(300000, 'x') + "\"}"), 1, "line 1: a prompt of 300000 bytes");
  expect_failure(batch("{\"text\": \"" + std::string(300, 'x') + "\"}", {"--ctx", "20"}), 1, "raise --ctx");
  expect_failure(batch(""), 2, "is empty");
  expect_failure(batch("\n"), 1, "line 1: the line is empty");
  expect_failure(generate({"-f", "-", "--batch", "2", "--json"}, {.input = "x"}), 1, "standard input, line 1: no JSON");
}

TEST_F(CliBatch, OptionsThatDoNotGoWithItAreUsageErrors) {
  const std::string see = ": see fathom generate --help";
  const auto said = [&](const std::vector<std::string>& args, const std::string& line) {
    expect_failure(generate(args), 2, "fathom generate: " + line + see + "\n");
  };
  said({"-f", "x", "--batch", "2"}, "--batch: goes only with --json: give both");
  said({"--batch", "2", "--json"}, "--batch: goes only with --file: give both");
  said({"-p", "x", "--batch", "2", "--json"}, "--prompt: does not go with --batch: give one of them");
  for (const char* other : {"--trace=x", "--color=never", "--sequence=3"}) {
    const std::string option(other);
    said({"-f", "x", "--batch", "2", "--json", option},
         option.substr(0, option.find('=')) + ": does not go with --batch: give one of them");
  }
  for (const std::string n : {"0", "-1", "257", "two"}) {
    said({"-f", "x", "--json", "--batch", n}, "--batch " + n + ": give a whole number from 1 to 256");
  }
}

// The output grows while later lines run: else the interrupt would come too late.
TEST_F(CliBatch, AnInterruptPrintsTheTextsThatWereBegunAndGives130) {
  const Ran ran = batch(lines_of(4000), {"-n", "60", "--target", "ref", "--temperature", "1", "--stop", "e"}, 4,
                        {.interrupt_after_bytes = 1});
  EXPECT_EQ(ran.code, 130) << ran.err;
  EXPECT_EQ(ran.err, "");
  const std::vector<json> lines = checked_lines(ran.out, "generate_batch");
  ASSERT_GT(lines.size(), 1u);
  EXPECT_LT(lines.size(), 4000u);
  size_t interrupted = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("line"), i + 1);
    interrupted += lines[i].at("stop_reason") == "interrupt";
  }
  EXPECT_NE(lines[0].at("stop_reason"), "interrupt") << "it was there before";
  EXPECT_LE(interrupted, 4u) << "those that ran";
}

// The first text is soon at the context's end; without a look between passes the second one would run on to its own.
TEST_F(CliBatch, AnInterruptEndsATextThatRunsAlone) {
  const Ran ran = batch("{\"text\": \"" + std::string(4090, 'x') + "\"}\n{\"text\": \"Hello\"}\n",
                        {"-n", "4000", "--temperature", "3"}, 1, {.interrupt_after_bytes = 1});
  EXPECT_EQ(ran.code, 130) << ran.err;
  const std::vector<json> lines = checked_lines(ran.out, "generate_batch");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("stop_reason"), "context");
  EXPECT_EQ(lines[1].at("stop_reason"), "interrupt");
  EXPECT_LT(lines[1].at("tokens").size(), 4000u);
}

}  // namespace
}  // namespace fathom
