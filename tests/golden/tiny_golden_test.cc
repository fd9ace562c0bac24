// Tiny models of every family and weight type against llama.cpp's logits (tests/golden/tiny.json, by tiny_oracle.py).
// Next: tests/golden/, the real models.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/golden/base64.h"
#include "tests/golden/tiny_cases.h"
#include "tests/support/plain_forward.h"
#include "tests/support/sessions.h"

namespace fathom {
namespace {

using testing::TinyCase;

const nlohmann::json& golden_file() {
  static const nlohmann::json json = nlohmann::json::parse(std::ifstream(FATHOM_GOLDEN_DIR "/tiny.json"));
  return json;
}

const nlohmann::json& golden_of(const std::string& name) {
  for (const auto& c : golden_file()["cases"]) {
    if (c["name"] == name) return c;
  }
  throw std::invalid_argument("tiny.json has no case " + name + ": run ./dev oracle");
}

/// The root mean square of the difference of two rows of logits, over the spread of the first.
template <class A, class B>
double difference(const A& expected, const B& found) {
  const auto n = static_cast<double>(expected.size());
  double mean = 0, spread = 0, squares = 0;
  for (const double value : expected) mean += value / n;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = static_cast<double>(expected[i]) - static_cast<double>(found[i]);
    spread += (expected[i] - mean) * (expected[i] - mean) / n;
    squares += off * off / n;
  }
  return std::sqrt(squares / spread);
}

/// What llama.cpp puts into its products beside weights of a type.
testing::PlainOptions as_llama_cpp(DType type) {
  const auto rounding = [type] {
    switch (type) {
      case DType::f32:
        return testing::PlainRounding::none;
      case DType::f16:
        return testing::PlainRounding::f16;
      case DType::bf16:
        return testing::PlainRounding::bf16;
      case DType::q4_0:
      case DType::q5_0:
      case DType::q8_0:
        return testing::PlainRounding::q8_0;
      case DType::q4_k:
      case DType::q5_k:
      case DType::q6_k:
        return testing::PlainRounding::q8_k;
    }
    return testing::PlainRounding::none;
  };
  return {.rounding = rounding(), .gelu_table = true};
}

/// The golden logits of one of kTinyPositions.
std::vector<float> golden_row(const TinyCase& c, size_t i) {
  const std::vector<float> all = testing::decode_base64(golden_of(c.name)["logits"].get<std::string>());
  const auto vocab = static_cast<size_t>(testing::kTinyVocab);
  return {all.begin() + static_cast<std::ptrdiff_t>(i * vocab),
          all.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab)};
}

TEST(TinyGolden, this_machine_builds_the_files_that_were_evaluated) {
  for (const TinyCase& c : testing::tiny_cases()) {
    const testing::Bytes bytes = testing::tiny_gguf(c.options);
    EXPECT_EQ(golden_of(c.name)["xxh3"], fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()))) << c.name;
  }
}

// f32 sums of up to 256 products, in a tree of 16 lanes: 16 * 2^-24 = 1e-6 of their size, in about eight products one
// after another, as a random walk: 3e-6. 8e-6 was measured on models of another size.
constexpr double kSumsOfFloats = 8e-6;

// Where a number lies within 1e-6 of the border between two rounded values, both sides may round it differently, and
// all that follows differs as if the roundings were unrelated: by sqrt(2) times what one of them does. So one position
// of each case must agree to the last bits, and no other may be further off than unrelated roundings are.
TEST(TinyGolden, the_plain_forward_pass_rounded_as_llama_cpp_rounds_gives_its_logits) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  for (const TinyCase& c : testing::tiny_cases()) {
    SCOPED_TRACE(c.name);
    const Model model = testing::tiny_model(c.options);
    const auto rounded = testing::plain_logits(model, prompt, as_llama_cpp(c.options.type));
    const auto exact = testing::plain_logits(model, prompt);
    double least = 1, most = 0, unrounded = 0;
    for (size_t i = 0; i < std::size(testing::kTinyPositions); ++i) {
      const auto position = static_cast<size_t>(testing::kTinyPositions[i]);
      const std::vector<float> golden = golden_row(c, i);
      const double off = difference(golden, rounded[position]);
      least = std::min(least, off);
      most = std::max(most, off);
      unrounded = std::max(unrounded, difference(golden, exact[position]));
    }
    EXPECT_LE(least, kSumsOfFloats) << "no position agrees: these are not the same sums";
    EXPECT_LE(most, std::max(kSumsOfFloats, std::sqrt(2.0) * unrounded));
  }
}

/// The engine's logits of every position at full depth, from an f32 cache: [prompt, vocab].
testing::Outcome engine_logits(const Model& model, std::span<const int32_t> prompt) {
  Session session = Session::make(model, {.max_tokens = 64, .max_logit_rows = 64, .kv = DType::f32}).value();
  return testing::run(session, prompt, {.chunk = 16});
}

std::span<const float> row_of(const testing::Outcome& outcome, size_t position) {
  const auto vocab = static_cast<size_t>(testing::kTinyVocab);
  return std::span(outcome.logits).subspan(position * vocab, vocab);
}

