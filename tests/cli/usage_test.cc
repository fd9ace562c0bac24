// What `fathom` says about wrong options, bad files and odd requests: code, one line, the thing, the value, the remedy.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/cli/cli_fixture.h"
#include "tests/cli/spawn.h"

namespace fathom {
namespace {

using testing::Cli;
using testing::expect_failure;
using testing::fathom_command;
using testing::file_content;
using testing::Ran;
using testing::temporary_file;
using testing::temporary_path;

TEST_F(Cli, WrongUsageIsOneLineAndCodeTwo) {
  expect_failure(generate({"-p", "", "-n", "4"}), 2, "-p is empty");
  expect_failure(generate({"-n", "4"}), 2, "-p TEXT or -f FILE");
  expect_failure(generate({"-p", "x", "-f", "y"}), 2, "--prompt: does not go with --file: give one of them");
  expect_failure(generate({"-p", "x", "-n", "0"}), 2, "--tokens 0: give a whole number from 1 to ");
  expect_failure(generate({"-p", "x", "-n", "99999999999999"}), 2, "--tokens 99999999999999: give a whole number");
  expect_failure(generate({"-p", "x", "--temperature", "nan"}), 2, "temperature nan");
  expect_failure(generate({"-p", "x", "--temperature", "-1"}), 2, "temperature -1");
  expect_failure(generate({"-p", "x", "--top-p", "2"}), 2, "top_p 2");
  expect_failure(generate({"-p", "x", "--stop", ""}), 2, "stop");
  expect_failure(generate({"-p", "x", "--policy", "exit_att(3)"}), 2, "exit_att");
  expect_failure(generate({"-p", "x", "--policy", "exit_at(layer=99)"}), 2, "99");
  expect_failure(generate({"-p", "x", "--policy", ""}), 2, "--policy is empty");
  expect_failure(generate({"-p", "x", "--policy", " \t"}), 2, "--policy is empty");
  expect_failure(generate({"-p", "x", "--policy", "deep.fathom"}), 1, "no such file");
  expect_failure(fathom_command({"replay", "x", "--policy", ""}), 2, "--policy is empty");
  for (const char* seed : {"-1", "18446744073709551616", "1x", "0x1", "1.0", ""}) {
    const std::string value = *seed == '\0' ? "''" : seed;
    expect_failure(generate({"-p", "x", "--seed", seed}), 2, "--seed " + value + ": give a whole number from 0 to ");
  }
  expect_failure(generate({"-p", "x", "--sequence", "9223372036854775808"}), 2, "--sequence 9223372036854775808: give");
  expect_failure(generate({"-p", "x", "--target", "abacus"}), 2, "abacus");
  for (const char* threads : {"0", "-1", "10000", "many"}) {
    expect_failure(fathom_command({"generate", "-m", model_, "-p", "x", "--threads", threads}), 2,
                   "--threads " + std::string(threads) + ": give a whole number from 1 to 256");
  }
  expect_failure(fathom_command({}), 2, "fathom: no verb: give generate, ");
  expect_failure(fathom_command({"generale"}), 2, "generale");
  expect_failure(fathom_command({"replay", "x"}), 2, "--policy");
}

TEST_F(Cli, FailuresAreOneLineAndCodeOne) {
  expect_failure(generate({"-p", std::string(300, 'x'), "--ctx", "20"}), 1, "--ctx");
  expect_failure(generate({"-p", "x", "--trace", "/nonexistent/dir/trace"}), 1, "/nonexistent/dir/trace");
  expect_failure(generate({"-f", "/nonexistent/text"}), 1, "/nonexistent/text");
  expect_failure(generate({"-f", ::testing::TempDir()}), 1, ::testing::TempDir());
  expect_failure(fathom_command({"generate", "-m", FATHOM_BINARY, "-p", "x"}), 1, "GGUF");
  expect_failure(fathom_command({"generate", "-m", "/nonexistent.gguf", "-p", "x"}), 1, "/nonexistent.gguf");
  expect_failure(fathom_command({"generate", "-m", "gemma3-270m", "-p", "x"}), 1, "./dev model gemma3-270m");
  expect_failure(fathom_command({"replay", model_, "--policy", "full_depth"}), 1, "not a trace");
  expect_failure(fathom_command({"perplexity", "-m", model_, "-f", model_ + ".none"}), 1, ".none");
}

TEST_F(Cli, EveryVerbExplainsItself) {
  for (const char* verb : {"generate", "chat", "info", "tokenize", "perplexity", "replay", "attack", "report"}) {
    const Ran ran = fathom_command({verb, "--help"});
    EXPECT_EQ(ran.code, 0) << verb;
    EXPECT_NE(ran.out.find("--json"), std::string::npos) << verb;
  }
  EXPECT_EQ(fathom_command({"--version"}).out.rfind("fathom ", 0), 0u);
}

TEST_F(Cli, AWrongOptionIsNamedWithItsValueAndTheRemedy) {
  const auto said = [](const std::vector<std::string>& args, const std::string& line) {
    const Ran ran = fathom_command(args);
    EXPECT_EQ(ran.code, 2) << line;
    EXPECT_EQ(ran.err, line + "\n");
  };
  const std::string see = ": see fathom generate --help";
  said({"generate", "-p", "x"}, "fathom generate: --model: missing: give it" + see);
  said({"generate", "-m", model_, "--top-k", "-3"},
       "fathom generate: --top-k -3: give a whole number from 0 to 2147483647" + see);
  said({"generate", "-m", model_, "--top-p", "few"}, "fathom generate: --top-p few: give a number" + see);
  said({"generate", "-m", model_, "--kv", "f8"}, "fathom generate: --kv f8: give one of f16, bf16, f32" + see);
  said({"generate", "-m", model_, "--kv", "f16", "--kv", "f32"},
       "fathom generate: --kv f16 f32: given more than once: give it once" + see);
  said({"generate", "-m", model_, "--dept", "3"}, "fathom generate: --dept 3: not expected here: leave it out" + see);
  said({"generate", "-m", model_, "-p", "x", "--system", "s"},
       "fathom generate: --system: goes only with --chat: give both" + see);
  said(
      {"generate", "-m", model_, "-p"},
      "fathom generate: --prompt: its value is missing: give one, as --prompt=VALUE where it begins with a dash" + see);
  said({"generate", "--modle", "m"}, "fathom generate: --modle m: not expected here: leave it out" + see);
  said({"replay"}, "fathom replay: trace: missing: give it: see fathom replay --help");
  said({"--dept"}, "fathom: --dept: not expected here: leave it out: see fathom --help");
}

TEST_F(Cli, TheRangeOfAContextIsTheModels) {
  const std::string text = temporary_file("ctx", "The sea is wide.");
  for (const char* ctx : {"0", "-1", "4097", "99999999999"}) {
    const std::string named = std::string("--ctx ") + ctx + ": give 1 to 4096";
    expect_failure(generate({"-p", "x", "--ctx", ctx}), 2, named);
    expect_failure(fathom_command({"chat", "-m", model_, "--ctx", ctx}), 2, named);
  }
  expect_failure(fathom_command({"perplexity", "-m", model_, "-f", text, "--ctx", "7"}), 2, "--ctx 7: give 8 to 4096");
  expect_failure(generate({"-p", "x", "--ctx", "1e3"}), 2, "--ctx 1e3: give a whole number");
  unlink(text.c_str());
}

// A tensor is missing, which packing finds: whatever is said before that was found before.
TEST_F(Cli, WhatTheFileAloneCanTellIsToldBeforeItIsPacked) {
  testing::GgufWriter writer = testing::chat_writer({.family = "qwen2", .context = 64});
  const std::string whole = testing::write_file("whole.gguf", writer);
  const std::string trace = temporary_path("early"), text = temporary_file("early_text", "The sea is wide.");
  ASSERT_EQ(fathom_command({"generate", "-m", whole, "-p", "x", "-n", "2", "--trace", trace}).code, 0);
  writer.remove("output_norm.weight");
  const std::string broken = testing::write_file("broken.gguf", writer);
  const auto with = [&](std::vector<std::string> args, int code, const std::string& named) {
    args.insert(args.begin() + 1, {"-m", broken});
    expect_failure(fathom_command(args), code, named);
  };
  for (const char* verb : {"generate", "perplexity"}) {
    with({verb, "-f", text}, 1, "output_norm.weight");
    with({verb, "-f", text, "--policy", "exit_at(layer=99)"}, 2, "99");
    with({verb, "-f", text, "--ctx", "65"}, 2, "--ctx 65");
  }
  with({"chat", "--policy", "exit_at(layer=99)"}, 2, "99");
  with({"generate", "-p", "x", "--trace", "/nonexistent/dir/trace"}, 1, "/nonexistent/dir/trace");
  with({"generate", "-p", "x", "--stop", ""}, 2, "stop");
  with({"generate", "-p", std::string(300, 'x')}, 1, "a prompt of ");
  with({"generate", "-f", text, "--batch", "2", "--json"}, 1, "line 1: no JSON");
  with({"perplexity", "-f", text, "--per-token", "/nonexistent/dir/lines"}, 1, "/nonexistent/dir/lines");
  with({"replay", trace, "--check"}, 1, "another model file");
  EXPECT_EQ(fathom_command({"tokenize", "-m", broken, "-p", "x"}).code, 0) << "needs no weights";
  for (const std::string& path : {whole, broken, trace, text}) unlink(path.c_str());
}

TEST_F(Cli, OutputsOverwriteNothingButTheirOwnKindAndNoPipe) {
  const std::string text = testing::temporary_file("kept.txt", "kept"), fifo = text + ".fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto size_of = [](const std::string& path) {
    struct stat s {};
    return stat(path.c_str(), &s) == 0 ? s.st_size : -1;
  };
  const auto model_bytes = size_of(model_);
  for (const std::string& path : {text, model_, fifo}) {
    expect_failure(generate({"-p", "a", "-n", "1", "--trace", path}), 1, "give another path");
    expect_failure(fathom_command({"perplexity", "-m", model_, "-f", text, "--per-token", path}), 1,
                   "give another path");
  }
  EXPECT_EQ(size_of(text), 4);
  EXPECT_EQ(size_of(model_), model_bytes);
  const std::string trace = text + ".trace", lines = text + ".jsonl";
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(generate({"-p", "a", "-n", "1", "--trace", trace}).code, 0) << i;
    EXPECT_EQ(fathom_command({"perplexity", "-m", model_, "-f", text, "--per-token", lines}).code, 0) << i;
  }
  for (const std::string& path : {text, fifo, trace, lines}) unlink(path.c_str());
}

