// Hugging Face folders: the same model as its GGUF file, and what is wrong with those that are broken.
// Next: tests/model/folder_encoder_test.cc, those of encoders.
#include "src/model/folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "fathom/engine/session.h"
#include "tests/support/compare.h"
#include "tests/support/folder_writer.h"
#include "tests/support/refused.h"
#include "tests/support/sessions.h"
#include "tests/support/temporary_folder.h"

namespace fathom {
namespace {

using testing::FolderWriter;
using testing::tiny_folder;
using testing::TinyOptions;

class Folder : public ::testing::Test {
 protected:
  std::string file(const char* name) const { return folder_ / name; }
  testing::TemporaryFolder folder_;
  const std::string& path_ = folder_.path();
};

std::vector<float> logits_of(const Model& model) {
  Session session = Session::make(model, {.max_tokens = 32, .max_logit_rows = 8}).value();
  const std::vector<int32_t> ids = testing::random_ids(20, model.config().vocab, 3);
  return testing::run(session, ids, {.chunk = 4}).logits;
}

TEST_F(Folder, EveryFamilyIsTheModelOfItsGgufFile) {
  for (const char* family : {"qwen2", "qwen3", "llama", "gemma3"}) {
    for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
      SCOPED_TRACE(std::string(family) + " " + std::string(info(type).name));
      const TinyOptions options{.family = family, .n_layers = 7, .type = type};
      tiny_folder(options).write(path_);
      const OpenOptions exact{.numerics = Numerics::exact};
      const Model folder = Model::open(path_, exact).value(), gguf = testing::tiny_model(options, exact);
      EXPECT_EQ(folder.config().tied_head, gguf.config().tied_head);
      EXPECT_EQ(folder.config().context, gguf.config().context);
      const std::vector<float> got = logits_of(folder), want = logits_of(gguf);
      // Llama's heads are rotated in another order, and 1 is taken off Gemma's norms and put back.
      const bool same = std::string_view(family).starts_with("qwen");
      if (same) {
        EXPECT_TRUE(testing::same_bits<float>(got, want));
      } else {
        EXPECT_TRUE(testing::all_near<float>(got, want, [](size_t) { return 2e-3; }));
      }
    }
  }
}

TEST_F(Folder, WordsAreThoseOfTheGgufFile) {
  for (const char* family : {"qwen2", "llama", "gemma3"}) {
    SCOPED_TRACE(family);
    const TinyOptions options{.family = family};
    FolderWriter writer = tiny_folder(options);
    writer.tokenizer_config["chat_template"] = "{{ messages }}";
    writer.write(path_);
    const Model folder = Model::open(path_).value(), gguf = testing::tiny_model(options);
    const Tokenizer &got = folder.tokenizer(), &want = gguf.tokenizer();
    for (const char* text :
         {"the hand and the ring", " a  b\n\nc\tand there", "Z\xC3\xBC rich 123 4", "", "<|im_end|>"}) {
      for (const bool special : {false, true}) {
        EXPECT_EQ(got.encode(text, {.special = special}).value(), want.encode(text, {.special = special}).value())
            << text;
      }
    }
    EXPECT_EQ(got.eos(), want.eos());
    EXPECT_EQ(got.bos(), want.bos());
    EXPECT_EQ(got.adds_bos(), want.adds_bos());
    EXPECT_EQ(got.vocab(), want.vocab());
    EXPECT_EQ(got.tables().chat_template, "{{ messages }}");
  }
}

TEST_F(Folder, ShardsAreOneModel) {
  const TinyOptions options{.tied_head = true};
  tiny_folder(options).write(path_, 3);
  EXPECT_TRUE(
      testing::same_bits<float>(logits_of(Model::open(path_).value()), logits_of(testing::tiny_model(options))));
}

TEST_F(Folder, ATiedHeadThatIsWrittenTwiceIsTheTokenTable) {
  FolderWriter writer = tiny_folder({.tied_head = true});
  FolderWriter::TensorEntry head = writer.tensor("model.embed_tokens.weight");
  head.name = "lm_head.weight";
  std::fill(head.data.begin(), head.data.end(), std::byte{0});
  writer.tensors.push_back(head);
  writer.tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {1}, testing::Bytes(4)});
  writer.write(path_);
  EXPECT_TRUE(testing::same_bits<float>(logits_of(Model::open(path_).value()),
                                        logits_of(testing::tiny_model({.tied_head = true}))));
}

TEST_F(Folder, DataThatIsNotAlignedIsRead) {
  FolderWriter writer = tiny_folder({.type = DType::bf16, .tied_head = true});
  writer.tensors.insert(writer.tensors.begin(),
                        {"model.layers.0.self_attn.rotary_emb.inv_freq", "U8", {1}, testing::Bytes(1)});
  writer.write(path_);
  EXPECT_TRUE(testing::same_bits<float>(logits_of(Model::open(path_).value()),
                                        logits_of(testing::tiny_model({.type = DType::bf16, .tied_head = true}))));
}

