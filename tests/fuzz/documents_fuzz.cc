// libFuzzer on files of text: any bytes give documents or an Error of one line, each document can be read again as it
// was hashed, and pieces lie inside their documents. The first byte chooses: JSONL or plain text.
// Next: tests/calibrate/documents_test.cc, which names the errors.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "fathom/calibrate/pieces.h"
#include "src/calibrate/document_line.h"
#include "src/calibrate/documents.h"

namespace {

using namespace fathom;

void check(bool condition) {
  if (!condition) __builtin_trap();
}

Tokenizer byte_tokenizer() {
  TokenizerTables tables;
  tables.model = "llama";
  tables.add_space_prefix = false;
  for (int b = 0; b < 256; ++b) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    tables.tokens.push_back(std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + ">");
    tables.kinds.push_back(TokenKind::byte);
    tables.scores.push_back(0);
  }
  tables.tokens.push_back("\xE2\x96\x81");  // a space, which would be three bytes otherwise
  tables.kinds.push_back(TokenKind::normal);
  tables.scores.push_back(0);
  return Tokenizer::make(tables).value();
}

// A file of this process that takes one input after the other.
const std::string& path_of(bool jsonl) {
  static const std::string paths[] = {"/tmp/documents_fuzz_" + std::to_string(getpid()) + ".txt",
                                      "/tmp/documents_fuzz_" + std::to_string(getpid()) + ".jsonl"};
  static const int at_end = std::atexit([] {
    for (const std::string& path : paths) unlink(path.c_str());
  });
  (void)at_end;
  return paths[jsonl];
}

void write(const std::string& path, std::string_view bytes) {
  FILE* file = std::fopen(path.c_str(), "wb");
  check(file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  std::fclose(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool jsonl = data[0] & 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  std::vector<Document> documents;
  const auto read = read_documents(ByteSource::from_bytes("input", {bytes.data(), bytes.size()}), jsonl, documents);
  if (!read) return check(!read.error().message.empty() && read.error().message.find('\n') == std::string::npos), 0;
  check(!documents.empty());
  for (const Document& document : documents) {
    const std::string_view part = bytes.substr(document.offset, document.file_bytes);
    const std::string text = jsonl ? read_document_line(part).value().text : std::string(part);
    ContentHash hash;
    for (const char& c : text) hash.add({&c, 1});
    check(text.size() == document.bytes && hash.collapsed() == document.content && hash.exact() == document.exact);
  }

  static const Tokenizer tokenizer = byte_tokenizer();
  write(path_of(jsonl), bytes);
  const std::vector<GroupData> groups = {{"group", {path_of(jsonl)}}};
  const auto pieces =
      sample_pieces(tokenizer, groups, {.piece_tokens = 4, .n_fit = 4, .n_choose = 4, .n_report = 4, .seed = data[0]});
  if (!pieces) return check(pieces.error().message.find('\n') == std::string::npos), 0;
  for (const Piece& piece : pieces->pieces) {
    check(piece.offset >= 0 && piece.bytes >= static_cast<int64_t>(piece.tokens.size()));
    check(piece.prompt ? !piece.tokens.empty() : piece.tokens.size() == 4);
  }
  return 0;
}
