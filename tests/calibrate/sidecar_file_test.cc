// The container of a sidecar: what was written comes back, and nothing else ever reads as if it had been written.
// Next: sidecar_write_test.cc.
#include "fathom/calibrate/sidecar_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <random>

#include "src/calibrate/sidecar_layout.h"
#include "tests/support/sidecars.h"

namespace fathom {
namespace {

using testing::as_bytes;
using testing::as_text;
using testing::TemporaryFolder;
using Bytes = std::vector<std::byte>;
namespace layout = sidecar_layout;

constexpr std::string_view kJson = R"({"format":1,"policy":"full_depth"})";

Bytes sample() {
  static const std::string parts(130, '\x7f');
  const SidecarSection sections[] = {
      {"manifest", as_bytes(kJson)}, {"nothing", {}}, {"parts", as_bytes(parts)}, {"größe", as_bytes("x")}};
  return sidecar_bytes(sections).value();
}

std::string fault_of(const Bytes& file) {
  const auto read = SidecarFile::from_bytes(file);
  return read ? std::string() : read.error().message;
}

// The fault of the sample after a change whose checksums are made good again.
template <class Change>
std::string fault_after(Change change) {
  Bytes file = sample();
  change(file);
  layout::seal(file);
  return fault_of(file);
}

size_t entry(size_t section) { return layout::kHeaderBytes + section * layout::kEntryBytes; }

TEST(SidecarFile, SectionsComeBackInTheirOrderEachAtAMultipleOf64) {
  const Bytes bytes = sample();
  const SidecarFile file = SidecarFile::from_bytes(bytes).value();
  ASSERT_EQ(file.sections().size(), 4u);
  const char* const names[] = {"manifest", "nothing", "parts", "größe"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(file.sections()[i].name, names[i]);
    EXPECT_EQ((file.sections()[i].bytes.data() - bytes.data()) % 64, 0) << names[i];
  }
  EXPECT_EQ(as_text(file.section("manifest").value()), kJson);
  EXPECT_EQ(file.section("nothing").value().size(), 0u);
  EXPECT_EQ(as_text(file.section("parts").value()), std::string(130, '\x7f'));
  EXPECT_EQ(file.find("report"), nullptr);
  EXPECT_EQ(file.section("report").error().message, "sidecar: has no section \"report\": calibrate again");
}

TEST(SidecarFile, TheLayoutIsTheOneThatIsWrittenDown) {
  const Bytes bytes = sample();
  EXPECT_EQ(std::memcmp(bytes.data(), "FATHOMSC\x01\0\0\0\x04\0\0\0", 16), 0);
  EXPECT_EQ(layout::load<uint64_t>(bytes, 16), bytes.size());
  EXPECT_EQ(std::memcmp(bytes.data() + entry(2), "parts\0", 6), 0);
  EXPECT_EQ(layout::load<uint64_t>(bytes, entry(2) + 32), 384u);  // 5 * 64, then 34 bytes of JSON and none of "nothing"
  EXPECT_EQ(layout::load<uint64_t>(bytes, entry(2) + 40), 130u);
  EXPECT_EQ(bytes.size(), 576u + 1);
  EXPECT_EQ(bytes, sample()) << "equal sections make equal files";
}

// One change of any kind: bytes overwritten, taken out, put in, exchanged, cut off, put behind.
Bytes mutated(Bytes file, std::mt19937_64& random) {
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const auto at = [&](size_t i) { return file.begin() + static_cast<ptrdiff_t>(i); };
  const size_t begin = below(file.size()), n = 1 + below(std::min<size_t>(file.size() - begin, 16));
  switch (below(7)) {
    case 0:
      file[begin] ^= static_cast<std::byte>(1u << below(8));
      break;
    case 1:
      for (size_t i = 0; i < n; ++i) file[begin + i] = static_cast<std::byte>(random());
      break;
    case 2:
      std::fill(at(begin), at(begin + n), below(2) == 0 ? std::byte{0} : std::byte{0xff});
      break;
    case 3:
      file.erase(at(begin), at(begin + n));
      break;
    case 4:
      file.insert(at(begin), n, static_cast<std::byte>(random()));
      break;
    case 5:
      std::swap(file[begin], file[below(file.size())]);
      break;
    default:
      file.resize(below(2) == 0 ? begin : file.size() + n);
  }
  return file;
}

TEST(SidecarFile, NoMutationOfAFileReadsAsValid) {
  const Bytes whole = sample();
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const Bytes file = mutated(whole, random);
    const auto read = SidecarFile::from_bytes(file);
    ASSERT_EQ(read.has_value(), file == whole) << "mutation " << i << " of seed 1";
    if (read) continue;
    ASSERT_EQ(read.error().message.find('\n'), std::string::npos) << read.error().message;
  }
}

// With right checksums too: a file that reads is the one file that its sections make.
TEST(SidecarFile, WhatReadsIsWhatTheWriterWouldHaveWritten) {
  const Bytes whole = sample();
  std::mt19937_64 random(2);
  int valid = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes file = mutated(whole, random);
    if (random() % 2 == 0) file = mutated(std::move(file), random);
    layout::seal(file);
    const auto read = SidecarFile::from_bytes(file);
    if (!read) continue;
    ++valid;
    ASSERT_EQ(sidecar_bytes(read->sections()).value(), file) << "mutation " << i << " of seed 2";
  }
  EXPECT_GT(valid, 1000) << "the property was hardly tried";
}

