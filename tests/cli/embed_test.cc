// fathom embed: lines in, lines and numpy files out, lines that are bad, and what does not go together.
// Next: lossless_test.cc.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/cli/cli_fixture.h"
#include "tests/cli/schema.h"
#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/folder_writer.h"

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

const testing::TinyOptions kEncoder{.family = "bert", .n_layers = 3};

class CliEmbed : public Cli {
 protected:
  static void SetUpTestSuite() {
    Cli::SetUpTestSuite();
    encoder_ = testing::write_file("encoder.gguf", testing::tiny_writer(kEncoder));
  }
  static void TearDownTestSuite() {
    unlink(encoder_.c_str());
    Cli::TearDownTestSuite();
  }
  ~CliEmbed() override {
    for (const std::string& path : made_) unlink(path.c_str());
  }

  // embed on these lines, given as standard input.
  static Ran embed(const std::string& lines, std::vector<std::string> more = {}, const std::string& model = encoder_) {
    more.insert(more.begin(), {"embed", "-m", model, "--threads", "1", "-f", "-"});
    return fathom_command(more, {.input = lines});
  }
  std::string made(const char* name) { return made_.emplace_back(temporary_path(name)); }

  static inline std::string encoder_;
  std::vector<std::string> made_;
};

std::string line_of(const std::string& text, const json& id = {}) {
  json line = {{"text", text}};
  if (!id.is_null()) line["id"] = id;
  return line.dump() + "\n";
}

std::vector<float> floats_of(const json& array) {
  std::vector<float> values;
  for (const json& number : array) values.push_back(std::stof(number.dump()));
  return values;
}

/// What the library makes of a text.
Embedding expected(const std::string& text, const Rounding& rounding, const Policy& policy = {},
                   int32_t max_tokens = 0) {
  Encoder encoder =
      Encoder::make(testing::tiny_model(kEncoder, {.numerics = rounding.numerics, .quantise = rounding.quantise}),
                    {.max_tokens = max_tokens})
          .value();
  return testing::embed_one(encoder, text, policy);
}

TEST_F(CliEmbed, EachLineIsTheLibrarysEmbeddingBitForBitInTheFilesOrder) {
  std::vector<std::string> texts;
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    texts.push_back(testing::text_of_tokens((i * 37) % 90, static_cast<uint64_t>(i)));
    lines += line_of(texts.back(), i % 2 == 0 ? json() : json(i));
  }
  for (const auto& [precision, rounding] : {std::pair<const char*, Rounding>{"f32", Numerics::exact},
                                            {"bf16", Numerics::bf16},
                                            {"int8", {Numerics::fast, DType::q8_0}}}) {
    const Ran ran = embed(lines, {"--precision", precision});
    ASSERT_EQ(ran.code, 0) << ran.err;
    const std::vector<json> got = checked_lines(ran.out, "embed");
    ASSERT_EQ(got.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const Embedding want = expected(texts[i], rounding);
      EXPECT_TRUE(testing::same_bits<float>(floats_of(got[i].at("embedding")), want.values)) << i;
      EXPECT_EQ(got[i].at("line"), i + 1);
      EXPECT_EQ(got[i].at("id"), i % 2 == 0 ? json() : json(i));
      EXPECT_EQ(got[i].at("tokens"), want.tokens);
      EXPECT_EQ(got[i].at("depth"), 3);
      EXPECT_FALSE(got[i].at("truncated"));
    }
  }
  const Ran usual = fathom_command({"embed", "-m", encoder_, "--threads", "2", "-f", "-"}, {.input = lines});
  EXPECT_TRUE(usual.out == embed(lines, {"--precision", "f32"}).out) << "f32 is the default";
}

TEST_F(CliEmbed, WhatItDidStandsInOneLineOnStderr) {
  const Ran ran =
      embed(line_of("a b c") + line_of("a") + line_of(testing::text_of_tokens(90, 1)), {"--max-tokens", "5"});
  EXPECT_EQ(ran.err.rfind("3 texts of 13 tokens in ", 0), 0u) << ran.err;
  EXPECT_NE(ran.err.find("mean depth 3.00 of 3, work 1.000; 1 cut at 5 tokens\n"), std::string::npos) << ran.err;
  EXPECT_EQ(embed("").err.rfind("0 texts of 0 tokens in ", 0), 0u);
  EXPECT_EQ(embed("").out, "");
}

