// Encoders at full depth: what their embeddings are, and that nothing beside a text changes them.
// Next: tests/engine/encoder_policy_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <tuple>

#include "kernels/abi.h"
#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/plain_forward.h"

namespace fathom {
namespace {

using testing::embed;
using testing::embed_one;
using testing::text_of_tokens;
using testing::TinyOptions;

constexpr int32_t kLengths[] = {0, 1, 9, 70, 300};  // tokens of texts; 70 go past a page, 300 past an attention chunk

double length_of(std::span<const double> v) {
  return std::sqrt(std::inner_product(v.begin(), v.end(), v.begin(), 0.0));
}

/// Of the difference, over that of the first.
template <class B>
double distance(const std::vector<double>& expected, const std::vector<B>& found) {
  std::vector<double> off(expected.size());
  for (size_t i = 0; i < off.size(); ++i) off[i] = expected[i] - static_cast<double>(found[i]);
  return length_of(off) / length_of(expected);
}

Model tiny_encoder(DType type, Numerics numerics, const char* target = nullptr, int32_t n_layers = 3) {
  return testing::tiny_model({.family = "bert", .n_layers = n_layers, .type = type},
                             {.numerics = numerics, .target = target});
}

std::vector<const char*> targets() {
  int32_t n = 0;
  const KernelTable* const* tables = kernels::cpu(&n);
  std::vector<const char*> names{"ref"};
  for (int32_t i = 0; i < n; ++i) names.push_back(tables[i]->name);
  return names;
}

// A row's six products a layer have sums of 64 or 96 numbers, whose rounding is a random walk of half their square root
// in units of 2^-24: 3e-7. Norms keep it relative; eighteen products in a row add to sqrt(18) * 3e-7 = 1.3e-6, and to
// three times that where they amplify.
constexpr double kSumsOfFloats = 4e-6;

TEST(Encoder, WithExactNumericsGivesThePlainForwardPass) {
  for (const char* target : targets()) {
    const Model model = tiny_encoder(DType::f32, Numerics::exact, target);
    Encoder encoder = Encoder::make(model).value();
    for (const int32_t n : kLengths) {
      const std::string text = text_of_tokens(n, 3);
      const Embedding got = embed_one(encoder, text);
      EXPECT_EQ(got.tokens, n + 2);
      EXPECT_LE(distance(testing::plain_embedding(model, testing::ids_of(model, text)), got.values), kSumsOfFloats)
          << target << ", " << n << " tokens";
    }
  }
}

TEST(Encoder, PoolsAndDividesAsItsFileSays) {
  for (const uint32_t pooling : {1u, 2u}) {
    for (const int32_t unit : {0, 1}) {
      testing::GgufWriter writer = testing::tiny_writer({.family = "bert"});
      writer.set_u32("bert.pooling_type", pooling);
      writer.set_i32("bert.embedding.unit_length", unit);
      const testing::Bytes bytes = writer.bytes();
      const Model model = Model::from_bytes(bytes, {.numerics = Numerics::exact}).value();
      EXPECT_EQ(model.config().pooling, pooling == 1 ? Pooling::mean : Pooling::first);
      Encoder encoder = Encoder::make(model).value();
      const std::string text = text_of_tokens(12, 5);
      const std::vector<double> plain = testing::plain_embedding(model, testing::ids_of(model, text));
      EXPECT_LE(distance(plain, embed_one(encoder, text).values), kSumsOfFloats) << pooling << " " << unit;
      EXPECT_EQ(std::abs(length_of(plain) - 1) < 1e-9, unit == 1);
    }
  }
}

// Numbers near the border of two rounded values may fall to either side, after which all that follows differs as if the
// roundings were unrelated: by sqrt(2) times what one of them does.
TEST(Encoder, RoundsWhatItsNumericsSayAndNothingElse) {
  using testing::PlainRounding;
  const std::tuple<DType, Numerics, PlainRounding> paths[] = {{DType::bf16, Numerics::bf16, PlainRounding::bf16},
                                                              {DType::q8_0, Numerics::fast, PlainRounding::q8},
                                                              {DType::q8_0, Numerics::faithful, PlainRounding::q12}};
  for (const auto& [type, numerics, rounding] : paths) {
    SCOPED_TRACE(std::string(name_of(numerics)));
    const Model model = tiny_encoder(type, numerics);
    Encoder encoder = Encoder::make(model).value();
    double off = 0, rounds = 0, found_rounds = 0;  // mean squares over texts
    for (uint64_t seed = 0; seed < 12; ++seed) {
      const std::string text = text_of_tokens(1 + 3 * static_cast<int32_t>(seed), seed);
      const std::vector<int32_t> ids = testing::ids_of(model, text);
      const std::vector<double> exact = testing::plain_embedding(model, ids);
      const std::vector<double> rounded = testing::plain_embedding(model, ids, {.rounding = rounding});
      const std::vector<float> found = embed_one(encoder, text).values;
      off += std::pow(distance(rounded, found), 2);
      rounds += std::pow(distance(exact, rounded), 2);
      found_rounds += std::pow(distance(exact, found), 2);
    }
    EXPECT_LE(std::sqrt(off), std::sqrt(2.0 * rounds)) << "further off than unrelated roundings are";
    EXPECT_GE(std::sqrt(found_rounds), 0.5 * std::sqrt(rounds)) << "hardly rounds";
    EXPECT_LE(std::sqrt(found_rounds), 2.0 * std::sqrt(rounds)) << "rounds more than it says";
  }
}

struct Path {
  DType type;
  Numerics numerics;
};

class EncoderPath : public ::testing::TestWithParam<Path> {};

TEST_P(EncoderPath, IsBitEqualWhateverTheThreadsAndTheStepsOnEveryTarget) {
  std::vector<std::string> texts;
  for (const int32_t n : kLengths) texts.push_back(text_of_tokens(n, 7));
  for (const char* target : targets()) {
    const Model model = tiny_encoder(GetParam().type, GetParam().numerics, target);
    Encoder alone = Encoder::make(model, {.max_tokens = 302, .max_rows = 1}).value();
    std::vector<std::vector<float>> want;
    for (const std::string& text : texts) want.push_back(embed_one(alone, text).values);
    for (const EncoderOptions& options :
         {EncoderOptions{.max_rows = 1024, .threads = 1}, EncoderOptions{.max_rows = 1024, .threads = 2},
          EncoderOptions{.max_tokens = 302, .max_rows = 310, .threads = 2}}) {
      Encoder encoder = Encoder::make(model, options).value();
      const std::vector<Embedding> got = embed(encoder, texts);
      for (size_t i = 0; i < texts.size(); ++i) {
        EXPECT_TRUE(testing::same_bits<float>(got[i].values, want[i]))
            << target << ", " << kLengths[i] << " tokens, " << options.max_rows << " rows";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, EncoderPath,
                         ::testing::Values(Path{DType::f32, Numerics::exact}, Path{DType::f16, Numerics::exact},
                                           Path{DType::bf16, Numerics::bf16}, Path{DType::f32, Numerics::bf16},
                                           Path{DType::q8_0, Numerics::fast}, Path{DType::q8_0, Numerics::faithful}),
                         [](const auto& info) {
                           return fmt::format("{}_{}", fathom::info(info.param.type).name,
                                              name_of(info.param.numerics));
                         });

RC_GTEST_PROP(EncoderBatch, IsTheSameBitsForAnyTextsInAnyOrder, ()) {
  const Path path = *rc::gen::elementOf(
      std::vector<Path>{{DType::f32, Numerics::exact}, {DType::bf16, Numerics::bf16}, {DType::q8_0, Numerics::fast}});
  const Model model = tiny_encoder(path.type, path.numerics, nullptr, 2);
  const auto lengths = *rc::gen::container<std::vector<int32_t>>(rc::gen::inRange(0, 90));
  const auto max_rows = *rc::gen::inRange(1, 400);
  const auto threads = *rc::gen::inRange(1, 3);
  std::vector<std::string> texts;
  for (size_t i = 0; i < lengths.size(); ++i) texts.push_back(text_of_tokens(lengths[i], i));
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937_64(*rc::gen::arbitrary<uint64_t>()));
  std::vector<std::string> shuffled;
  for (const size_t i : order) shuffled.push_back(texts[i]);

  const EncoderOptions options{.max_tokens = 64, .max_rows = max_rows, .threads = threads};
  Encoder alone = Encoder::make(model, {.max_tokens = 64}).value(), together = Encoder::make(model, options).value();
  const std::vector<Embedding> got = embed(together, shuffled);
  RC_ASSERT(got.size() == texts.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const Embedding want = embed_one(alone, texts[order[i]]);
    RC_ASSERT(got[i].tokens == std::min(lengths[order[i]] + 2, 64));
    RC_ASSERT(got[i].truncated == (lengths[order[i]] > 62));
    RC_ASSERT(testing::same_bits<float>(got[i].values, want.values));
  }
}

}  // namespace
}  // namespace fathom