TEST(SidecarFile, EveryShorterLengthIsRefusedAndSoIsALongerOne) {
  const Bytes whole = sample();
  for (size_t n = 0; n < whole.size(); ++n) {
    Bytes file(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n));
    EXPECT_NE(fault_of(file), "") << n;
    layout::seal(file);
    EXPECT_NE(fault_of(file), "") << n << " with right checksums";
  }
  Bytes longer = whole;
  longer.push_back(std::byte{0});
  EXPECT_NE(fault_of(longer).find("has 578 bytes of 577"), std::string::npos) << fault_of(longer);
}

TEST(SidecarFile, DamageIsToldByTheNameOfItsSection) {
  Bytes file = sample();
  file[384 + 129] ^= std::byte{1};
  EXPECT_EQ(fault_of(file),
            "sidecar: section \"parts\" is damaged: its checksum does not match: copy it again, or calibrate again");
  file = sample();
  file[384 + 131] ^= std::byte{1};
  EXPECT_EQ(fault_of(file),
            "sidecar: the bytes before section \"größe\" are damaged: copy it again, or calibrate again");
  file = sample();
  file[entry(1) + 3] ^= std::byte{1};
  EXPECT_EQ(fault_of(file), "sidecar: its header or table of sections is damaged: copy it again, or calibrate again");
  file.resize(10);
  EXPECT_EQ(fault_of(file), "sidecar: is cut off inside its header: copy it again, or calibrate again");
  file.resize(0);
  EXPECT_EQ(fault_of(file), "sidecar: is not a sidecar: give a file that fathom calibrate wrote");
}

TEST(SidecarFile, ANewerFormatIsToldWhateverElseIsInTheFile) {
  Bytes file(64, std::byte{0xee});
  std::memcpy(file.data(), kSidecarStart.data(), 8);
  layout::store(std::span(file), layout::kFormatAt, uint32_t{7});
  const auto read = SidecarFile::from_bytes(file);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::unsupported);
  EXPECT_EQ(read.error().message,
            "sidecar: written by a newer Fathom (format 7, this one reads 1): update Fathom or calibrate again");
}

TEST(SidecarFile, AForgedTableIsRefusedForWhatIsWrongWithIt) {
  const auto number = [](size_t at, auto value) {
    return [at, value](Bytes& file) { layout::store(std::span(file), at, value); };
  };
  const auto name = [](size_t section, std::string_view text) {
    return [=](Bytes& file) {
      std::memset(file.data() + entry(section), 0, 32);
      std::memcpy(file.data() + entry(section), text.data(), text.size());
    };
  };
  const auto offset = [&](size_t section, uint64_t value) { return number(entry(section) + layout::kOffsetAt, value); };
  const auto bytes = [&](size_t section, uint64_t value) { return number(entry(section) + layout::kBytesAt, value); };
  const auto expect = [](const std::string& fault, std::string_view says) {
    EXPECT_NE(fault.find(says), std::string::npos) << says << " is not in: " << fault;
  };
  EXPECT_EQ(fault_after([](Bytes&) {}), "");
  expect(fault_after(number(layout::kCountAt, uint32_t{0})), "has 0 sections, not 1 to 64");
  expect(fault_after(number(layout::kCountAt, uint32_t{65})), "has 65 sections, not 1 to 64");
  expect(fault_after(number(layout::kCountAt, uint32_t{3})), "section \"manifest\" begins at byte 320, not 256");
  expect(fault_after(number(layout::kCountAt, uint32_t{64})), "cut off inside its table");
  expect(fault_after(number(layout::kFormatAt, uint32_t{0})), "there is no format 0");
  expect(fault_after(number(layout::kHeaderEnd, uint8_t{1})), "its header holds more");
  expect(fault_after(number(layout::kFileBytesAt, uint64_t{576})), "has 577 bytes of 576");
  expect(fault_after(number(entry(1) + layout::kEntryEnd, uint8_t{1})), "the entry of section \"nothing\" holds more");
  expect(fault_after(number(entry(0) + 31, uint8_t{'x'})), "the entry of section \"manifest\" holds more");
  expect(fault_after(offset(2, 320)), "section \"parts\" begins at byte 320, not 384");  // over "manifest"
  expect(fault_after(offset(3, 640)), "section \"größe\" begins at byte 640, not 576");  // a hole
  expect(fault_after(offset(1, uint64_t(-64))), "section \"nothing\" begins at byte 18446744073709551552");
  expect(fault_after(bytes(3, 2)), "section \"größe\" ends behind the file");
  expect(fault_after(bytes(2, (uint64_t{1} << 30) + 1)),
         "section \"parts\" has 1073741825 bytes, more than 1073741824");
  expect(fault_after(bytes(2, uint64_t(-1))), "section \"parts\" has 18446744073709551615 bytes");
  expect(fault_after(bytes(3, 0)), "1 bytes stand behind its last section");
  expect(fault_after(name(0, "parts")), "section \"parts\" is there twice");
  expect(fault_after(name(0, "")), "the name of section \"\" is empty");
  expect(fault_after(name(0, "a\nb")), "the name of section \"a\\x0ab\" has a control character");
  expect(fault_after(name(0, "\xc3")), "is no UTF-8");
  expect(fault_after(name(0, "\xed\xa0\x80")), "is no UTF-8");  // a surrogate
  expect(fault_after(name(0, std::string(32, 'n'))), "is longer than 31 bytes");
}