TEST_F(CliEmbed, PolicyAndLengthAreTheLibrarys) {
  const std::string text = testing::text_of_tokens(50, 3);
  const std::vector<json> got =
      checked_lines(embed(line_of(text), {"--policy", "exit_at(layer=2)", "--max-tokens", "20"}).out, "embed");
  ASSERT_EQ(got.size(), 1u);
  const Embedding want = expected(text, Numerics::exact, exit_at{.layer = 2}, 20);
  EXPECT_TRUE(testing::same_bits<float>(floats_of(got[0].at("embedding")), want.values));
  EXPECT_EQ(got[0].at("depth"), 2);
  EXPECT_NEAR(got[0].at("work"), 2.0 / 3, 1e-6);
  EXPECT_EQ(got[0].at("tokens"), 20);
  EXPECT_EQ(got[0].at("tokens_kept"), 20);
  EXPECT_TRUE(got[0].at("truncated"));
}

// Numbers read as f32 are the library's, and the vector is what it is without them.
TEST_F(CliEmbed, FatesAreTheLibrarysAndChangeNothingElse) {
  const std::string lines = line_of(testing::text_of_tokens(30, 3)) + line_of("") + line_of("a <b> \x7f");
  for (const std::string policy : {"merge_tokens(keep=0.5)", "prune_tokens(keep=0.3)", "full_depth"}) {
    const std::vector<json> got = checked_lines(embed(lines, {"--policy", policy, "--explain"}).out, "embed"),
                            plain = checked_lines(embed(lines, {"--policy", policy}).out, "embed");
    ASSERT_EQ(got.size(), 3u);
    Encoder encoder =
        Encoder::make(testing::tiny_model(kEncoder, {.numerics = Numerics::exact}), {.explain = true}).value();
    int64_t dropped = 0, joined = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      json rest = got[i];
      rest.erase("fates");
      EXPECT_EQ(rest, plain[i]);
      const std::string text = i == 0 ? testing::text_of_tokens(30, 3) : i == 1 ? "" : "a <b> \x7f";
      const Embedding want = testing::embed_one(encoder, text, Policy::parse(policy).value());
      const json& fates = got[i].at("fates");
      ASSERT_EQ(fates.size(), want.fates.size());
      double sum = 0;
      for (size_t p = 0; p < fates.size(); ++p) {
        const TokenFate& fate = want.fates[p];
        EXPECT_EQ(std::stof(fates[p].at("share").dump()), fate.share);
        EXPECT_EQ(fates[p].at("removed_at"), fate.removed_at < 0 ? json() : json(fate.removed_at));
        EXPECT_EQ(fates[p].at("joined"), fate.joined < 0 ? json() : json(fate.joined));
        ASSERT_EQ(fates[p].at("sources").size(), fate.sources.size());
        for (size_t s = 0; s < fate.sources.size(); ++s) {
          EXPECT_EQ(fates[p].at("sources")[s][0], fate.sources[s].first);
          EXPECT_EQ(std::stof(fates[p].at("sources")[s][1].dump()), fate.sources[s].second);
        }
        sum += double{fate.share};
        joined += fate.joined >= 0;
        dropped += fate.removed_at >= 0 && fate.joined < 0;
      }
      EXPECT_NEAR(sum, 1, 1e-5);
    }
    EXPECT_EQ(joined > 0, policy[0] == 'm') << policy;
    EXPECT_EQ(dropped > 0, policy[0] == 'p') << policy;
  }
}

