// Small vocabularies for tests, made by hand.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "fathom/text/tokenizer.h"

namespace fathom {

inline TokenizerTables tables_of(const char* model, std::vector<std::string> tokens) {
  TokenizerTables tables;
  tables.model = model;
  tables.tokens = std::move(tokens);
  return tables;
}

/// In sentencepiece_tables() the byte tokens come first.
inline constexpr int32_t kFirstPiece = 256;

/// 256 byte tokens, then `tokens` as normal ones. No space prefix.
inline TokenizerTables sentencepiece_tables(const std::vector<std::string>& tokens, const std::vector<float>& scores) {
  TokenizerTables tables;
  tables.model = "llama";
  tables.add_space_prefix = false;
  for (int b = 0; b < kFirstPiece; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    tables.tokens.push_back(name);
    tables.scores.push_back(0);
    tables.kinds.push_back(TokenKind::byte);
  }
  tables.tokens.insert(tables.tokens.end(), tokens.begin(), tokens.end());
  tables.scores.insert(tables.scores.end(), scores.begin(), scores.end());
  tables.kinds.resize(tables.tokens.size(), TokenKind::normal);
  return tables;
}

/// GPT-2's name of a byte.
inline std::string byte_name(int byte) {
  int c = byte, next = 256;
  for (int b = 0; b <= byte; ++b) {
    const bool printable = (0x21 <= b && b <= 0x7E) || (0xA1 <= b && b <= 0xAC) || (0xAE <= b && b <= 0xFF);
    if (printable) continue;
    if (b == byte) c = next;
    ++next;
  }
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

/// 256 tokens of bytes (id = byte), then what the merges make. Pre-tokenizer gpt-2.
inline TokenizerTables byte_tables(const std::vector<std::string>& merges) {
  TokenizerTables tables;
  tables.model = "gpt2";
  tables.pre = "gpt-2";
  for (int b = 0; b < 256; ++b) tables.tokens.push_back(byte_name(b));
  tables.merges = merges;
  for (std::string merge : merges) {
    merge.erase(merge.find(' '), 1);
    tables.tokens.push_back(merge);
  }
  tables.kinds.resize(tables.tokens.size(), TokenKind::normal);
  return tables;
}

/// The same with control tokens "<s>" and "<s>>" at the end.
inline TokenizerTables with_controls(TokenizerTables tables) {
  for (const char* token : {"<s>", "<s>>"}) {
    tables.tokens.push_back(token);
    tables.kinds.push_back(TokenKind::control);
  }
  return tables;
}

}  // namespace fathom
