// The reader against files that lie: each case breaks one thing and names the words the error must hold.
// Next: tests/model/hostile_model_test.cc, the same for whole models.
#include "src/model/gguf.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <functional>

#include "tests/support/processor_time.h"
#include "tests/support/tiny_model.h"

namespace fathom::gguf {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::tiny_gguf;
using testing::tiny_writer;

Bytes u64(uint64_t value) { return GgufWriter::payload_of(value); }

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes array(uint32_t element, uint64_t count, const Bytes& payload) {
  return GgufWriter::payload_of(element) + u64(count) + payload;
}

struct Case {
  const char* name;
  ErrorCode code;
  std::vector<const char*> words;
  std::function<void(GgufWriter&)> mutate;
};

std::vector<Case> header_cases() {
  return {
      {"wrong magic", ErrorCode::format, {"magic", "0x12345678", ".gguf"}, [](GgufWriter& w) { w.magic = 0x12345678; }},
      {"version 1", ErrorCode::unsupported, {"version 1", "convert"}, [](GgufWriter& w) { w.version = 1; }},
      {"version 4", ErrorCode::unsupported, {"version 4", "2 and 3"}, [](GgufWriter& w) { w.version = 4; }},
      {"version 0", ErrorCode::unsupported, {"version 0", "2 and 3"}, [](GgufWriter& w) { w.version = 0; }},
      {"big-endian", ErrorCode::unsupported, {"big-endian", "little"}, [](GgufWriter& w) { w.version = 3u << 24; }},
      {"too many keys", ErrorCode::format, {"key count 65537", "65536"}, [](GgufWriter& w) { w.n_keys = 65537; }},
      {"all keys", ErrorCode::format, {"key count 18446744073709551615"}, [](GgufWriter& w) { w.n_keys = UINT64_MAX; }},
      {"too many tensors", ErrorCode::format, {"tensor count 70000"}, [](GgufWriter& w) { w.n_tensors = 70000; }},
      {"more keys than bytes",
       ErrorCode::format,
       {"key count 60000", "bytes left"},
       [](GgufWriter& w) {
         w.tensors.clear();
         w.n_keys = 60000;
       }},
      {"one key too many", ErrorCode::format, {"GGUF"}, [](GgufWriter& w) { w.n_keys = w.keys.size() + 1; }},
      {"one key too few", ErrorCode::format, {"GGUF"}, [](GgufWriter& w) { w.n_keys = w.keys.size() - 1; }},
      {"one tensor too many", ErrorCode::format, {"GGUF"}, [](GgufWriter& w) { w.n_tensors = w.tensors.size() + 1; }},
  };
}

std::vector<Case> key_cases() {
  return {
      {"key twice",
       ErrorCode::format,
       {"key general.name", "twice"},
       [](GgufWriter& w) { w.keys.push_back(w.keys[1]); }},
      {"empty key", ErrorCode::format, {"key 1", "0 bytes"}, [](GgufWriter& w) { w.keys[1].name = ""; }},
      {"long key",
       ErrorCode::format,
       {"key 1", "2000 bytes"},
       [](GgufWriter& w) { w.keys[1].name = std::string(2000, 'k'); }},
      {"value type 13",
       ErrorCode::format,
       {"key general.name", "value type 13"},
       [](GgufWriter& w) { w.keys[1].kind = 13; }},
      {"string past the end",
       ErrorCode::format,
       {"key x", "1099511627776", "cut short"},
       [](GgufWriter& w) { w.set("x", 8, u64(uint64_t{1} << 40)); }},
      {"string of 2^64 - 1",
       ErrorCode::format,
       {"18446744073709551615", "cut short"},
       [](GgufWriter& w) { w.set("x", 8, u64(UINT64_MAX)); }},
      {"array of arrays",
       ErrorCode::unsupported,
       {"key x", "array of arrays"},
       [](GgufWriter& w) { w.set("x", 9, array(9, 1, array(4, 1, Bytes(4)))); }},
      {"array of type 99",
       ErrorCode::format,
       {"key x", "element type 99"},
       [](GgufWriter& w) { w.set("x", 9, array(99, 1, {})); }},
      {"array of 2^63",
       ErrorCode::format,
       {"key x", "9223372036854775808", "at most"},
       [](GgufWriter& w) { w.set("x", 9, array(4, uint64_t{1} << 63, {})); }},
      {"array longer than the file",
       ErrorCode::format,
       {"key x", "33554432 elements", "bytes left"},
       [](GgufWriter& w) { w.set("x", 9, array(10, 1 << 25, {})); }},
      {"strings longer than the file",
       ErrorCode::format,
       {"key x", "cut short"},
       [](GgufWriter& w) { w.set("x", 9, array(8, 1 << 24, {})); }},
      {"key with line breaks stays on one line",
       ErrorCode::format,
       {"a\\x0ab", "twice"},
       [](GgufWriter& w) {
         w.set_u32("a\nb", 1);
         w.keys.push_back(w.keys.back());
       }},
      {"alignment 0",
       ErrorCode::format,
       {"general.alignment", "0 is not"},
       [](GgufWriter& w) { w.set_u32("general.alignment", 0); }},
      {"alignment 24",
       ErrorCode::format,
       {"general.alignment", "24", "power of two"},
       [](GgufWriter& w) { w.set_u32("general.alignment", 24); }},
      {"alignment 2^31",
       ErrorCode::format,
       {"general.alignment", "2147483648"},
       [](GgufWriter& w) { w.set_u32("general.alignment", 1u << 31); }},
      {"alignment as text",
       ErrorCode::format,
       {"general.alignment", "string"},
       [](GgufWriter& w) { w.set_text("general.alignment", "32"); }},
  };
}

std::vector<Case> tensor_cases() {
  return {
      {"tensor twice",
       ErrorCode::format,
       {"tensor output_norm.weight", "twice"},
       [](GgufWriter& w) { w.tensors.push_back(w.tensor("output_norm.weight")); }},
      {"no dimensions",
       ErrorCode::format,
       {"output_norm.weight", "0 dimensions"},
       [](GgufWriter& w) { w.tensor("output_norm.weight").dims.clear(); }},
      {"five dimensions",
       ErrorCode::format,
       {"output_norm.weight", "5 dimensions"},
       [](GgufWriter& w) {
         w.tensor("output_norm.weight").dims = {2, 2, 2, 2, 4};
       }},
      {"a dimension of 0",
       ErrorCode::format,
       {"output.weight", "dimension 1 is 0"},
       [](GgufWriter& w) {
         w.tensor("output.weight").dims = {64, 0};
       }},
      {"a dimension of 2^63",
       ErrorCode::format,
       {"output.weight", "9223372036854775808"},
       [](GgufWriter& w) {
         w.tensor("output.weight").dims = {64, uint64_t{1} << 63};
       }},
      {"a product past 2^64",
       ErrorCode::format,
       {"output.weight", "overflow"},
       [](GgufWriter& w) {
         w.tensor("output.weight").dims = {64, uint64_t{1} << 32, uint64_t{1} << 32};
       }},
      {"past the end",
       ErrorCode::format,
       {"output.weight", "pass the end", "cut short"},
       [](GgufWriter& w) {
         w.tensor("output.weight").dims = {64, 1 << 20};
       }},
      {"offset past the end",
       ErrorCode::format,
       {"output.weight", "offset 1099511627776"},
       [](GgufWriter& w) { w.tensor("output.weight").offset = uint64_t{1} << 40; }},
      {"offset near 2^64",
       ErrorCode::format,
       {"output.weight", "pass the end"},
       [](GgufWriter& w) { w.tensor("output.weight").offset = UINT64_MAX - 31; }},
      {"offset off the alignment",
       ErrorCode::format,
       {"output.weight", "alignment 32"},
       [](GgufWriter& w) { w.tensor("output.weight").offset = 4; }},
      {"overlap",
       ErrorCode::format,
       {"overlaps tensor", "output.weight"},
       [](GgufWriter& w) { w.tensor("output.weight").offset = 32; }},
      {"type Q4_1",
       ErrorCode::unsupported,
       {"tensor output.weight", "Q4_1", "Q4_0"},
       [](GgufWriter& w) { w.tensor("output.weight").type = 3; }},
      {"type IQ4_XS",
       ErrorCode::unsupported,
       {"tensor output.weight", "IQ4_XS"},
       [](GgufWriter& w) { w.tensor("output.weight").type = 23; }},
      {"type 4000000000",
       ErrorCode::unsupported,
       {"tensor output.weight", "4000000000", "unknown"},
       [](GgufWriter& w) { w.tensor("output.weight").type = 4000000000u; }},
      {"half a block",
       ErrorCode::format,
       {"tensor output.weight", "48", "blocks of 32"},
       [](GgufWriter& w) {
         w.tensor("output.weight").type = 8;
         w.tensor("output.weight").dims = {48, 8};
       }},
      {"half a K block",
       ErrorCode::format,
       {"tensor output.weight", "64", "blocks of 256"},
       [](GgufWriter& w) { w.tensor("output.weight").type = 14; }},
  };
}

void expect_errors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    GgufWriter writer = tiny_writer();
    c.mutate(writer);
    const Bytes bytes = writer.bytes();
    const Result<File> file = read(bytes);
    if (file) {
      ADD_FAILURE() << "was read";
      continue;
    }
    EXPECT_EQ(file.error().code, c.code) << file.error().message;
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos);
    for (const char* word : c.words)
      EXPECT_NE(file.error().message.find(word), std::string::npos) << word << " in: " << file.error().message;
  }
}