TEST_F(CliEmbed, APageDrawsTheFirstTextsAndNothingInItActs) {
  const std::string hostile = "<script>alert(1)</script><img src=x onerror=a> \" onmouseover=\"b ' & \u202e";
  std::string lines = line_of(hostile, hostile);
  for (int i = 0; i < 60; ++i) lines += line_of(testing::text_of_tokens(12, 3));
  const std::string path = made("flow.html");
  const std::vector<std::string> args = {"--page", path, "--policy", "prune_tokens(keep=0.5) | merge_tokens(keep=0.4)"};
  const Ran ran = embed(lines, args);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, embed(lines, {args[2], args[3]}).out) << "a page changes no line";
  const std::string page = file_content(path);
  const auto times = [&](const std::string& what) {
    int n = 0;
    for (size_t at = 0; (at = page.find(what, at)) != std::string::npos; at += what.size()) ++n;
    return n;
  };
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  EXPECT_EQ(times("<article class=\"flow\">"), 40);
  EXPECT_EQ(times("</article>"), 40);
  EXPECT_EQ(times("<script"), 1) << "the page's own";
  EXPECT_EQ(times("<img"), 0);
  EXPECT_EQ(times("\" onmouseover"), 0);
  EXPECT_EQ(times("\u202e"), 0) << "nothing turns its direction";
  EXPECT_EQ(times("http:") + times("https:"), 0) << "it needs no network";
  EXPECT_EQ(times("the first 40 are drawn"), 1);
  EXPECT_GT(times("<s>"), 40);
  EXPECT_GT(times(" joined\" title="), 40);
  EXPECT_NE(page.find("<code>prune_tokens(keep=0.5) | merge_tokens(keep=0.4)</code>"), std::string::npos);
  EXPECT_NE(page.find("% of the embedding"), std::string::npos);
}

TEST_F(CliEmbed, APageIsWrittenBehindABadLineAndReplacesPagesAlone) {
  const std::string path = made("flow.html"), other = temporary_file("other", "mine");
  EXPECT_EQ(embed(line_of("a") + "bad\n", {"--page", path}).code, 1);
  EXPECT_NE(file_content(path).find(">Line 1<"), std::string::npos);
  ASSERT_EQ(embed("", {"--page", path}).code, 0);
  EXPECT_NE(file_content(path).find("There were no texts."), std::string::npos);
  expect_failure(embed(line_of("a"), {"--page", other}), 1, "exists and is no page of ours");
  EXPECT_EQ(file_content(other), "mine");
  unlink(other.c_str());
}

TEST_F(CliEmbed, ATraceOfItIsReplayedAndWhatItCannotDoIsSaid) {
  const std::string path = made("run.trace"), lines = line_of(testing::text_of_tokens(20, 1)) + line_of("");
  const std::vector<std::string> args = {"--policy", "prune_tokens(keep=0.5)", "--trace", path, "--explain"};
  const Ran ran = embed(lines, args);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, embed(lines, {args[0], args[1], args[4]}).out) << "a trace changes no line";
  const json same = checked(fathom_command({"replay", path, "--policy", args[1], "--json"}).out, "replay");
  EXPECT_EQ(same.at("recorded_policy").get<std::string>().rfind("prune_tokens(", 0), 0u);
  EXPECT_EQ(same.at("rows"), 24);
  EXPECT_EQ(same.at("decided_same"), 24);
  const json full = checked(fathom_command({"replay", path, "--policy", "full_depth", "--json"}).out, "replay");
  EXPECT_GT(full.at("decided_differently"), 0);
  EXPECT_EQ(full.at("first_difference").at("recorded"), "drop");
  expect_failure(fathom_command({"replay", path, "-m", encoder_, "--check"}), 1, "holds no text to run again");
  expect_failure(fathom_command({"report", path, "-o", made("page.html")}), 1, "");
}

TEST_F(CliEmbed, AFolderIsTheModelOfItsGgufFile) {
  const std::string folder = temporary_path("encoder");
  testing::tiny_folder(kEncoder).write(folder);
  const std::string lines = line_of("the hand and the ring") + line_of("");
  const Ran ran = embed(lines, {}, folder);
  std::filesystem::remove_all(folder);
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, embed(lines).out);
}

