// The pass over a file, in chunks: text is checked, hashed and cut at form feeds; lines are parsed one at a time.
// Next: piece_cutter.cc.
#include "src/calibrate/documents.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "src/calibrate/document_line.h"
#include "src/text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kChunk = size_t{256} << 10;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

Result<uint64_t> text_begin(const ByteSource& source) {
  char mark[3];
  FATHOM_TRY(const size_t got, source.read(0, mark));
  return uint64_t{std::string_view(mark, got) == kByteOrderMark ? kByteOrderMark.size() : 0};
}

Error no_text(const ByteSource& source, uint64_t at, char byte) {
  const std::string_view what = byte == 0 ? "it is binary, or UTF-16" : "it is binary, or of another encoding";
  return {ErrorCode::format, fmt::format("{}, byte {}: 0x{:02x} is no UTF-8 text, {}: save it as UTF-8", source.name(),
                                         at, static_cast<unsigned char>(byte), what)};
}

// The document that is being read.
class OpenDocument {
 public:
  explicit OpenDocument(uint64_t begin) : begin_(begin) {}
  void add(std::string_view text) { hash_.add(text); }

  // It ends at `end`, and the next begins behind the byte there.
  void close(uint64_t end, std::vector<Document>& documents) {
    if (!hash_.blank()) {
      Document document;
      document.offset = begin_;
      document.file_bytes = document.bytes = end - begin_;
      document.content = hash_.collapsed();
      document.exact = hash_.exact();
      documents.push_back(document);
    }
    hash_ = ContentHash();
    begin_ = end + 1;
  }

 private:
  uint64_t begin_;
  ContentHash hash_;
};

Result<void> read_text(const ByteSource& source, std::vector<Document>& documents) {
  FATHOM_TRY(uint64_t at, text_begin(source));  // of the buffer's first byte
  OpenDocument document(at);
  std::vector<char> buffer(kChunk);
  for (size_t kept = 0;;) {
    const std::span<char> room = std::span(buffer).subspan(kept);
    FATHOM_TRY(const size_t got, source.read(at + kept, room));
    const bool last = got < room.size();
    const std::string_view bytes(buffer.data(), kept + got);
    size_t begin = 0, i = 0;
    while (i < bytes.size()) {
      if (bytes[i] == '\f') {
        document.add(bytes.substr(begin, i - begin));
        document.close(at + i, documents);
        begin = ++i;
        continue;
      }
      const text::Utf8Step step = text::next_step(bytes.substr(i));
      if (step.kind == text::Utf8Step::Kind::unfinished && !last) break;
      if (step.kind != text::Utf8Step::Kind::character || bytes[i] == 0) return no_text(source, at + i, bytes[i]);
      i += step.bytes;
    }
    document.add(bytes.substr(begin, i - begin));
    kept = bytes.size() - i;
    std::memmove(buffer.data(), buffer.data() + i, kept);
    at += i;
    if (last) break;
  }
  document.close(at, documents);
  return {};
}

Result<void> read_line(const ByteSource& source, std::string_view line, Document document,
                       std::vector<Document>& documents) {
  if (line.find_first_not_of(kWhitespace) == std::string_view::npos) return {};
  auto parsed = read_document_line(line);
  if (!parsed) {
    return Error{parsed.error().code,
                 fmt::format("{}, line {}: {}", source.name(), document.line, parsed.error().message)};
  }
  ContentHash hash;
  hash.add(parsed->text);
  if (hash.blank()) return {};
  document.file_bytes = line.size();
  document.bytes = parsed->text.size();
  document.prompt = parsed->prompt;
  document.content = hash.collapsed();
  document.exact = hash.exact();
  documents.push_back(document);
  return {};
}

