// Weights rounded to Q8_0 while they are loaded: the numbers of a file that holds them so, and a path of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "fathom/head/hot_head.h"
#include "fathom/model/model.h"
#include "kernels/ref/dequant.h"
#include "src/ops/quantise_weights.h"
#include "tests/support/compare.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::same_bits;
using testing::tiny_writer;
using testing::TinyOptions;

constexpr OpenOptions kQuantised{.quantise = DType::q8_0};

/// Numbers as Q8_0, as llama.cpp's quantize_row_q8_0_ref makes them.
Bytes as_q8_0(const std::vector<float>& row) {
  Bytes out;
  for (size_t at = 0; at < row.size(); at += 32) {
    float most = 0;
    for (size_t i = at; i < at + 32; ++i) most = std::max(most, std::abs(row[i]));
    const float d = most / 127, inverse = d != 0 ? 1 / d : 0;
    const Bytes scale = GgufWriter::payload_of(kernels::float_to_half(d));
    out.insert(out.end(), scale.begin(), scale.end());
    for (size_t i = at; i < at + 32; ++i) {
      out.push_back(static_cast<std::byte>(static_cast<int8_t>(std::round(row[i] * inverse))));
    }
  }
  return out;
}

/// The file with its layers' matrices and head as Q8_0.
Bytes converted(GgufWriter writer) {
  for (GgufWriter::TensorEntry& tensor : writer.tensors) {
    const bool multiplied = tensor.name.rfind("blk.", 0) == 0 || tensor.name == "output.weight";
    if (tensor.dims.size() != 2 || !multiplied) continue;
    const DType type = tensor.type == info(DType::f32).gguf_id ? DType::f32 : DType::f16;
    std::vector<float> row(tensor.dims[0] * tensor.dims[1]);
    kernels::dequantize_row(type, tensor.data.data(), row.data(), std::ssize(row));
    tensor.data = as_q8_0(row);
    tensor.type = info(DType::q8_0).gguf_id;
  }
  return writer.bytes();
}

std::vector<float> logits(const Model& model) {
  Session session = Session::make(model, {.max_tokens = 64}).value();
  return testing::run(session, testing::random_ids(12, model.config().vocab, 5), {.chunk = 12}).logits;
}

TEST(Quantise, GivesTheLogitsOfAFileThatHoldsTheSameBlocks) {
  for (DType type : {DType::f32, DType::f16}) {
    for (Numerics numerics : {Numerics::fast, Numerics::faithful, Numerics::exact, Numerics::bf16}) {
      const GgufWriter writer = tiny_writer({.family = "llama", .type = type});
      const Bytes wide = writer.bytes(), narrow = converted(writer);
      OpenOptions open = kQuantised;
      open.numerics = numerics;
      const Model at_load = Model::from_bytes(wide, open).value();
      const Model in_file = Model::from_bytes(narrow, {.numerics = numerics}).value();
      EXPECT_EQ(at_load.weights().layers[0].up.matrix.type, DType::q8_0);
      EXPECT_TRUE(same_bits<float>(logits(at_load), logits(in_file))) << name_of(numerics);
      EXPECT_NE(logits(at_load), logits(Model::from_bytes(wide, {.numerics = numerics}).value()));
    }
  }
}

TEST(Quantise, ChangesNothingWhereWeightsAreNarrowAlready) {
  const Bytes bytes = testing::tiny_gguf({.type = DType::q4_0});
  const Model asked = Model::from_bytes(bytes, kQuantised).value(), plain = Model::from_bytes(bytes).value();
  EXPECT_EQ(asked.fingerprint(), plain.fingerprint());
  EXPECT_TRUE(same_bits<float>(logits(asked), logits(plain)));
}

TEST(Quantise, IsAPathOfItsOwn) {
  const Model model = testing::tiny_model({}, kQuantised);
  EXPECT_EQ(model.fingerprint().numeric_path, "faithful: q12, weights: q8_0");
  EXPECT_EQ(model.fingerprint().model, testing::tiny_model().fingerprint().model);
}

TEST(Quantise, ListsOfTheHeadHaveItsBits) {
  const Model model = testing::tiny_model({.vocab = 384}, kQuantised);
  const Weights& w = model.weights();
  HotHead hot = HotHead::make(w.head_rows, w.head, 384).value();
  ThreadPool pool = ThreadPool::make(1).value();
  const Linear& list = hot.packed(pool);
  EXPECT_TRUE(same_bits<std::byte>({list.packed, list.packed_bytes}, {w.head.packed, w.head.packed_bytes}));
}

TEST(Quantise, RefusesOtherTypesAndRowsThatAreNoWholeBlocks) {
  const Bytes bytes = testing::tiny_gguf();
  EXPECT_EQ(Model::from_bytes(bytes, {.quantise = DType::q4_0}).error().message,
            "OpenOptions::quantise Q4_0: weights are quantised to Q8_0 alone: give that, or a file whose weights have "
            "the type");
  const Bytes odd = testing::tiny_gguf({.feed_forward = 90});
  const Error error = Model::from_bytes(odd, kQuantised).error();
  EXPECT_EQ(error.code, ErrorCode::shape);
  EXPECT_NE(error.message.find("ffn_down.weight: 90 columns are not whole blocks of 32 for Q8_0"), std::string::npos)
      << error.message;
}

TEST(Quantise, ABlockThatIsNotFiniteSpoilsWhatReadsIt) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> row(64, 1.0f), back(64);
    row[3] = bad;
    Bytes blocks(row_bytes(DType::q8_0, 64));
    quantise_row(DType::f32, reinterpret_cast<const std::byte*>(row.data()), 64, blocks.data());
    kernels::dequantize_row(DType::q8_0, blocks.data(), back.data(), 64);
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(std::isnan(back[i]), i < 32) << i;
  }
}

TEST(Quantise, SmallAndEmptyBlocksStayFinite) {
  for (const float x : {0.0f, 1e-45f, 1e-38f}) {
    const std::vector<float> row(32, x);
    std::vector<float> back(32);
    Bytes block(row_bytes(DType::q8_0, 32));
    quantise_row(DType::f32, reinterpret_cast<const std::byte*>(row.data()), 32, block.data());
    kernels::dequantize_row(DType::q8_0, block.data(), back.data(), 32);
    EXPECT_EQ(back, std::vector<float>(32, 0.0f)) << x << ": its scale is below the smallest f16";
  }
}

}  // namespace
}  // namespace fathom