// Header, shape and numbers as numpy's format 1.0 has them.
TEST_F(CliEmbed, ANumpyFileHoldsTheSameNumbers) {
  std::string lines;
  for (int i = 0; i < 3; ++i) lines += line_of(testing::text_of_tokens(i, 5));
  const std::string path = made("rows.npy"), out = made("rows.jsonl");
  for (int again = 0; again < 2; ++again) {  // the second replaces the first
    ASSERT_EQ(embed(lines, {"--npy", path, "-o", out}).code, 0);
    const std::string npy = file_content(path);
    ASSERT_EQ(npy.size(), 128 + 3 * 64 * sizeof(float));
    EXPECT_EQ(npy.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
    EXPECT_EQ(npy.substr(10, 60), "{'fortran_order': False, 'descr': '<f4', 'shape': (3, 64), }");
    EXPECT_EQ(npy[127], '\n');
    std::vector<float> rows(3 * 64), want;
    std::memcpy(rows.data(), npy.data() + 128, rows.size() * sizeof(float));
    for (const json& line : checked_lines(file_content(out), "embed")) {
      for (const float value : floats_of(line.at("embedding"))) want.push_back(value);
    }
    EXPECT_TRUE(testing::same_bits<float>(rows, want));
  }
  const Ran alone = embed(lines, {"--npy", path});
  EXPECT_EQ(alone.out, "") << "with --npy alone no line is printed";
  EXPECT_NE(embed(lines, {"--npy", path, "-o", "-"}).out, "");
  ASSERT_EQ(embed("", {"--npy", path}).code, 0);
  EXPECT_NE(file_content(path).find("(0, 64)"), std::string::npos);
}

TEST_F(CliEmbed, OutputsReplaceNothingButEarlierOnes) {
  const std::string input = temporary_file("texts.jsonl", line_of("a", "id")), before = file_content(input);
  expect_failure(fathom_command({"embed", "-m", encoder_, "-f", input, "-o", input}), 1,
                 "was not written by this verb");
  EXPECT_EQ(file_content(input), before);
  expect_failure(fathom_command({"embed", "-m", encoder_, "-f", input, "--npy", input}), 1, "was not written by --npy");
  EXPECT_EQ(file_content(input), before);
  expect_failure(fathom_command({"embed", "-m", encoder_, "-f", input, "-o", "/no/such/folder/x"}), 1, "-o /no/such");
  unlink(input.c_str());
  const std::string out = made("out.jsonl");
  for (const char* text : {"a", "b"}) ASSERT_EQ(embed(line_of(text), {"-o", out}).code, 0);
  EXPECT_EQ(file_content(out), embed(line_of("b")).out);
}

TEST_F(CliEmbed, ABadLineEndsTheRunBehindTheLinesBeforeIt) {
  const std::string good = line_of("a"), form = R"(write one object a line, such as {"text": "Once upon"})";
  const std::pair<std::string, std::string> cases[] = {
      {"a text", R"(line 3: no JSON at byte 1, at "a": )" + form},
      {"", "line 3: the line is empty: take it out"},
      {R"({"id": 3})", "line 3: text is missing: "},
      {R"({"text": 5})", "line 3: text 5: give a string"},
      {"{\"text\": \"\xff\"}", "line 3: no JSON at byte 11, at "},
      {R"({"text": "a", "seed": 5})", R"(line 3: no field "seed" is known: give text and id alone)"},
      {R"({"text": "a", "id": 1.5})", "line 3: id 1.5: give a string or a whole number"},
      {std::string(size_t{1} << 20, '['), "line 3: [...] is no object"},
  };
  const std::string two = embed(good + good).out;
  for (const auto& [line, said] : cases) {
    std::string lines = good + good;
    lines.append(line).append("\n").append(good);
    const Ran stops = embed(lines);
    EXPECT_EQ(stops.code, 1);
    EXPECT_EQ(stops.out, two) << said;
    EXPECT_EQ(std::count(stops.err.begin(), stops.err.end(), '\n'), 1) << stops.err;
    EXPECT_NE(stops.err.find("standard input, " + said), std::string::npos) << stops.err;
    const Ran goes_on = embed(lines, {"--skip-bad"});
    EXPECT_EQ(goes_on.code, 0);
    ASSERT_EQ(checked_lines(goes_on.out, "embed").size(), 3u);
    EXPECT_EQ(checked_lines(goes_on.out, "embed")[2].at("line"), 4);
    EXPECT_NE(goes_on.err.find("standard input, " + said), std::string::npos) << goes_on.err;
    EXPECT_NE(goes_on.err.find("; 1 bad line left out"), std::string::npos) << goes_on.err;
  }
  std::string many = good;
  for (int i = 0; i < 1000; ++i) many += "bad\n";
  const Ran ran = embed(many, {"--skip-bad"});
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 6) << "five of them, and how many there were";
  EXPECT_NE(ran.err.find("1000 bad lines left out"), std::string::npos) << ran.err;
}