TEST(Gguf, a_broken_header_is_named) { expect_errors(header_cases()); }
TEST(Gguf, a_broken_key_is_named) { expect_errors(key_cases()); }
TEST(Gguf, a_broken_tensor_record_is_named) { expect_errors(tensor_cases()); }

TEST(Gguf, versions_2_and_3_read_alike) {
  GgufWriter writer = tiny_writer();
  for (const uint32_t version : {2u, 3u}) {
    writer.version = version;
    const Bytes bytes = writer.bytes();
    const File file = read(bytes).value();
    EXPECT_EQ(file.version, version);
    EXPECT_EQ(file.keys.size(), writer.keys.size());
    ASSERT_EQ(file.tensors.size(), writer.tensors.size());
    const TensorRecord* record = file.tensor("blk.2.ffn_down.weight");
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->tensor.rows, 64);
    EXPECT_EQ(record->tensor.cols, 96);
    EXPECT_EQ(
        std::memcmp(record->tensor.data, writer.tensor("blk.2.ffn_down.weight").data.data(), record->tensor.bytes()),
        0);
  }
}

TEST(Gguf, a_larger_alignment_moves_the_data) {
  GgufWriter writer = tiny_writer();
  writer.alignment = 4096;
  writer.set_u32("general.alignment", 4096);
  const Bytes bytes = writer.bytes();
  const File file = read(bytes).value();
  EXPECT_EQ(file.data_begin % 4096, 0u);
  for (const TensorRecord& record : file.tensors) {
    EXPECT_EQ(std::memcmp(record.tensor.data, writer.tensor(record.tensor.name).data.data(), record.tensor.bytes()), 0);
  }
}

