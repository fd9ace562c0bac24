// Two tiny models on disk, one with a chat template, and what a failure looks like. Next: cli_test.cc, usage_test.cc.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cli/spawn.h"
#include "tests/support/tiny_model.h"

namespace fathom::testing {

inline constexpr const char* kChatml =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

inline std::string write_file(const char* name, const GgufWriter& writer) {
  const Bytes bytes = writer.bytes();
  return temporary_file(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

inline GgufWriter chat_writer(const TinyOptions& options) {
  GgufWriter writer = tiny_writer(options);
  writer.set_text("tokenizer.chat_template", kChatml);
  return writer;
}

class Cli : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = write_file("model.gguf", chat_writer({.family = "qwen2", .context = 4096}));
    plain_ = write_file("plain.gguf", tiny_writer({.family = "gemma3", .n_layers = 6}));
  }
  static void TearDownTestSuite() {
    unlink(model_.c_str());
    unlink(plain_.c_str());
  }

  // generate on the tiny model with more arguments.
  static Ran generate(std::vector<std::string> more, const SpawnOptions& options = {}) {
    std::vector<std::string> args = {"generate", "-m", model_, "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return fathom_command(args, options);
  }

  static inline std::string model_, plain_;
};

// What a failure looks like: its code, nothing on stdout, one line on stderr that names the thing.
inline void expect_failure(const Ran& ran, int code, const std::string& named) {
  EXPECT_EQ(ran.code, code) << ran.err;
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
  EXPECT_NE(ran.err.find(named), std::string::npos) << ran.err;
}

}  // namespace fathom::testing
