// Files of random text in a folder that goes away, and the text that a piece says it is of.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fathom/calibrate/pieces.h"
#include "src/calibrate/random.h"

namespace fathom::testing {

class TextFiles {
 public:
  TextFiles() : folder_(::testing::TempDir() + "fathom_pieces_" + std::to_string(getpid()) + "_" + next()) {
    std::filesystem::create_directories(folder_);
  }
  TextFiles(const TextFiles&) = delete;
  ~TextFiles() { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& file) const { return folder_ + "/" + file; }

  std::string write(const std::string& file, std::string_view bytes) const {
    std::ofstream(path(file), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path(file);
  }

 private:
  static std::string next() {
    static int n = 0;
    return std::to_string(n++);
  }
  std::string folder_;
};

/// Words of one to eight characters, some of two to four bytes, and now and then a new line.
inline std::string random_text(size_t n_words, Random& random) {
  constexpr const char* kRare[] = {"\xC3\xA4", "\xC3\xA9", "\xE6\xB0\xB4", "\xE2\x82\xAC", "\xF0\x9F\x90\x9F"};
  std::string text;
  for (size_t w = 0; w < n_words; ++w) {
    if (w > 0) text += random.below(10) == 0 ? '\n' : ' ';
    for (uint64_t n = 1 + random.below(8); n > 0; --n) {
      if (random.below(12) == 0) {
        text += kRare[random.below(std::size(kRare))];
      } else {
        text += static_cast<char>('a' + random.below(26));
      }
    }
  }
  return text;
}

inline std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The document's text, read in another way.
inline std::string text_of(const PieceDocument& document) {
  const std::string file = contents(document.path).substr(static_cast<size_t>(document.offset));
  if (document.line == 0) return file.substr(0, file.find('\f'));
  const auto line = nlohmann::json::parse(file.substr(0, file.find('\n')));
  return line.contains("text") ? line["text"] : line["prompt"];
}

inline std::string text_of(const Pieces& pieces, const Piece& piece) {
  return text_of(pieces.documents[static_cast<size_t>(piece.document)])
      .substr(static_cast<size_t>(piece.offset), static_cast<size_t>(piece.bytes));
}

/// `n` documents between form feeds.
inline std::string random_documents(size_t n, size_t n_words, Random& random) {
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    if (i > 0) text += '\f';
    text += random_text(n_words / 2 + random.below(n_words), random);
  }
  return text;
}

}  // namespace fathom::testing
