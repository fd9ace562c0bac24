// Documents: where the texts of a file begin and end, and what each is, found in one pass; then any part of them.
// Next: piece_cutter.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/calibrate/byte_source.h"
#include "src/calibrate/content_hash.h"

namespace fathom {

struct Document {
  int32_t group = 0;
  int32_t file = 0;         // index into the DocumentFiles' paths
  bool prompt = false;      // the model continues it
  int64_t line = 0;         // of a JSONL file, from 1; 0: the file is plain text
  uint64_t offset = 0;      // in the file: of the text, or of the line
  uint64_t file_bytes = 0;  // there
  uint64_t bytes = 0;       // of the text
  Hash128 content;          // whatever whitespace stands between its words
  Hash128 exact;
};

inline constexpr size_t kMostLineBytes = size_t{16} << 20;

/// Appends the documents of a source that are not blank; `group` and `file` are the caller's to fill.
///   jsonl    one object a line, blank lines aside; otherwise text between form feeds
///   errors   as sample_pieces(); format: there is no text
///   memory   a quarter of a megabyte, or a line
Result<void> read_documents(const ByteSource& source, bool jsonl, std::vector<Document>& documents);

bool is_jsonl(std::string_view path);

/// The files of documents. The last file and line read stay at hand, nothing else does.
class DocumentFiles {
 public:
  /// Reads the documents of one more file.
  Result<void> add(const std::string& path, int32_t group, std::vector<Document>& documents);

  /// At most `bytes` of a document's text from `offset` on; less at its end only. Valid until the next call.
  ///   errors   file: the file is not what it was
  Result<std::string_view> read(const Document& document, uint64_t offset, uint64_t bytes);

  /// What the document's line calls it.
  Result<std::string> id(const Document& document);

  const std::string& path(const Document& document) const { return paths_[static_cast<size_t>(document.file)]; }

 private:
  Result<std::string_view> bytes_of(const Document& document, uint64_t offset, uint64_t bytes);
  Result<void> load_line(const Document& document);

  std::vector<std::string> paths_;
  std::vector<ByteSource::Stamp> stamps_;
  std::optional<ByteSource> open_;
  int32_t open_file_ = -1;
  std::vector<char> buffer_;
  std::string text_, id_;  // of the line at text_line_ of text_file_
  int32_t text_file_ = -1;
  int64_t text_line_ = 0;
};

}  // namespace fathom
