// Packed weights on disk: read only where everything matches, and never a reason for an open to fail.
#include "src/model/packed_file.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class PackedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "fathom-packed-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(model_path(), std::ios::binary) << bytes_of(testing::tiny_gguf({.type = DType::q5_0}));
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string bytes_of(const testing::Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string model_path() const { return folder_ + "/tiny.gguf"; }
  std::string packed_folder() const { return folder_ + "/a/b"; }
  Model open(Numerics numerics = Numerics::fast, std::optional<DType> quantise = {}) const {
    return Model::open(model_path(),
                       {.numerics = numerics, .quantise = quantise, .threads = 2, .packed_folder = packed_folder()})
        .value();
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    if (!fs::exists(packed_folder())) return found;
    for (const auto& entry : fs::directory_iterator(packed_folder())) found.push_back(entry.path());
    return found;
  }

  std::string folder_;
};

std::string packed_bytes(const Model& model) {
  const Buffer& packed = model.weights().packed;
  return {packed.as<char>(), packed.size()};
}

TEST_F(PackedFileTest, IsWrittenOnceAndReadByBothRoundings) {
  const Model first = open();
  EXPECT_EQ(first.weights().packed_source, PackedSource::written) << first.weights().packed_error;
  ASSERT_EQ(files().size(), 1u) << "a temporary file was left";
  const Model second = open(), faithful = open(Numerics::faithful);
  EXPECT_EQ(second.weights().packed_source, PackedSource::read);
  EXPECT_EQ(faithful.weights().packed_source, PackedSource::read) << "both paths read the same panels";
  EXPECT_EQ(packed_bytes(second), packed_bytes(first));
  EXPECT_EQ(open(Numerics::exact).weights().packed_source, PackedSource::written) << "these are other panels";
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(PackedFileTest, IsNotReadForKernelsOfAnotherBackend) {
  open();
  const OpenOptions reference{.numerics = Numerics::fast, .target = "ref", .packed_folder = packed_folder()};
  EXPECT_EQ(Model::open(model_path(), reference).value().weights().packed_source, PackedSource::written);
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(PackedFileTest, IsNotReadForWeightsThatAreRoundedOtherwise) {
  for (const DType type : {DType::f32, DType::f16}) {
    std::ofstream(model_path(), std::ios::binary) << bytes_of(testing::tiny_gguf({.type = type}));
    for (const auto expected : {PackedSource::written, PackedSource::read}) {
      for (const Numerics numerics : {Numerics::fast, Numerics::bf16}) {
        const Model plain = open(numerics), narrow = open(numerics, DType::q8_0);
        EXPECT_EQ(plain.weights().packed_source, expected) << name_of(numerics);
        EXPECT_EQ(narrow.weights().packed_source, expected) << name_of(numerics);
        EXPECT_EQ(plain.weights().layers[0].up.matrix.type, type);
        EXPECT_EQ(narrow.weights().layers[0].up.matrix.type, DType::q8_0);
        EXPECT_NE(packed_bytes(plain), packed_bytes(narrow));
      }
    }
  }
}

TEST_F(PackedFileTest, WhatAWriterThatWasCutOffLeftIsTakenOver) {
  open();
  const fs::path file = files().at(0);
  fs::rename(file, file.string() + ".unfinished");
  EXPECT_EQ(open().weights().packed_source, PackedSource::written);
  EXPECT_EQ(files(), std::vector<fs::path>{file});
}

TEST_F(PackedFileTest, WithoutAFolderNothingIsWritten) {
  EXPECT_EQ(Model::open(model_path()).value().weights().packed_source, PackedSource::packed);
  EXPECT_TRUE(files().empty());
}

TEST_F(PackedFileTest, AnyDamagedByteOrLengthIsNoticedAndMended) {
  const std::string whole = packed_bytes(open());
  const fs::path file = files().at(0);
  const auto size = fs::file_size(file);
  for (const uint64_t at : {uint64_t{0}, uint64_t{9}, uint64_t{17}, uint64_t{40}, uint64_t{60}, uint64_t{70},
                            uint64_t{4096}, uint64_t{4096 + 1000}, uint64_t{size - 1}}) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(static_cast<std::streamoff>(at));
    const int byte = f.get();
    f.seekp(static_cast<std::streamoff>(at));
    f.put(static_cast<char>(byte ^ 0x10));
    f.close();
    const Model model = open();
    EXPECT_EQ(model.weights().packed_source, PackedSource::written) << "byte " << at;
    EXPECT_EQ(packed_bytes(model), whole) << "byte " << at;
  }
  for (const uint64_t length : {uint64_t{0}, uint64_t{50}, uint64_t{4096}, uint64_t{size - 1}, uint64_t{size + 1}}) {
    fs::resize_file(file, length);
    EXPECT_EQ(open().weights().packed_source, PackedSource::written) << "length " << length;
  }
  EXPECT_EQ(open().weights().packed_source, PackedSource::read);
}

TEST_F(PackedFileTest, AModelFileThatChangedIsPackedAnew) {
  open();
  fs::last_write_time(model_path(), fs::last_write_time(model_path()) + std::chrono::seconds(1));
  EXPECT_EQ(open().weights().packed_source, PackedSource::written) << "the same bytes, another time of change";
  std::ofstream(model_path(), std::ios::binary) << bytes_of(testing::tiny_gguf({.type = DType::q5_0, .seed = 2}));
  const Model other = open();
  EXPECT_EQ(other.weights().packed_source, PackedSource::written);
  EXPECT_EQ(packed_bytes(other), packed_bytes(Model::open(model_path()).value()));
}

TEST_F(PackedFileTest, AFolderThatCannotBeMadeIsToldAndTheModelOpens) {
  const auto model = Model::open(model_path(), {.packed_folder = model_path() + "/inside"});
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_EQ(model->weights().packed_source, PackedSource::refused);
  EXPECT_NE(model->weights().packed_error.find("tiny.gguf/inside"), std::string::npos) << model->weights().packed_error;
}

TEST_F(PackedFileTest, AFolderOrPipeInItsPlaceIsNotRead) {
  open();
  const fs::path file = files().at(0);
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(open().weights().packed_source, PackedSource::refused);
  fs::remove(file);
  ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
  EXPECT_EQ(open().weights().packed_source, PackedSource::written);
}

// What pack() writes for seeded matrices. Where this fails because packing changed, raise kPackedVersion, so that no
// file of an earlier version is read, and write the new hash here.
TEST(PackedVersion, IsRaisedWhenPackingWritesOtherBytes) {
  XXH64_hash_t all = kPackedVersion;
  for (DType type : {DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q5_0, DType::q8_0, DType::q4_k,
                     DType::q5_k, DType::q6_k}) {
    testing::LinearCase c(type, 37, 512, 1, 3);
    for (const Numerics numerics : {Numerics::fast, Numerics::exact}) {
      int32_t n = 0;
      const LinearList& list = kernels::cpu(&n)[0]->linear[static_cast<int>(numerics)];
      for (int32_t i = 0; i < list.n; ++i) {
        const size_t bytes = list.kernels[i].packed_bytes(c.matrix);
        if (bytes == 0) continue;
        const Buffer packed(bytes);
        list.kernels[i].pack(c.matrix, c.weights.data(), packed.data(), 0, 3);
        all = XXH3_64bits_withSeed(packed.data(), bytes, all);
      }
    }
  }
  EXPECT_EQ(fmt::format("{:016x}", all), "7b402aa7b13e0705");
}

}  // namespace
}  // namespace fathom
