// Single safetensors files that lie, each with the words its error must hold. Next: tests/fuzz/safetensors_fuzz.cc.
#include "src/model/safetensors.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstring>

#include "tests/support/folder_writer.h"

namespace fathom {
namespace {

using testing::Bytes;

Bytes file_of(std::string_view header, size_t data_bytes) {
  Bytes out = testing::GgufWriter::payload_of(uint64_t{header.size()});
  const auto* const begin = reinterpret_cast<const std::byte*>(header.data());
  out.insert(out.end(), begin, begin + header.size());
  out.resize(out.size() + data_bytes);
  return out;
}

void expect_error(std::string_view header, size_t data_bytes, std::string_view word) {
  const Bytes bytes = file_of(header, data_bytes);
  const auto read = safetensors::read(bytes);
  ASSERT_FALSE(read) << header;
  EXPECT_NE(read.error().message.find(word), std::string::npos) << word << " in: " << read.error().message;
  EXPECT_EQ(read.error().message.find('\n'), std::string::npos) << read.error().message;
}

TEST(Safetensors, TensorsAreFoundWithTheirShapes) {
  const Bytes bytes = file_of(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"ids":{"dtype":"I64","shape":[1],"data_offsets":[20,28]},)"
      R"("none":{"dtype":"F32","shape":[0],"data_offsets":[28,28]}}  )",
      28);
  const safetensors::File file = safetensors::read(bytes).value();
  ASSERT_EQ(file.tensors.size(), 2u);
  const gguf::TensorRecord& b = file.tensors[0];
  EXPECT_EQ(b.tensor.name, "b");
  EXPECT_EQ(b.tensor.type, DType::bf16);
  EXPECT_EQ(b.n_dims, 2);
  EXPECT_EQ(b.tensor.rows, 2);
  EXPECT_EQ(b.tensor.cols, 3);
  EXPECT_EQ(b.tensor.data, bytes.data() + file.data_begin + 8);
  ASSERT_EQ(file.foreign.size(), 2u);
  EXPECT_EQ(file.foreign[0].name, "ids");
  EXPECT_EQ(file.foreign[0].type, "I64");
}

TEST(Safetensors, WhatIsWrongIsNamed) {
  expect_error("", 0, "no JSON");
  expect_error("[1]", 0, "give an object");
  expect_error(R"({"a":3})", 0, "a: 3");
  expect_error(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "a.dtype: missing");
  expect_error(R"({"a":{"dtype":"F32","data_offsets":[0,4],"shape":[-1]}})", 4, "a.shape[0]: -1");
  expect_error(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "1.5");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "begin <= end");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "[begin, end]");
  expect_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "4 bytes, but shape [2] of F32");
  expect_error(R"({"a":{"dtype":"F32","shape":[1099511627776,1099511627776,1099511627776],"data_offsets":[0,4]}})", 4,
               "takes other");
  expect_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "ends at byte 8 of 4");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "ends at byte 4 of 8");
  expect_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "behind a hole");
  expect_error(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, "begins at byte 4, but the one before ends at 8");
  expect_error(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "a name of 0 bytes");
  // A name twice leaves a hole, or an overlap.
  expect_error(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      8, "hole");
  expect_error(std::string(5000, '['), 0, "nested deeper");
}

TEST(Safetensors, AHeaderThatIsCutShortOrTooLongIsRefused) {
  EXPECT_FALSE(safetensors::read({}));
  EXPECT_FALSE(safetensors::read(Bytes(7)));
  for (const uint64_t length : {uint64_t{9}, uint64_t{1} << 40, ~uint64_t{0}}) {
    Bytes bytes = file_of("{}", 0);
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_FALSE(safetensors::read(bytes)) << length;
  }
}

RC_GTEST_PROP(Safetensors, AnyByteChangedIsReadOrRefused, (uint64_t seed)) {
  const testing::FolderWriter writer = testing::tiny_folder({.n_layers = 1});
  Bytes bytes = writer.safetensors(0, writer.tensors.size());
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  bytes[seed % (header + 8)] = std::byte(seed >> 56);
  const auto read = safetensors::read(bytes);
  if (!read) RC_ASSERT(read.error().message.find('\n') == std::string::npos);
  if (read) {
    for (const gguf::TensorRecord& record : read->tensors) {
      RC_ASSERT(record.tensor.data >= bytes.data());
      RC_ASSERT(record.tensor.data + record.tensor.bytes() <= bytes.data() + bytes.size());
    }
  }
}

}  // namespace
}  // namespace fathom
