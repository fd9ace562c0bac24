// Folders of encoders: the same model as its GGUF file, what sentence-transformers says beside it, and what is wrong
// with those that are broken. Next: tests/model/safetensors_test.cc, single files.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>

#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/folder_writer.h"
#include "tests/support/refused.h"
#include "tests/support/temporary_folder.h"

namespace fathom {
namespace {

using testing::FolderWriter;
using testing::tiny_folder;
using testing::TinyOptions;

class FolderEncoder : public ::testing::Test {
 protected:
  Model open(const FolderWriter& writer, Numerics numerics = Numerics::exact) {
    writer.write(path_);
    return Model::open(path_, {.numerics = numerics}).value();
  }
  testing::TemporaryFolder folder_;
  const std::string& path_ = folder_.path();
};

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all{"the hand and the ring", "", "UNKN\xC3\x96WN \xE6\xB0\xB4 handing, there!",
                                            testing::text_of_tokens(60, 8)};
  return all;
}

std::vector<float> embeddings_of(const Model& model) {
  Encoder encoder = Encoder::make(model).value();
  std::vector<float> all;
  for (const Embedding& e : testing::embed(encoder, texts())) all.insert(all.end(), e.values.begin(), e.values.end());
  return all;
}

TEST_F(FolderEncoder, IsTheModelOfItsGgufFile) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    for (const Numerics numerics : {Numerics::exact, Numerics::bf16}) {
      SCOPED_TRACE(fmt::format("{} {}", info(type).name, name_of(numerics)));
      const TinyOptions options{.family = "bert", .type = type};
      const Model folder = open(tiny_folder(options), numerics);
      const Model gguf = testing::tiny_model(options, {.numerics = numerics});
      EXPECT_EQ(folder.config().layers, gguf.config().layers);
      EXPECT_EQ(folder.config().pooling, gguf.config().pooling);
      EXPECT_EQ(folder.config().unit_length, gguf.config().unit_length);
      EXPECT_EQ(folder.config().usual_tokens, gguf.config().usual_tokens);
      for (const std::string& text : texts()) EXPECT_EQ(testing::ids_of(folder, text), testing::ids_of(gguf, text));
      EXPECT_TRUE(testing::same_bits<float>(embeddings_of(folder), embeddings_of(gguf)));
    }
  }
}

TEST_F(FolderEncoder, NamesAsAPartOfALargerModelAndItsPoolerChangeNothing) {
  const std::vector<float> want = embeddings_of(open(tiny_folder({.family = "bert"})));
  FolderWriter writer = tiny_folder({.family = "bert"});
  for (FolderWriter::TensorEntry& tensor : writer.tensors) tensor.name = "bert." + tensor.name;
  writer.tensors.push_back({"bert.pooler.dense.weight", "F32", {64, 64}, testing::Bytes(64 * 64 * 4)});
  writer.tensors.push_back({"bert.pooler.dense.bias", "F32", {64}, testing::Bytes(64 * 4)});
  writer.tensors.push_back({"bert.embeddings.position_ids", "I64", {1, 512}, testing::Bytes(512 * 8)});
  EXPECT_TRUE(testing::same_bits<float>(embeddings_of(open(writer)), want));
}

TEST_F(FolderEncoder, PoolsAsItsFilesSay) {
  FolderWriter writer = tiny_folder({.family = "bert"});
  writer.beside["1_Pooling/config.json"]["pooling_mode_cls_token"] = true;
  writer.beside["1_Pooling/config.json"]["pooling_mode_mean_tokens"] = false;
  writer.beside["sentence_bert_config.json"]["max_seq_length"] = 24;
  writer.beside["modules.json"].erase(2);
  const ModelConfig first = open(writer).config();
  EXPECT_EQ(first.pooling, Pooling::first);
  EXPECT_FALSE(first.unit_length);
  EXPECT_EQ(first.usual_tokens, 24);
  EXPECT_EQ(Encoder::make(open(writer)).value().options().max_tokens, 24);
  EXPECT_EQ(Encoder::make(open(writer), {.max_tokens = 512}).value().options().max_tokens, 512);
  std::filesystem::remove_all(path_);
  writer.beside.clear();
  const ModelConfig bare = open(writer).config();
  EXPECT_EQ(bare.pooling, Pooling::mean);
  EXPECT_FALSE(bare.unit_length);
  EXPECT_EQ(bare.usual_tokens, 512);
}

struct Case {
  const char* name;
  ErrorCode code;
  std::vector<const char*> words;
  std::function<void(FolderWriter&)> mutate;
};

void set(FolderWriter& w, const char* file, const char* field, nlohmann::ordered_json value) {
  w.beside[file][field] = std::move(value);
}
constexpr const char* kPooling = "1_Pooling/config.json";
constexpr const char* kLengths = "sentence_bert_config.json";
constexpr const char* kModules = "modules.json";