TEST_F(CliEmbed, TextsOfAnyBytesHaveVectors) {
  const Ran ran =
      embed(line_of("") + R"({"text": "\u0000 \ufffd \ud83d\ude42"})" + "\r\n" + R"({"text": "no newline"})");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::vector<json> got = checked_lines(ran.out, "embed");
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].at("tokens"), 2);
}

// The output grows while later blocks run: else the interrupt would come too late.
TEST_F(CliEmbed, AnInterruptEndsTheRunBehindTheRunningBlockAndGives130) {
  std::string lines;
  for (int i = 0; i < 40000; ++i) lines += line_of("a b");
  const std::string path = temporary_file("many.jsonl", lines), npy = made("some.npy");
  const Ran ran = fathom_command({"embed", "-m", encoder_, "-f", path, "-o", "-", "--npy", npy, "--target", "ref"},
                                 {.interrupt_after_bytes = 1});
  unlink(path.c_str());
  EXPECT_EQ(ran.code, 130) << ran.err;
  const size_t n = checked_lines(ran.out, "embed").size();
  EXPECT_GT(n, 0u);
  EXPECT_LT(n, 40000u);
  EXPECT_EQ(n % 2048, 0u) << "whole blocks";
  EXPECT_EQ(ran.err.rfind(std::to_string(n) + " texts of ", 0), 0u) << ran.err;
  EXPECT_EQ(file_content(npy).size(), 128 + n * 64 * sizeof(float));
}

TEST_F(CliEmbed, WhatDoesNotGoTogetherIsAUsageError) {
  const std::string lines = line_of("a");
  expect_failure(embed(lines, {}, model_), 2, "family qwen2 predicts tokens: give an encoder");
  expect_failure(embed(lines, {"--max-tokens", "2"}), 2, "--max-tokens 2: give 3 to 512");
  expect_failure(embed(lines, {"--max-tokens", "513"}), 2, "--max-tokens 513: give 3 to 512");
  expect_failure(embed(lines, {"--max-tokens", "many"}), 2, "--max-tokens many: give a whole number");
  expect_failure(embed(lines, {"--precision", "f16"}), 2, "--precision f16: give one of f32, bf16, int8");
  expect_failure(embed(lines, {"--policy", "exit_at(9)"}), 2, "exit_at: layer=9 in a model of 3 layers");
  expect_failure(embed(lines, {"--policy", "x.fathom"}), 2, "a sidecar");
  expect_failure(embed(lines, {"--policy", "exit_when(confidence_at_least=0.9)"}), 1, "in an encoder");
  expect_failure(fathom_command({"embed", "-m", encoder_}), 2, "--file: missing");
  expect_failure(fathom_command({"embed", "-m", encoder_, "-f", "/no/such/file"}), 1, "/no/such/file");
}

TEST_F(CliEmbed, VerbsThatPredictTokensNameTheOneForEncoders) {
  const std::string text = temporary_file("text", "a text"),
                    said = "family bert encodes texts and predicts no token: fathom embed";
  expect_failure(fathom_command({"generate", "-m", encoder_, "-p", "a"}), 2, said);
  expect_failure(fathom_command({"generate", "-m", encoder_, "-f", text, "--batch", "2", "--json"}), 2, said);
  expect_failure(fathom_command({"chat", "-m", encoder_}), 2, said);
  expect_failure(fathom_command({"perplexity", "-m", encoder_, "-f", text}), 2, said);
  expect_failure(fathom_command({"attack", "-m", encoder_, "--policy", "exit_at(1)"}), 2, said);
  expect_failure(fathom_command({"calibrate", "-m", encoder_, "--data", "a=" + text, "-o", made("s.fathom")}), 2, said);
  unlink(text.c_str());
}

TEST_F(CliEmbed, InfoSaysHowItPools) {
  const Ran ran = fathom_command({"info", "-m", encoder_});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("embeddings"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("mean of all tokens, of length 1; texts are cut at 512 tokens"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("chat template"), std::string::npos);
}

}  // namespace
}  // namespace fathom