TEST_F(Folder, TwoFoldersHaveTwoFingerprints) {
  tiny_folder().write(path_);
  const Fingerprint first = ModelFile::open(path_).value().fingerprint(Numerics::fast);
  EXPECT_EQ(ModelFile::open(path_).value().fingerprint(Numerics::fast), first);
  tiny_folder({.seed = 2}).write(path_);
  EXPECT_NE(ModelFile::open(path_).value().fingerprint(Numerics::fast).model, first.model);
}

struct Case {
  const char* name;
  ErrorCode code;
  std::vector<const char*> words;
  std::function<void(FolderWriter&)> mutate;
  const char* family = "qwen2";
};

TEST_F(Folder, WhatIsWrongIsNamed) {
  const std::vector<Case> cases = {
      {"another architecture",
       ErrorCode::unsupported,
       {"config.json", "MambaForCausalLM", "Qwen2ForCausalLM"},
       [](FolderWriter& w) { w.config["architectures"] = {"MambaForCausalLM"}; }},
      {"no architecture",
       ErrorCode::format,
       {"config.json", "architectures"},
       [](FolderWriter& w) { w.config.erase("architectures"); }},
      {"no width",
       ErrorCode::format,
       {"config.json", "hidden_size", "missing"},
       [](FolderWriter& w) { w.config.erase("hidden_size"); }},
      {"a width in words",
       ErrorCode::format,
       {"hidden_size", "wide"},
       [](FolderWriter& w) { w.config["hidden_size"] = "wide"; }},
      {"no layers",
       ErrorCode::format,
       {"num_hidden_layers", "0"},
       [](FolderWriter& w) { w.config["num_hidden_layers"] = 0; }},
      {"more layers than weights",
       ErrorCode::format,
       {"blk.4", "missing"},
       [](FolderWriter& w) { w.config["num_hidden_layers"] = 5; }},
      {"quantised elsewhere",
       ErrorCode::unsupported,
       {"quantization_config"},
       [](FolderWriter& w) {
         w.config["quantization_config"] = {{"quant_method", "gptq"}};
       }},
      {"another activation",
       ErrorCode::unsupported,
       {"config.json", "hidden_act", "relu", "silu"},
       [](FolderWriter& w) { w.config["hidden_act"] = "relu"; }},
      {"a window that no layer has",
       ErrorCode::unsupported,
       {"sliding_window", "16"},
       [](FolderWriter& w) { w.config["sliding_window"] = 16; }},
      {"a rotation that is not known",
       ErrorCode::unsupported,
       {"rope_scaling", "yarn"},
       [](FolderWriter& w) {
         w.config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
       }},
      {"a kind of layer that is not known",
       ErrorCode::unsupported,
       {"layer_types", "linear_attention"},
       [](FolderWriter& w) { w.config["layer_types"][0] = "linear_attention"; },
       "gemma3"},
      {"types of too few layers",
       ErrorCode::format,
       {"layer_types", "3", "4"},
       [](FolderWriter& w) { w.config["layer_types"].erase(0); },
       "gemma3"},
      {"no norm",
       ErrorCode::format,
       {"output_norm.weight", "missing"},
       [](FolderWriter& w) { w.remove("model.norm.weight"); }},
      {"a tensor too many",
       ErrorCode::unsupported,
       {"model.safetensors", "model.layers.0.extra.weight"},
       [](FolderWriter& w) {
         w.tensors.push_back({"model.layers.0.extra.weight", "F32", {1}, testing::Bytes(4)});
       }},
      {"weights in integers",
       ErrorCode::unsupported,
       {"model.norm.weight", "I32", "BF16"},
       [](FolderWriter& w) { w.tensor("model.norm.weight").dtype = "I32"; }},
      {"a width that weights have not",
       ErrorCode::shape,
       {"token_embd.weight", "64"},
       [](FolderWriter& w) { w.config["hidden_size"] = 32; }},
      {"a number that is none",
       ErrorCode::format,
       {"output_norm.weight", "nan"},
       [](FolderWriter& w) { std::memset(w.tensor("model.norm.weight").data.data(), 0xff, 4); }},
      {"a token beyond the table",
       ErrorCode::format,
       {"tokenizer.json", "the", "900", "384"},
       [](FolderWriter& w) { w.tokenizer["model"]["vocab"]["the"] = 900; }},
      {"words that are no BPE",
       ErrorCode::unsupported,
       {"tokenizer.json", "Unigram"},
       [](FolderWriter& w) { w.tokenizer["model"]["type"] = "Unigram"; }},
      {"words that are cut in another way",
       ErrorCode::unsupported,
       {"pre_tokenizer", "Split", "[a-z]"},
       [](FolderWriter& w) { w.tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]"; }},
      {"a normalizer that is not known",
       ErrorCode::unsupported,
       {"normalizer", "NFKC"},
       [](FolderWriter& w) { w.tokenizer["normalizer"]["type"] = "NFKC"; }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FolderWriter writer = tiny_folder({.family = c.family});
    c.mutate(writer);
    writer.write(path_);
    testing::expect_refused(Model::open(path_), c.code, c.words);
  }
}

TEST_F(Folder, FilesThatAreNotThereAreNamed) {
  const auto expect = [&](const char* word) {
    const Result<ModelFile> opened = ModelFile::open(path_);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find(word), std::string::npos) << opened.error().message;
  };
  std::filesystem::create_directories(path_);
  expect("config.json");
  tiny_folder().write(path_);
  std::filesystem::remove(file("tokenizer.json"));
  expect("tokenizer.json");
  std::filesystem::remove(file("model.safetensors"));
  expect("model.safetensors");
  testing::write_file(file("pytorch_model.bin"), "pickle");
  expect("safe_serialization");
  std::filesystem::remove_all(path_);
  tiny_folder().write(path_, 2);
  std::filesystem::remove(file("model-00002-of-00002.safetensors"));
  expect("model-00002-of-00002.safetensors");
}

TEST_F(Folder, AnIndexThatIsNotTrueIsRefused) {
  const auto expect = [&](const std::string& index, const char* word) {
    testing::write_file(file("model.safetensors.index.json"), index);
    const Result<ModelFile> opened = ModelFile::open(path_);
    ASSERT_FALSE(opened) << index;
    EXPECT_NE(opened.error().message.find(word), std::string::npos) << opened.error().message;
  };
  tiny_folder().write(path_);
  expect("{", "no JSON");
  expect(R"({"weight_map": {}})", "names 0 files");
  expect(R"({"weight_map": {"model.norm.weight": "../secret"}})", "same folder");
  expect(R"({"weight_map": {"model.norm.weight": 3}})", "weight_map");
  expect(R"({"weight_map": {"model.norm.weight": "model.safetensors"}})", "the index says nothing of it");
}

// BERT's words, by hand: what tokenizers 0.19 makes of them.
TEST_F(Folder, WordPieceCutsWordsIntoTheLongestPieces) {
  std::filesystem::create_directories(path_);
  nlohmann::ordered_json vocab, tokenizer;
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##want", "##ed", "run", "##ning", ",",
                            "un\xC3\xA9", "une", "\xE6\xBC\xA2", "##e"}) {
    vocab[token] = vocab.size();
  }
  tokenizer["added_tokens"] = {{{"id", 2}, {"content", "[CLS]"}, {"special", true}}};
  tokenizer["normalizer"] = {{"type", "BertNormalizer"},
                             {"clean_text", true},
                             {"handle_chinese_chars", true},
                             {"strip_accents", nullptr},
                             {"lowercase", true}};
  tokenizer["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  tokenizer["model"] = {{"type", "WordPiece"},
                        {"unk_token", "[UNK]"},
                        {"continuing_subword_prefix", "##"},
                        {"max_input_chars_per_word", 100},
                        {"vocab", vocab}};
  const auto encode = [&](std::string_view text) {
    testing::write_file(file("tokenizer.json"), tokenizer.dump());
    return Tokenizer::make(read_folder_tokenizer(path_, 16).value()).value().encode(text).value();
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(encode("UNwant\xC3\xA9"
                   "d,running"),
            (Ids{4, 5, 6, 9, 7, 8}));
  EXPECT_EQ(encode("  un\t\x01un  "), (Ids{4, 4}));
  EXPECT_EQ(encode("unx un"), (Ids{1, 4}));
  EXPECT_EQ(encode("un\xE2\x96\x81run run"), (Ids{1, 7}));  // U+2581, which GGUF's names begin words with
  EXPECT_EQ(encode("un\xE6\xBC\xA2run"), (Ids{4, 12, 7}));
  EXPECT_EQ(encode("un\xC3\xA9"), (Ids{11}));
  EXPECT_EQ(encode(std::string(101, 'e')), (Ids{1}));
  EXPECT_EQ(encode(""), Ids{});
  tokenizer["normalizer"]["lowercase"] = false;
  EXPECT_EQ(encode("un\xC3\xA9 UN"), (Ids{10, 1}));
  tokenizer["normalizer"]["strip_accents"] = true;
  testing::write_file(file("tokenizer.json"), tokenizer.dump());
  EXPECT_FALSE(read_folder_tokenizer(path_, 16));
}

}  // namespace
}  // namespace fathom
