// Embeddings of MiniLM-L6 against numpy in double precision (tests/golden/embeddings.json, by embedding_oracle.py).
// Next: tests/golden/full_depth_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "tests/golden/base64.h"
#include "tests/support/encoders.h"
#include "tests/support/real_model.h"

namespace fathom {
namespace {

struct Golden {
  std::string text;
  std::vector<int32_t> ids;  // with those around the text
  bool truncated;
  std::vector<float> embedding;  // of length 1
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = [] {
    const auto json = nlohmann::json::parse(std::ifstream(FATHOM_GOLDEN_DIR "/embeddings.json"));
    std::vector<Golden> read;
    for (const auto& c : json["cases"]) {
      read.push_back({c["text"], c["ids"], c["truncated"], testing::decode_base64(c["embedding"])});
    }
    return read;
  }();
  return all;
}

constexpr const char* kModel = "minilm-l6";

TEST(EmbeddingGolden, ids_are_those_of_tokenizers) {
  FATHOM_NEEDS_MODEL(kModel);
  const Model model = *testing::real_model(kModel);
  for (const Golden& golden : goldens()) {
    std::vector<int32_t> ids = testing::ids_of(model, golden.text);
    if (golden.truncated) ids = golden.ids;  // embeddings tell where they were cut
    EXPECT_EQ(ids, golden.ids) << golden.text;
  }
}

// Sums of up to 1,536 numbers round by half their square root in units of 2^-24, 1.2e-6; 36 products one after another
// add to six times that, and norms amplify it up to threefold: 2.1e-5. bf16 keeps 8 bits, 2^-9 of each number that goes
// into a product: 2e-3 a product, 1.2e-2 in all, which is a cosine of 1 - 1.2e-2^2 / 2 = 0.99993. Eight bits in blocks
// of 32 err by max / 254 at most, 0.5 % of a usual number on either side: 0.7 % a product, a root of 36 of it 4.2 %,
// and norms double that at most: 0.085, a cosine of 0.9964.
TEST(EmbeddingGolden, embeddings_are_those_of_the_plain_formulas) {
  FATHOM_NEEDS_MODEL(kModel);
  const std::tuple<const char*, Rounding, double, double> paths[] = {
      {"f32", Numerics::exact, 2.1e-5, 0.9999999},
      {"bf16", Numerics::bf16, 1.2e-2, 0.9999},
      {"int8", {Numerics::fast, DType::q8_0}, 0.085, 0.9964}};
  std::vector<std::string> texts;
  for (const Golden& golden : goldens()) texts.push_back(golden.text);
  for (const auto& [precision, rounding, most_off, least_cosine] : paths) {
    const OpenOptions open{.numerics = rounding.numerics, .quantise = rounding.quantise, .threads = 2};
    Encoder encoder = Encoder::make(*testing::real_model(kModel, open)).value();
    double largest = 0, least = 1;
    const std::vector<Embedding> found = testing::embed(encoder, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      const Golden& golden = goldens()[i];
      double off = 0, cosine = 0;
      for (size_t c = 0; c < golden.embedding.size(); ++c) {
        const double want = golden.embedding[c], got = found[i].values[c];
        off += (want - got) * (want - got);
        cosine += want * got;
      }
      EXPECT_LE(std::sqrt(off), most_off) << precision << ": " << golden.text;
      EXPECT_GE(cosine, least_cosine) << precision << ": " << golden.text;
      EXPECT_EQ(found[i].tokens, std::ssize(golden.ids));
      EXPECT_EQ(found[i].truncated, golden.truncated);
      largest = std::max(largest, std::sqrt(off)), least = std::min(least, cosine);
    }
    RecordProperty(fmt::format("{}_largest", precision), fmt::format("{:.2g}", largest));
    RecordProperty(fmt::format("{}_least_cosine", precision), fmt::format("{:.6f}", least));
  }
}

}  // namespace
}  // namespace fathom
