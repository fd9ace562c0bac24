// Models that open: every family and type, fingerprints, target choice, files on disk. Next:
// tests/golden/tiny_golden_test.cc.
#include "fathom/model/model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "fathom/model/describe.h"
#include "kernels/ref/dequant.h"
#include "src/model/families.h"
#include "src/model/mapped_file.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::tiny_gguf;
using testing::tiny_model;
using testing::tiny_writer;
using testing::TinyOptions;

/// A file that is removed at the end of a test.
class TemporaryFile {
 public:
  explicit TemporaryFile(const Bytes& bytes)
      : path_(std::filesystem::temp_directory_path() / ("fathom_model_test_" + std::to_string(getpid()) + ".gguf")) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Model, every_family_opens_with_every_type) {
  for (const Family& family : families()) {
    for (int type = 0; type < kDTypes; ++type) {
      const TinyOptions options{.family = std::string(family.name), .n_layers = 2, .type = static_cast<DType>(type)};
      SCOPED_TRACE(std::string(family.name) + " " + std::string(kDTypeInfo[type].name));
      const Model model = tiny_model(options);
      EXPECT_EQ(model.config().family, family.name);
      ASSERT_EQ(model.weights().layers.size(), 2u);
      EXPECT_EQ(model.weights().embedding.rows, 384);
      EXPECT_EQ(model.weights().layers[1].q.matrix.type, static_cast<DType>(type));
      EXPECT_EQ(model.weights().head.empty(), family.encoder);
      EXPECT_EQ(model.weights().head.matrix.type, family.encoder ? DType::f32 : static_cast<DType>(type));
      EXPECT_EQ(model.weights().layers[1].q.bias != nullptr, family.qkv_bias);
      EXPECT_EQ(model.weights().layers[1].q_norm != nullptr, family.qk_norm);
      EXPECT_EQ(model.weights().layers[1].feed_forward_after_norm != nullptr, family.norm_after || family.encoder);
    }
  }
}

TEST(Model, norms_and_biases_are_the_file_s_numbers) {
  const Model model = tiny_model();
  GgufWriter writer = tiny_writer();
  const auto expect_equal = [&](const char* name, const float* values) {
    const Bytes& data = writer.tensor(name).data;
    EXPECT_EQ(std::memcmp(values, data.data(), data.size()), 0) << name;
  };
  expect_equal("output_norm.weight", model.weights().final_norm);
  expect_equal("blk.3.attn_norm.weight", model.weights().layers[3].attention_norm);
  expect_equal("blk.2.ffn_norm.weight", model.weights().layers[2].feed_forward_norm);
  expect_equal("blk.1.attn_k.bias", model.weights().layers[1].k.bias);
}

TEST(Model, a_norm_in_half_precision_is_widened) {
  GgufWriter writer = tiny_writer();
  GgufWriter::TensorEntry& norm = writer.tensor("output_norm.weight");
  norm.type = info(DType::bf16).gguf_id;
  norm.data.assign(128, std::byte{0});
  for (size_t i = 0; i < 64; ++i) norm.data[2 * i + 1] = std::byte{0x3f};  // 0x3f00 is 0.5
  const Bytes bytes = writer.bytes();
  const Model model = Model::from_bytes(bytes).value();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(model.weights().final_norm[i], 0.5f);
}

TEST(Model, a_file_without_a_head_uses_its_token_table) {
  const Model tied = tiny_model({.tied_head = true});
  EXPECT_TRUE(tied.config().tied_head);
  EXPECT_EQ(tied.weights().head.matrix.rows, 384);
  EXPECT_FALSE(tiny_model().config().tied_head);
}

TEST(Model, a_file_on_disk_opens_like_its_bytes) {
  const Bytes bytes = tiny_gguf();
  const TemporaryFile file(bytes);
  const Model from_file = Model::open(file.path()).value();
  const Model from_memory = Model::from_bytes(bytes).value();
  EXPECT_EQ(from_file.fingerprint(), from_memory.fingerprint());
  EXPECT_EQ(from_file.file_bytes(), bytes.size());
  const Tensor& table = from_file.weights().embedding;
  EXPECT_EQ(std::memcmp(table.data, from_memory.weights().embedding.data, table.bytes()), 0)
      << "pages given back while packing read the same again";
  const Linear& a = from_file.weights().layers[0].down;
  const Linear& b = from_memory.weights().layers[0].down;
  EXPECT_EQ(std::memcmp(a.packed, b.packed, a.packed_bytes), 0);
}

