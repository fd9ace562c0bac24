// Token ids of real models against the reference tokenizers (tokenizer_golden.h).
#include "tests/golden/tokenizer_golden.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/real_model.h"

namespace fathom {
namespace {

uint64_t digest(const std::vector<int32_t>& ids) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
    }
  }
  return hash;
}

class TokenizerGolden : public ::testing::TestWithParam<int> {};

TEST_P(TokenizerGolden, every_line_has_the_ids_of_the_reference) {
  FATHOM_NEEDS_MODEL(kGoldenModels[GetParam()]);
  const Tokenizer tokenizer = testing::real_model(kGoldenModels[GetParam()])->tokenizer();
  int wrong = 0;
  for (const GoldenLine& line : kGoldenLines) {
    const GoldenIds& golden = line.ids[GetParam()];
    const std::vector<int32_t> ids = tokenizer.encode(line.text, {.bos = false}).value();
    if (ids.size() == golden.count && digest(ids) == golden.hash) continue;
    if (++wrong > 5) continue;  // enough to see what is wrong
    std::string pieces;
    for (const int32_t id : ids) pieces.append("|").append(tokenizer.piece(id));
    ADD_FAILURE() << "line " << &line - kGoldenLines << ": " << ids.size() << " ids of " << golden.count << ": "
                  << pieces;
  }
  EXPECT_EQ(wrong, 0) << "of " << std::size(kGoldenLines) << " lines";
}

TEST_P(TokenizerGolden, ids_streamed_one_by_one_spell_the_text_again) {
  FATHOM_NEEDS_MODEL(kGoldenModels[GetParam()]);
  const Tokenizer tokenizer = testing::real_model(kGoldenModels[GetParam()])->tokenizer();
  for (const GoldenLine& line : kGoldenLines) {
    const std::vector<int32_t> ids = tokenizer.encode(line.text, {.bos = false}).value();
    StreamDecoder decoder(tokenizer);
    std::string streamed;
    for (const int32_t id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    EXPECT_EQ(streamed, tokenizer.decode(ids));
    const bool plain =
        std::all_of(line.text.begin(), line.text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (plain) {
      EXPECT_EQ(streamed, line.text);  // other text may be normalised
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TokenizerGolden, ::testing::Range(0, static_cast<int>(std::size(kGoldenModels))),
                         [](const auto& info) {
                           std::string name = kGoldenModels[info.param];
                           for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace fathom