Result<void> read_lines(const ByteSource& source, std::vector<Document>& documents) {
  Document next;
  next.line = 1;
  FATHOM_TRY(next.offset, text_begin(source));
  std::string buffer;  // from next.offset on
  for (bool last = false; !last;) {
    size_t searched = buffer.size();
    if (searched > kMostLineBytes) {
      return Error{ErrorCode::capacity, fmt::format("{}, line {}: longer than {} bytes: cut it into several documents",
                                                    source.name(), next.line, kMostLineBytes)};
    }
    buffer.resize(searched + kChunk);
    FATHOM_TRY(const size_t got, source.read(next.offset + searched, std::span(buffer).subspan(searched)));
    buffer.resize(searched + got);
    last = got < kChunk;
    size_t begin = 0;
    for (size_t end; begin < buffer.size(); begin = end + 1, searched = begin) {
      end = std::min(buffer.find('\n', searched), buffer.size());
      if (end == buffer.size() && !last) break;
      FATHOM_TRY(read_line(source, std::string_view(buffer).substr(begin, end - begin), next, documents));
      next.offset += end + 1 - begin;
      ++next.line;
    }
    buffer.erase(0, std::min(begin, buffer.size()));
  }
  return {};
}

}  // namespace

bool is_jsonl(std::string_view path) { return path.ends_with(".jsonl"); }

Result<void> read_documents(const ByteSource& source, bool jsonl, std::vector<Document>& documents) {
  const size_t before = documents.size();
  FATHOM_TRY(jsonl ? read_lines(source, documents) : read_text(source, documents));
  if (documents.size() > before) return {};
  return Error{ErrorCode::format, fmt::format("{}: no text in its {} bytes: give a file with text, or leave it out",
                                              source.name(), source.bytes())};
}

Result<void> DocumentFiles::add(const std::string& path, int32_t group, std::vector<Document>& documents) {
  FATHOM_TRY(const ByteSource source, ByteSource::open(path));
  const size_t before = documents.size();
  FATHOM_TRY(read_documents(source, is_jsonl(path), documents));
  for (size_t i = before; i < documents.size(); ++i) {
    documents[i].group = group;
    documents[i].file = static_cast<int32_t>(paths_.size());
  }
  paths_.push_back(path);
  stamps_.push_back(source.stamp());
  return {};
}

Result<std::string_view> DocumentFiles::bytes_of(const Document& document, uint64_t offset, uint64_t bytes) {
  const auto file = static_cast<size_t>(document.file);
  if (open_file_ != document.file) {
    FATHOM_TRY(auto source, ByteSource::open(paths_[file]));
    open_ = std::move(source);
    open_file_ = document.file;
  }
  buffer_.resize(bytes);
  FATHOM_TRY(const size_t got, open_->read(offset, buffer_));
  if (got == bytes && open_->stamp() == stamps_[file]) return std::string_view(buffer_.data(), got);
  return Error{ErrorCode::file,
               fmt::format("{}: changed while it was read: run again when nothing writes to it", open_->name())};
}

Result<void> DocumentFiles::load_line(const Document& document) {
  if (text_file_ == document.file && text_line_ == document.line) return {};
  FATHOM_TRY(const std::string_view bytes, bytes_of(document, document.offset, document.file_bytes));
  auto line = read_document_line(bytes);
  if (!line || line->text.size() != document.bytes) {
    return Error{ErrorCode::file, fmt::format("{}, line {}: changed while it was read: run again when nothing writes "
                                              "to it",
                                              open_->name(), document.line)};
  }
  text_ = std::move(line->text);
  id_ = std::move(line->id);
  text_file_ = document.file;
  text_line_ = document.line;
  return {};
}

Result<std::string_view> DocumentFiles::read(const Document& document, uint64_t offset, uint64_t bytes) {
  offset = std::min(offset, document.bytes);
  bytes = std::min(bytes, document.bytes - offset);
  if (document.line == 0) return bytes_of(document, document.offset + offset, bytes);
  FATHOM_TRY(load_line(document));
  return std::string_view(text_).substr(offset, bytes);
}

Result<std::string> DocumentFiles::id(const Document& document) {
  if (document.line == 0) return std::string();
  FATHOM_TRY(load_line(document));
  return id_;
}

}  // namespace fathom