TEST_F(Cli, APromptFarBeyondTheContextIsRefusedBeforeItIsCut) {
  const std::string text = testing::temporary_file("long.txt", std::string(size_t{32} << 20, 'a'));
  expect_failure(generate({"-f", text}), 1, "a prompt of 33554432 bytes, at least ");
  unlink(text.c_str());
}

TEST_F(Cli, MoreThreadsThanCpusAreWarnedAboutOnce) {
  const int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (cpus >= 256) GTEST_SKIP() << "as many CPUs as --threads may ask for";
  const auto with = [](int threads) {
    return fathom_command(
        {"generate", "-m", model_, "-p", "x", "-n", "2", "--json", "--threads", std::to_string(threads)});
  };
  EXPECT_EQ(with(cpus).err, "");
  const Ran ran = with(cpus + 1);
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  EXPECT_NE(ran.err.find("more than the " + std::to_string(cpus) + " CPUs"), std::string::npos) << ran.err;
}

TEST_F(Cli, ACheckRefusesOtherNumericsThanTheRecords) {
  const std::string trace = temporary_path("numerics");
  ASSERT_EQ(generate({"-p", "Hello", "-n", "3", "--numerics", "exact", "--trace", trace}).code, 0);
  const auto check = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"replay", trace, "-m", model_, "--check"});
    return fathom_command(more);
  };
  EXPECT_EQ(check({}).code, 0);
  EXPECT_EQ(check({"--numerics", "exact"}).code, 0);
  expect_failure(check({"--numerics", "fast"}), 2, "--numerics fast: the trace was recorded with exact: leave");
  expect_failure(check({"--quantise", "q8_0"}), 2, "--quantise: the trace was recorded without: leave");
  ASSERT_EQ(generate({"-p", "Hello", "-n", "3", "--quantise", "q8_0", "--trace", trace}).code, 0);
  EXPECT_EQ(check({}).code, 0);
  unlink(trace.c_str());
}

}  // namespace
}  // namespace fathom
