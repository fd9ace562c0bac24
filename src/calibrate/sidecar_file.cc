// The container of a sidecar: its layout, a reader that believes nothing, a writer that leaves no half file.
// Next in the flow: manifest.cc.
//
//   file      header, table, sections
//   header    64 bytes
//      0      "FATHOMSC"
//      8      format (u32): 1
//     12      number of sections (u32): 1 to 64
//     16      bytes of the file (u64)
//     24      XXH3-64 of header and table, this number taken as zero (u64)
//     32      zeros
//   table     64 bytes for each section
//      0      name, zeros behind it: 1 to 31 bytes of printable UTF-8, no two alike
//     32      offset in the file (u64)
//     40      bytes (u64): at most 2^30
//     48      XXH3-64 of them (u64)
//     56      zeros
//   sections  in the table's order; each begins at the next multiple of 64 behind the one before, with zeros between;
//             the file ends where the last one does
//
// Numbers are little-endian. No byte of a file is free: equal sections make equal files, and a file that differs in any
// byte from what was written is refused.
#include "fathom/calibrate/sidecar_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_set>
#include <utility>

#include "src/calibrate/sidecar_layout.h"
#include "src/calibrate/whole_file.h"
#include "src/model/mapped_file.h"
#include "src/text/json_fields.h"
#include "src/text/utf8.h"

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {
namespace {

using namespace sidecar_layout;
using Bytes = std::span<const std::byte>;

Error bad(std::string_view what) {
  return {ErrorCode::format, fmt::format("{}: copy it again, or calibrate again", what)};
}

uint64_t hash_of(Bytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

/// Of header and table, the checksum's own place taken as zeros.
uint64_t checksum(Bytes head) {
  constexpr uint64_t kZero = 0;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, head.data(), kChecksumAt);
  XXH3_64bits_update(&state, &kZero, sizeof kZero);
  XXH3_64bits_update(&state, head.data() + kChecksumAt + 8, head.size() - kChecksumAt - 8);
  return XXH3_64bits_digest(&state);
}

bool zeros(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// What is wrong with a name; empty: nothing.
std::string_view fault_of_name(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxSectionName) return "is longer than 31 bytes";
  for (size_t at = 0; at < name.size();) {
    const text::Utf8Step step = text::next_step(name.substr(at));
    if (step.kind != text::Utf8Step::Kind::character) return "is no UTF-8";
    if (static_cast<unsigned char>(name[at]) < 0x20 || name[at] == 0x7F) return "has a control character";
    at += step.bytes;
  }
  return {};
}

/// Magic and format, before anything that another format may have elsewhere.
Result<void> check_kind(Bytes file) {
  if (file.size() < kSidecarStart.size() || std::memcmp(file.data(), kSidecarStart.data(), kSidecarStart.size()) != 0) {
    return Error{ErrorCode::format, "is not a sidecar: give a file that fathom calibrate wrote"};
  }
  if (file.size() < kHeaderBytes) return bad("is cut off inside its header");
  const auto format = load<uint32_t>(file, kFormatAt);
  if (format > kSidecarFormat) {
    return Error{
        ErrorCode::unsupported,
        fmt::format("written by a newer Fathom (format {}, this one reads {}): update Fathom or calibrate again",
                    format, kSidecarFormat)};
  }
  if (format == 0) return bad("is damaged: there is no format 0");
  return {};
}

/// Header and table, whose bytes it returns.
Result<Bytes> check_head(Bytes file) {
  const auto count = load<uint32_t>(file, kCountAt);
  if (count == 0 || count > kMaxSidecarSections) {
    return bad(fmt::format("has {} sections, not 1 to {}", count, kMaxSidecarSections));
  }
  const size_t size = kHeaderBytes + count * kEntryBytes;
  if (file.size() < size) return bad("is cut off inside its table of sections");
  const Bytes head = file.first(size);
  if (load<uint64_t>(head, kChecksumAt) != checksum(head)) return bad("its header or table of sections is damaged");
  if (!zeros(head.subspan(kHeaderEnd, kHeaderBytes - kHeaderEnd)))
    return bad("its header holds more than format 1 has");
  const auto bytes = load<uint64_t>(head, kFileBytesAt);
  if (bytes != file.size()) return bad(fmt::format("has {} bytes of {}", file.size(), bytes));
  return head;
}

/// One entry and what it leads to; `end` is where the section before ended, and moves on.
Result<SidecarSection> read_section(Bytes file, Bytes entry, uint64_t& end) {
  const Bytes place = entry.first(kNameBytes);
  const auto zero = std::find(place.begin(), place.end(), std::byte{0});
  const std::string name(reinterpret_cast<const char*>(place.data()), static_cast<size_t>(zero - place.begin()));
  const std::string shown = text::printable(name);
  if (const std::string_view fault = fault_of_name(name); !fault.empty()) {
    return bad(fmt::format("the name of section \"{}\" {}", shown, fault));
  }
  if (!zeros(place.subspan(name.size())) || !zeros(entry.subspan(kEntryEnd))) {
    return bad(fmt::format("the entry of section \"{}\" holds more than format 1 has", shown));
  }
  const auto offset = load<uint64_t>(entry, kOffsetAt), bytes = load<uint64_t>(entry, kBytesAt);
  if (bytes > kMaxSectionBytes) {
    return bad(fmt::format("section \"{}\" has {} bytes, more than {}", shown, bytes, kMaxSectionBytes));
  }
  if (offset != aligned(end)) {
    return bad(fmt::format("section \"{}\" begins at byte {}, not {}", shown, offset, aligned(end)));
  }
  if (offset > file.size() || bytes > file.size() - offset) {
    return bad(fmt::format("section \"{}\" ends behind the file", shown));
  }
  if (!zeros(file.subspan(end, offset - end))) {
    return bad(fmt::format("the bytes before section \"{}\" are damaged", shown));
  }
  const Bytes content = file.subspan(offset, bytes);
  if (hash_of(content) != load<uint64_t>(entry, kHashAt)) {
    return bad(fmt::format("section \"{}\" is damaged: its checksum does not match", shown));
  }
  end = offset + bytes;
  return SidecarSection{name, content};
}

Result<std::vector<SidecarSection>> read_sections(Bytes file) {
  FATHOM_TRY(check_kind(file));
  FATHOM_TRY(const Bytes head, check_head(file));
  std::vector<SidecarSection> sections;
  std::unordered_set<std::string> names;
  uint64_t end = head.size();
  for (size_t at = kHeaderBytes; at < head.size(); at += kEntryBytes) {
    FATHOM_TRY(SidecarSection section, read_section(file, head.subspan(at, kEntryBytes), end));
    if (!names.insert(section.name).second) {
      return bad(fmt::format("section \"{}\" is there twice", text::printable(section.name)));
    }
    sections.push_back(std::move(section));
  }
  if (end != file.size()) return bad(fmt::format("{} bytes stand behind its last section", file.size() - end));
  return sections;
}

Result<void> check_sections(std::span<const SidecarSection> sections) {
  if (sections.empty() || sections.size() > kMaxSidecarSections) {
    return Error{ErrorCode::argument, fmt::format("{} sections: give 1 to {}", sections.size(), kMaxSidecarSections)};
  }
  std::unordered_set<std::string_view> names;
  for (const SidecarSection& section : sections) {
    std::string_view fault = fault_of_name(section.name);
    if (fault.empty() && !names.insert(section.name).second) fault = "is there twice";
    if (!fault.empty()) {
      return Error{ErrorCode::argument,
                   fmt::format("the name of section \"{}\" {}: give another", text::printable(section.name), fault)};
    }
    if (section.bytes.size() > kMaxSectionBytes) {
      return Error{ErrorCode::capacity, fmt::format("section \"{}\": {} bytes: give at most {}", section.name,
                                                    section.bytes.size(), kMaxSectionBytes)};
    }
  }
  return {};
}

/// Header and table of sections that were checked.
std::vector<std::byte> make_head(std::span<const SidecarSection> sections) {
  std::vector<std::byte> head(kHeaderBytes + sections.size() * kEntryBytes);
  uint64_t end = head.size();
  for (size_t i = 0; i < sections.size(); ++i) {
    const std::span<std::byte> entry = std::span(head).subspan(kHeaderBytes + i * kEntryBytes, kEntryBytes);
    std::memcpy(entry.data(), sections[i].name.data(), sections[i].name.size());
    store(entry, kOffsetAt, aligned(end));
    store(entry, kBytesAt, uint64_t{sections[i].bytes.size()});
    store(entry, kHashAt, hash_of(sections[i].bytes));
    end = aligned(end) + sections[i].bytes.size();
  }
  std::memcpy(head.data(), kSidecarStart.data(), kSidecarStart.size());
  store(std::span(head), kFormatAt, kSidecarFormat);
  store(std::span(head), kCountAt, static_cast<uint32_t>(sections.size()));
  store(std::span(head), kFileBytesAt, end);
  store(std::span(head), kChecksumAt, checksum(head));
  return head;
}

/// The whole file in pieces, of which the first is `head`.
std::vector<Bytes> pieces_of(Bytes head, std::span<const SidecarSection> sections) {
  static constexpr std::byte kZeros[kSectionAlign] = {};
  std::vector<Bytes> pieces = {head};
  uint64_t end = head.size();
  for (const SidecarSection& section : sections) {
    pieces.emplace_back(kZeros, static_cast<size_t>(aligned(end) - end));
    pieces.push_back(section.bytes);
    end = aligned(end) + section.bytes.size();
  }
  return pieces;
}

}  // namespace

void sidecar_layout::seal(std::span<std::byte> file) {
  if (file.size() < kHeaderBytes) return;
  const size_t count = std::min<size_t>(load<uint32_t>(file, kCountAt), (file.size() - kHeaderBytes) / kEntryBytes);
  for (size_t i = 0; i < count; ++i) {
    const std::span<std::byte> entry = file.subspan(kHeaderBytes + i * kEntryBytes, kEntryBytes);
    const auto offset = load<uint64_t>(entry, kOffsetAt), bytes = load<uint64_t>(entry, kBytesAt);
    if (offset > file.size() || bytes > file.size() - offset) continue;
    store(entry, kHashAt, hash_of(file.subspan(offset, bytes)));
  }
  store(file, kChecksumAt, checksum(file.first(kHeaderBytes + count * kEntryBytes)));
}

struct SidecarFile::Impl {
  std::string path = {};                  // empty: bytes in memory
  std::optional<MappedFile> mapped = {};  // before what points into it
  Bytes bytes = {};
  std::vector<SidecarSection> sections = {};

  /// The file's name in errors.
  std::string name() const { return path.empty() ? "sidecar" : "sidecar " + path; }
  Error with_name(Error error) const {
    error.message = fmt::format("{}: {}", name(), error.message);
    return error;
  }
};

SidecarFile::SidecarFile(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Result<SidecarFile> SidecarFile::open(const std::string& path) {
  auto impl = std::make_shared<Impl>();
  FATHOM_TRY(MappedFile mapped, MappedFile::open(path, "a sidecar that fathom calibrate wrote"));
  impl->path = path;
  impl->mapped.emplace(std::move(mapped));
  impl->bytes = impl->mapped->bytes();
  auto sections = read_sections(impl->bytes);
  FATHOM_TRY(impl->mapped->check_unchanged());
  if (!sections) return impl->with_name(std::move(sections).error());
  impl->sections = *std::move(sections);
  return SidecarFile(std::move(impl));
}

Result<SidecarFile> SidecarFile::from_bytes(std::span<const std::byte> bytes) {
  auto impl = std::make_shared<Impl>();
  impl->bytes = bytes;
  auto sections = read_sections(bytes);
  if (!sections) return impl->with_name(std::move(sections).error());
  impl->sections = *std::move(sections);
  return SidecarFile(std::move(impl));
}

std::span<const SidecarSection> SidecarFile::sections() const noexcept { return impl_->sections; }
std::span<const std::byte> SidecarFile::bytes() const noexcept { return impl_->bytes; }
const std::string& SidecarFile::path() const noexcept { return impl_->path; }

const SidecarSection* SidecarFile::find(std::string_view name) const noexcept {
  for (const SidecarSection& section : impl_->sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

Result<std::span<const std::byte>> SidecarFile::section(std::string_view name) const {
  if (const SidecarSection* found = find(name)) return found->bytes;
  return impl_->with_name(
      {ErrorCode::format, fmt::format("has no section \"{}\": calibrate again", text::printable(name))});
}

Result<std::string_view> SidecarFile::json(std::string_view name) const {
  FATHOM_TRY(const Bytes bytes, section(name));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string where = fmt::format("{}: section \"{}\"", impl_->name(), name);
  FATHOM_TRY(parse_json(text, where, {.bytes = kMaxJsonSectionBytes, .depth = kMaxJsonDepth}));
  std::string mended;
  if (text::valid_text(text, mended) != text) {
    return Error{ErrorCode::format, where + ": bytes that are no UTF-8: give a file that fathom wrote"};
  }
  return text;
}

Result<std::vector<std::byte>> sidecar_bytes(std::span<const SidecarSection> sections) {
  FATHOM_TRY(check_sections(sections));
  const std::vector<std::byte> head = make_head(sections);
  std::vector<std::byte> file;
  for (const Bytes piece : pieces_of(head, sections)) file.insert(file.end(), piece.begin(), piece.end());
  return file;
}

Result<void> write_sidecar(const std::string& path, std::span<const SidecarSection> sections) {
  FATHOM_TRY(check_sections(sections));
  const std::vector<std::byte> head = make_head(sections);
  const OutputKind kind = {.name = "sidecar", .first = kSidecarStart, .foreign = "exists and is no sidecar"};
  return write_whole_file(path, kind, pieces_of(head, sections));
}

}  // namespace fathom