TEST(SidecarFile, JsonIsReadOnlyAsFarAsItIsSafe) {
  const auto fault = [](const std::string& text) {
    const SidecarSection section{"report", as_bytes(text)};
    const Bytes bytes = sidecar_bytes(std::span(&section, 1)).value();
    const SidecarFile file = SidecarFile::from_bytes(bytes).value();
    const auto json = file.json("report");
    EXPECT_EQ(json ? *json : text, text);
    return json ? std::string() : json.error().message;
  };
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(fault(nested(16)), "");
  EXPECT_EQ(fault(nested(17)),
            "sidecar: section \"report\": nested deeper than 16 at byte 16: give a file that fathom wrote");
  EXPECT_NE(fault(std::string(1 << 20, '[')).find("nested deeper"), std::string::npos);
  EXPECT_EQ(fault("[\"" + std::string(100, '[') + "\\\"[[\"]"), "") << "brackets inside a string are no depth";
  EXPECT_EQ(fault("{\"a\":1} x"), "sidecar: section \"report\": no JSON at byte 9: give a file that fathom wrote");
  EXPECT_EQ(fault(""), "sidecar: section \"report\": no JSON at byte 1: give a file that fathom wrote");
  EXPECT_NE(fault("\"\xff\""), "");
  EXPECT_EQ(fault("1e999"), "sidecar: section \"report\": a number is out of range: give a file that fathom wrote");
  std::string longest(kMaxJsonSectionBytes, 'a');
  longest.front() = longest.back() = '"';
  EXPECT_EQ(fault(longest), "");
  EXPECT_NE(fault(longest + " ").find("8388609 bytes of at most 8388608"), std::string::npos);
}

TEST(SidecarFile, WhatCannotBeWrittenIsRefusedByName) {
  const auto fault = [](const std::vector<SidecarSection>& sections) {
    const auto bytes = sidecar_bytes(sections);
    return bytes ? std::string() : bytes.error().message;
  };
  EXPECT_EQ(fault({}), "0 sections: give 1 to 64");
  std::vector<SidecarSection> many;
  for (int i = 0; i < 64; ++i) many.push_back({std::to_string(i), {}});
  EXPECT_EQ(fault(many), "");
  many.push_back({"one more", {}});
  EXPECT_EQ(fault(many), "65 sections: give 1 to 64");
  EXPECT_EQ(fault({{std::string(31, 'n'), {}}}), "");
  EXPECT_NE(fault({{std::string(32, 'n'), {}}}).find("is longer than 31 bytes: give another"), std::string::npos);
  EXPECT_EQ(fault({{"", {}}}), "the name of section \"\" is empty: give another");
  EXPECT_EQ(fault({{"a", {}}, {"a", {}}}), "the name of section \"a\" is there twice: give another");
  EXPECT_EQ(fault({{std::string("a\0b", 3), {}}}),
            "the name of section \"a\\x00b\" has a control character: give another");
  static const std::byte kOne{};
  EXPECT_EQ(fault({{"parts", {&kOne, (size_t{1} << 30) + 1}}}),  // refused before it is read
            "section \"parts\": 1073741825 bytes: give at most 1073741824");
}

TEST(SidecarFile, OpensNothingButARegularFile) {
  const TemporaryFolder folder;
  const auto fault = [](const std::string& path) {
    const auto file = SidecarFile::open(path);
    EXPECT_FALSE(file.has_value()) << path;
    return file ? std::string() : file.error().message;
  };
  testing::write_bytes(folder / "empty", "");
  testing::write_bytes(folder / "text", "GGUF and more");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_NE(fault(folder / "none").find("No such file"), std::string::npos);
  EXPECT_NE(fault(folder / "empty").find("is empty: give a sidecar that fathom calibrate wrote"), std::string::npos);
  EXPECT_NE(fault(folder / "pipe").find("is not a regular file"), std::string::npos);
  EXPECT_NE(fault(folder.path()).find("is not a regular file"), std::string::npos);
  EXPECT_EQ(fault(folder / "text"),
            "sidecar " + (folder / "text") + ": is not a sidecar: give a file that fathom calibrate wrote");
}

}  // namespace
}  // namespace fathom