TEST(Gguf, every_kind_of_value_reads_back) {
  GgufWriter writer;
  writer.set("u8", 0, GgufWriter::payload_of(uint8_t{200}));
  writer.set("i8", 1, GgufWriter::payload_of(int8_t{-3}));
  writer.set("u16", 2, GgufWriter::payload_of(uint16_t{60000}));
  writer.set("i16", 3, GgufWriter::payload_of(int16_t{-300}));
  writer.set_u32("u32", 4000000000u);
  writer.set_i32("i32", -7);
  writer.set_f32("f32", 0.5f);
  writer.set_bool("bool", true);
  writer.set_text("text", "hello");
  writer.set("u64", 10, GgufWriter::payload_of(UINT64_MAX));
  writer.set("i64", 11, GgufWriter::payload_of(int64_t{-5000000000}));
  writer.set("f64", 12, GgufWriter::payload_of(0.25));
  writer.set_texts("texts", {"a", "", "ccc"});
  const Bytes bytes = writer.bytes();
  const File file = read(bytes).value();
  EXPECT_EQ(integer_at(*file.find("u8"), 0), 200);
  EXPECT_EQ(integer_at(*file.find("i8"), 0), -3);
  EXPECT_EQ(integer_at(*file.find("u16"), 0), 60000);
  EXPECT_EQ(integer_at(*file.find("i16"), 0), -300);
  EXPECT_EQ(integer_at(*file.find("u32"), 0), 4000000000);
  EXPECT_EQ(integer_at(*file.find("i32"), 0), -7);
  EXPECT_EQ(number_at(*file.find("f32"), 0), 0.5);
  EXPECT_EQ(integer_at(*file.find("bool"), 0), 1);
  EXPECT_EQ(StringCursor(*file.find("text")).next(), "hello");
  EXPECT_EQ(integer_at(*file.find("u64"), 0), INT64_MAX) << "unsigned numbers past the range saturate";
  EXPECT_EQ(integer_at(*file.find("i64"), 0), -5000000000);
  EXPECT_EQ(number_at(*file.find("f64"), 0), 0.25);
  StringCursor cursor(*file.find("texts"));
  EXPECT_EQ(cursor.next(), "a");
  EXPECT_EQ(cursor.next(), "");
  EXPECT_EQ(cursor.next(), "ccc");
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(Gguf, a_file_cut_anywhere_is_an_error) {
  GgufWriter writer = tiny_writer({.n_layers = 1, .vocab = 320});
  const Bytes whole = writer.bytes();
  const size_t header = read(whole).value().data_begin;
  for (size_t length = 0; length < header; length += 1 + length / 64) {
    EXPECT_FALSE(read(std::span(whole).first(length))) << length;
  }
  EXPECT_FALSE(read(std::span(whole).first(whole.size() - 1)));
}

TEST(Gguf, a_million_strings_of_nothing_are_refused_or_read_within_two_seconds) {
  GgufWriter writer;
  constexpr uint64_t kStrings = 1 << 22;
  writer.set("x", 9, array(8, kStrings, Bytes(kStrings * 8)));
  const Bytes bytes = writer.bytes();
  const double begin = testing::processor_seconds();
  const Result<File> file = read(bytes);
  EXPECT_LT(testing::processor_seconds() - begin, 2.0);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->find("x")->count, kStrings);
}

RC_GTEST_PROP(Gguf, flipped_bytes_give_a_file_or_an_error, ()) {
  static const Bytes whole = tiny_gguf({.n_layers = 1, .vocab = 320});
  static const size_t header = read(whole).value().data_begin;
  Bytes bytes = whole;
  const int n = *rc::gen::inRange(1, 8);
  for (int i = 0; i < n; ++i) {
    const auto at = *rc::gen::inRange<size_t>(0, header);
    bytes[at] = static_cast<std::byte>(*rc::gen::inRange(0, 256));
  }
  const Result<File> file = read(bytes);
  if (!file) {
    RC_ASSERT(!file.error().message.empty());
    return;
  }
  for (const TensorRecord& record : file->tensors) {
    RC_ASSERT(record.tensor.data >= bytes.data());
    RC_ASSERT(record.tensor.data + record.tensor.bytes() <= bytes.data() + bytes.size());
  }
}

}  // namespace
}  // namespace fathom::gguf