TEST(Model, a_file_tells_what_the_model_packed_from_it_is) {
  const TemporaryFile disk(tiny_gguf({.family = "gemma3", .n_layers = 7}));
  const ModelFile file = ModelFile::open(disk.path()).value();
  EXPECT_EQ(file.config().n_layers, 7);
  for (const Numerics numerics : {Numerics::fast, Numerics::exact}) {
    const Model model = Model::open(file, {.numerics = numerics}).value();
    EXPECT_EQ(&model.config(), &file.config()) << "read once";
    EXPECT_EQ(&model.tokenizer(), &file.tokenizer());
    EXPECT_EQ(model.fingerprint(), file.fingerprint(numerics));
    EXPECT_EQ(model.file_bytes(), file.bytes());
  }
  EXPECT_EQ(Model::open(disk.path()).value().fingerprint(), file.fingerprint(OpenOptions{}.numerics));
}

// The tensor is missed when it is packed; a run can be refused before that.
TEST(Model, a_file_without_one_of_its_tensors_reads_but_does_not_open) {
  GgufWriter writer = tiny_writer();
  writer.remove("output_norm.weight");
  const TemporaryFile disk(writer.bytes());
  const ModelFile file = ModelFile::open(disk.path()).value();
  EXPECT_EQ(file.config().n_layers, 4);
  const Error error = Model::open(file).error();
  EXPECT_NE(error.message.find("output_norm.weight"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find(disk.path()), std::string::npos) << error.message;
}

TEST(Model, a_file_cut_short_on_disk_names_its_path) {
  Bytes bytes = tiny_gguf();
  bytes.resize(bytes.size() / 2);
  const TemporaryFile file(bytes);
  const Result<Model> model = Model::open(file.path());
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().message.find(file.path()), std::string::npos);
  EXPECT_NE(model.error().message.find("cut short"), std::string::npos);
}

TEST(Model, a_file_that_shrinks_or_is_written_while_mapped_is_noticed) {
  const Bytes bytes = tiny_gguf();
  const TemporaryFile file(bytes);
  {
    const MappedFile mapped = MappedFile::open(file.path()).value();
    EXPECT_TRUE(mapped.check_unchanged());
    std::filesystem::resize_file(file.path(), 4096);
    const Result<void> changed = mapped.check_unchanged();
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, ErrorCode::file);
    EXPECT_NE(changed.error().message.find("now 4096"), std::string::npos) << changed.error().message;
  }
  const MappedFile mapped = MappedFile::open(file.path()).value();
  std::filesystem::last_write_time(file.path(), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_FALSE(mapped.check_unchanged()) << "the same size, another time of change";
}

TEST(Model, a_fingerprint_follows_weights_words_and_numerics) {
  const Fingerprint one = tiny_model().fingerprint();
  EXPECT_EQ(tiny_model({}, {.threads = 2}).fingerprint(), one) << "threads change no number";
  EXPECT_EQ(tiny_model({}, {.target = "ref"}).fingerprint(), one) << "the instruction set is not the model";
  EXPECT_NE(tiny_model({.seed = 2}).fingerprint().model, one.model);
  EXPECT_EQ(tiny_model({.seed = 2}).fingerprint().tokenizer, one.tokenizer);
  EXPECT_NE(tiny_model({.tokenizer = testing::TinyVocab::sentencepiece}).fingerprint().tokenizer, one.tokenizer);
  EXPECT_EQ(one.numeric_path, numeric_path(OpenOptions{}.numerics));
  EXPECT_EQ(tiny_model({}, {.numerics = Numerics::exact}).fingerprint().numeric_path, "exact: f32");
}

TEST(Model, a_target_is_taken_by_name_with_the_reference_behind_it) {
  const Model best = tiny_model();
  ASSERT_EQ(best.tables().size(), 2u);
  EXPECT_STREQ(best.tables().back()->name, "ref");
  const Model ref = tiny_model({}, {.target = "ref"});
  ASSERT_EQ(ref.tables().size(), 1u);
  EXPECT_STREQ(ref.tables()[0]->name, "ref");
  const Model named = tiny_model({}, {.target = best.tables()[0]->name});
  EXPECT_EQ(named.tables()[0], best.tables()[0]);
}

TEST(Model, describing_one_tells_its_layers_sources_and_kernels) {
  const auto json = nlohmann::json::parse(describe_json(tiny_model({.family = "gemma3", .n_layers = 7})));
  EXPECT_EQ(json["family"], "gemma3");
  EXPECT_EQ(json["layers"][0]["layers"], "1-5,7");
  EXPECT_EQ(json["layers"][1]["layers"], "6");
  EXPECT_EQ(json["layers"][1]["window"], 0);
  EXPECT_EQ(json["memory"]["kv_bytes_per_token"]["f16"], 7 * 2 * 2 * 16 * 2)
      << "layers, K and V, KV heads, head_dim, bytes";
  EXPECT_EQ(json["types"]["F32"]["tensors"], json["tensors"].size());
  for (const auto& kernel : json["kernels"]) EXPECT_FALSE(kernel["kernel"].is_null()) << kernel["operation"];
  bool found = false;
  for (const auto& source : json["sources"]) {
    if (source["name"] != "rope.freq_base_swa") continue;
    found = source["value"] == "10000" && source["source"] == "family default";
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace fathom