TEST(TinyGolden, the_engine_with_exact_numerics_gives_the_plain_forward_pass) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  for (const TinyCase& c : testing::tiny_cases()) {
    SCOPED_TRACE(c.name);
    const Model model = testing::tiny_model(c.options, {.numerics = Numerics::exact});
    const auto plain = testing::plain_logits(model, prompt);
    const testing::Outcome found = engine_logits(model, prompt);
    for (size_t p = 0; p < prompt.size(); ++p) {
      EXPECT_LE(difference(plain[p], row_of(found, p)), kSumsOfFloats) << "position " << p;
    }
  }
}

// The same argument as above: a first position that agrees to the last bits, none further off than unrelated roundings.
void expect_rounding(Numerics numerics, testing::PlainRounding rounding, int32_t n_layers) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  for (TinyCase c : testing::tiny_cases()) {
    c.options.n_layers = n_layers;
    SCOPED_TRACE(c.name);
    const Model model = testing::tiny_model(c.options, {.numerics = numerics});
    const bool rounds = model.weights().layers[0].q.kernel->activation != Activation::f32;
    const auto rounded =
        testing::plain_logits(model, prompt, {.rounding = rounds ? rounding : testing::PlainRounding::none});
    const auto exact = testing::plain_logits(model, prompt);
    const testing::Outcome found = engine_logits(model, prompt);
    double least = 1, most = 0, unrounded = 0;
    for (size_t p = 0; p < prompt.size(); ++p) {
      const double off = difference(rounded[p], row_of(found, p));
      if (p > 0) least = std::min(least, off);  // the first position sees no rotation and no other cell
      most = std::max(most, off);
      unrounded = std::max(unrounded, difference(exact[p], row_of(found, p)));
    }
    EXPECT_LE(least, kSumsOfFloats) << "no position agrees: these are not the same sums";
    EXPECT_LE(most, std::max(kSumsOfFloats, std::sqrt(2.0) * unrounded));
  }
}

TEST(TinyGolden, the_engine_with_fast_numerics_rounds_what_it_says_and_nothing_else) {
  expect_rounding(Numerics::fast, testing::PlainRounding::q8, testing::tiny_cases()[0].options.n_layers);
}

// Steps sixteen times finer fall sixteen times as often to the other side of a tie that two engines see differently,
// and every such fall moves all that follow: one layer leaves positions where none does.
TEST(TinyGolden, the_engine_with_faithful_numerics_rounds_what_it_says_and_nothing_else) {
  expect_rounding(Numerics::faithful, testing::PlainRounding::q12, 1);
}

// Four bits more are a sixteenth of the rounding; an eighth leaves room for what is not rounding of activations.
TEST(TinyGolden, faithful_numerics_lie_far_nearer_to_exact_than_fast_ones) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  for (const TinyCase& c : testing::tiny_cases()) {
    if (info(c.options.type).block_elements == 1) continue;
    const auto exact = testing::plain_logits(testing::tiny_model(c.options), prompt);
    double off[2] = {};
    for (const Numerics numerics : {Numerics::fast, Numerics::faithful}) {
      const testing::Outcome found = engine_logits(testing::tiny_model(c.options, {.numerics = numerics}), prompt);
      for (size_t p = 0; p < prompt.size(); ++p) {
        off[static_cast<int>(numerics)] += difference(exact[p], row_of(found, p));
      }
    }
    EXPECT_LE(off[1], off[0] / 8) << c.name;
  }
}

// Straight to the other engine: with f32 weights neither rounds, but for Gemma's GELU, by llama.cpp, to half precision:
// 2^-11 of each gate and a few layers of them, 2e-3 at most.
TEST(TinyGolden, the_engine_gives_llama_cpp_s_logits_for_f32_weights) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  for (const TinyCase& c : testing::tiny_cases()) {
    if (c.options.type != DType::f32) continue;
    const testing::Outcome found = engine_logits(testing::tiny_model(c.options), prompt);
    for (size_t i = 0; i < std::size(testing::kTinyPositions); ++i) {
      const auto position = static_cast<size_t>(testing::kTinyPositions[i]);
      EXPECT_LE(difference(golden_row(c, i), row_of(found, position)),
                c.options.family == "gemma3" ? 2e-3 : kSumsOfFloats)
          << c.name << " position " << position;
    }
  }
}

// Both sides keep 8 bits of each activation, llama.cpp in larger blocks beside K types; so ours may not cost more.
TEST(TinyGolden, fast_numerics_lie_no_further_from_exact_than_llama_cpp_does) {
  const std::vector<int32_t> prompt = testing::tiny_prompt();
  double ours = 0, theirs = 0;
  for (const TinyCase& c : testing::tiny_cases()) {
    if (info(c.options.type).block_elements == 1) continue;
    const Model model = testing::tiny_model(c.options, {.numerics = Numerics::fast});
    const testing::Outcome found = engine_logits(model, prompt);
    const auto exact = testing::plain_logits(model, prompt);
    for (size_t i = 0; i < std::size(testing::kTinyPositions); ++i) {
      const auto position = static_cast<size_t>(testing::kTinyPositions[i]);
      ours += difference(exact[position], row_of(found, position));
      theirs += difference(exact[position], golden_row(c, i));
    }
  }
  EXPECT_LE(ours, theirs) << "sums of 96 rms differences over the logits' spread";
}

}  // namespace
}  // namespace fathom