TEST_F(FolderEncoder, WhatIsWrongIsNamed) {
  const std::vector<Case> cases = {
      {"a way out of the folder",
       ErrorCode::format,
       {"modules.json", "../secret", "out of the folder"},
       [](FolderWriter& w) { w.beside[kModules][1]["path"] = "../secret"; }},
      {"a path from the root",
       ErrorCode::format,
       {"modules.json", "/etc", "out of the folder"},
       [](FolderWriter& w) { w.beside[kModules][1]["path"] = "/etc"; }},
      {"pooling that is not there",
       ErrorCode::file,
       {"3_Pooling"},
       [](FolderWriter& w) { w.beside[kModules][1]["path"] = "3_Pooling"; }},
      {"a step that is not known",
       ErrorCode::unsupported,
       {"modules.json", "models.Dense", "Pooling"},
       [](FolderWriter& w) { w.beside[kModules][2]["type"] = "sentence_transformers.models.Dense"; }},
      {"modules without end",
       ErrorCode::capacity,
       {"modules.json", "16"},
       [](FolderWriter& w) {
         for (int i = 0; i < 100; ++i) w.beside[kModules].push_back(w.beside[kModules][0]);
       }},
      {"modules that are no list",
       ErrorCode::format,
       {"modules.json"},
       [](FolderWriter& w) {
         w.beside[kModules] = {{"type", 3}};
       }},
      {"two ways to pool",
       ErrorCode::unsupported,
       {kPooling, "pooling_mode_mean_tokens"},
       [](FolderWriter& w) { set(w, kPooling, "pooling_mode_cls_token", true); }},
      {"a way to pool that is not known",
       ErrorCode::unsupported,
       {kPooling, "pooling_mode_max_tokens", "first token"},
       [](FolderWriter& w) {
         set(w, kPooling, "pooling_mode_mean_tokens", false);
         set(w, kPooling, "pooling_mode_max_tokens", true);
       }},
      {"a length of none",
       ErrorCode::format,
       {kLengths, "max_seq_length", "0", "512"},
       [](FolderWriter& w) { set(w, kLengths, "max_seq_length", 0); }},
      {"a length beyond the positions",
       ErrorCode::format,
       {kLengths, "max_seq_length", "1000000", "512"},
       [](FolderWriter& w) { set(w, kLengths, "max_seq_length", 1000000); }},
      {"a length that is no number",
       ErrorCode::format,
       {kLengths, "max_seq_length"},
       [](FolderWriter& w) { set(w, kLengths, "max_seq_length", "long"); }},
      {"positions that are not those of a table",
       ErrorCode::unsupported,
       {"config.json", "position_embedding_type", "relative_key"},
       [](FolderWriter& w) { w.config["position_embedding_type"] = "relative_key"; }},
      {"an encoder that is a decoder",
       ErrorCode::unsupported,
       {"config.json", "is_decoder"},
       [](FolderWriter& w) { w.config["is_decoder"] = true; }},
      {"another activation",
       ErrorCode::unsupported,
       {"hidden_act", "relu", "gelu"},
       [](FolderWriter& w) { w.config["hidden_act"] = "relu"; }},
      {"no positions",
       ErrorCode::format,
       {"position_embd.weight", "missing"},
       [](FolderWriter& w) { w.remove("embeddings.position_embeddings.weight"); }},
      {"positions of another length",
       ErrorCode::shape,
       {"position_embd.weight", "512", "256"},
       [](FolderWriter& w) {
         w.config["max_position_embeddings"] = 256;
         set(w, kLengths, "max_seq_length", 256);
       }},
      {"no bias of a norm",
       ErrorCode::format,
       {"attn_output_norm.bias", "missing"},
       [](FolderWriter& w) { w.remove("encoder.layer.1.attention.output.LayerNorm.bias"); }},
      {"a bias of another width",
       ErrorCode::shape,
       {"token_embd_norm.bias", "32", "64"},
       [](FolderWriter& w) {
         w.tensor("embeddings.LayerNorm.bias").shape = {32};
         w.tensor("embeddings.LayerNorm.bias").data.resize(32 * 4);
       }},
      {"no bias of q",
       ErrorCode::format,
       {"attn_q.bias", "missing"},
       [](FolderWriter& w) { w.remove("encoder.layer.0.attention.self.query.bias"); }},
      {"segments of another width",
       ErrorCode::shape,
       {"token_types.weight", "64"},
       [](FolderWriter& w) {
         w.tensor("embeddings.token_type_embeddings.weight").shape = {4, 32};
       }},
      {"a position that is no number",
       ErrorCode::format,
       {"position_embd.weight", "nan"},
       [](FolderWriter& w) { std::memset(w.tensor("embeddings.position_embeddings.weight").data.data(), 0xff, 4); }},
      {"heads that do not divide the width",
       ErrorCode::shape,
       {"num_attention_heads", "5", "64"},
       [](FolderWriter& w) { w.config["num_attention_heads"] = 5; }},
      {"a tensor too many",
       ErrorCode::unsupported,
       {"cls.predictions.bias"},
       [](FolderWriter& w) {
         w.tensors.push_back({"cls.predictions.bias", "F32", {1}, testing::Bytes(4)});
       }},
      {"words cut in another way",
       ErrorCode::unsupported,
       {"tokenizer.json", "WordPiece", "other settings"},
       [](FolderWriter& w) { w.tokenizer["model"]["max_input_chars_per_word"] = 8; }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove_all(path_);
    FolderWriter writer = tiny_folder({.family = "bert"});
    c.mutate(writer);
    writer.write(path_);
    testing::expect_refused(Model::open(path_), c.code, c.words);
  }
}

TEST_F(FolderEncoder, WithoutTheTokensAroundATextIsNoEncoder) {
  FolderWriter writer = tiny_folder({.family = "bert"});
  writer.tokenizer_config.erase("sep_token");
  testing::expect_refused(Encoder::make(open(writer)), ErrorCode::argument, {"[SEP]"});
}

TEST_F(FolderEncoder, ItsFilesArePartOfItsFingerprint) {
  FolderWriter writer = tiny_folder({.family = "bert"});
  const uint64_t mean = open(writer).fingerprint().model;
  EXPECT_EQ(open(writer).fingerprint().model, mean);
  writer.beside["1_Pooling/config.json"]["pooling_mode_cls_token"] = true;
  writer.beside["1_Pooling/config.json"]["pooling_mode_mean_tokens"] = false;
  EXPECT_NE(open(writer).fingerprint().model, mean);
}

}  // namespace
}  // namespace fathom
