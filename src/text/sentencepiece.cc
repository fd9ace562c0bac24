// SentencePiece BPE. Characters are merged by the score of what they make, the best first, the leftmost among equals.
// A border between two characters that are neighbours in no token is never merged across, so the text is cut there and
// the pieces are merged each alone: the order of merges that do not touch cannot matter.
#include "src/text/sentencepiece.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <unordered_map>

#include "src/text/utf8.h"

namespace fathom::text {
namespace {

std::string with_visible_spaces(std::string_view text, bool prefix) {
  std::string dst;
  dst.reserve(text.size() + text.size() / 2);
  if (prefix) dst.append(kSpaceMark);
  for (const char c : text) {
    if (c == ' ') {
      dst.append(kSpaceMark);
    } else {
      dst.push_back(c);
    }
  }
  return dst;
}

}  // namespace

int named_byte(std::string_view token) {
  const auto digit = [](char c) {
    return '0' <= c && c <= '9'   ? c - '0'
           : 'A' <= c && c <= 'F' ? c - 'A' + 10
           : 'a' <= c && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

struct SentencePieceBpe::Run {
  std::string text;  // with visible spaces
  std::vector<int32_t>* ids;
  std::vector<Symbol> symbols;  // of the stretch at hand
  MergeScratch scratch;
  std::unordered_map<std::string_view, uint32_t> left_bytes;  // of unused tokens: where they were put together last
  bool after_unknown = false;

  std::string_view piece(uint32_t begin, uint32_t size) const { return std::string_view(text).substr(begin, size); }
};

SentencePieceBpe::SentencePieceBpe(const TokenizerTables& tables, const TokenIndex& index, size_t special_bytes)
    : tables_(&tables), index_(&index), user_defined_(special_bytes), unknown_(tables.unknown) {
  bytes_.fill(-1);
}

Result<SentencePieceBpe> SentencePieceBpe::make(const TokenizerTables& tables, const TokenIndex& index) {
  const auto n = static_cast<int32_t>(tables.tokens.size());
  if (tables.scores.empty()) {
    return Error{ErrorCode::format,
                 "tokenizer.ggml.scores is missing: a llama tokenizer needs a score for every token"};
  }
  size_t special_bytes = 0;
  for (int32_t id = 0; id < n; ++id) {
    if (tables.kinds[id] == TokenKind::user_defined) special_bytes += kSpaceMark.size() * tables.tokens[id].size();
  }
  SentencePieceBpe made(tables, index, special_bytes);
  std::string storage;
  for (int32_t id = 0; id < n; ++id) {
    const std::string& token = tables.tokens[id];
    if (std::isnan(tables.scores[id])) {
      return Error{ErrorCode::format,
                   fmt::format("tokenizer.ggml.scores[{}] is not a number: convert the model again", id)};
    }
    switch (tables.kinds[id]) {
      case TokenKind::byte: {
        const int byte = named_byte(token);
        if (byte < 0) {
          return Error{ErrorCode::format,
                       fmt::format("token {} is a byte token but not of the form <0xNN>: convert the model again", id)};
        }
        made.bytes_[byte] = id;
        break;
      }
      case TokenKind::user_defined:
        if (!token.empty()) made.user_defined_.add(with_visible_spaces(token, false), id);
        break;
      case TokenKind::unknown:
        if (made.unknown_ < 0) made.unknown_ = id;
        break;
      case TokenKind::unused:
        made.has_unused_ = true;
        [[fallthrough]];
      case TokenKind::normal: {
        const std::string_view valid = valid_text(token, storage);
        uint32_t last = 0;
        for (size_t i = 0; i < valid.size(); i += char_bytes(static_cast<unsigned char>(valid[i]))) {
          const uint32_t c = code_point(valid.data() + i);
          if (i > 0) made.inside_.add(last, c);
          last = c;
        }
        break;
      }
      case TokenKind::control:
        break;
    }
  }
  return made;
}

// The token that merging may make of a text, -1: none.
int32_t SentencePieceBpe::mergeable(std::string_view token) const noexcept {
  const int32_t id = index_->find(token);
  if (id < 0) return -1;
  const TokenKind kind = tables_->kinds[id];
  return kind == TokenKind::normal || kind == TokenKind::unused ? id : -1;
}

// Scores as integers whose order is turned around: the best score is the lowest.
uint32_t SentencePieceBpe::priority(int32_t id) const noexcept {
  const auto bits = std::bit_cast<uint32_t>(tables_->scores[id] + 0.0f);  // -0 becomes 0
  return bits >> 31 != 0 ? bits : ~(bits | 0x80000000u);
}

Result<void> SentencePieceBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return {};
  Run run{with_visible_spaces(text, tables_->add_space_prefix), &ids};
  const std::string_view all = run.text;
  uint32_t last = 0;
  for (size_t pos = 0; pos < all.size();) {
    const SpecialMatcher::Match match = user_defined_.longest(all.substr(pos));
    if (match.id >= 0 && !has_unused_) {
      FATHOM_TRY(finish_stretch(run));
      ids.push_back(match.id);
      run.after_unknown = false;
      pos += match.bytes;
      continue;
    }
    const uint32_t c = code_point(all.data() + pos);
    const size_t size = match.id >= 0 ? match.bytes : char_bytes(static_cast<unsigned char>(all[pos]));
    if (!run.symbols.empty() && !has_unused_ && !inside_.may_hold(last, c)) FATHOM_TRY(finish_stretch(run));
    run.symbols.push_back({static_cast<uint32_t>(pos), static_cast<uint32_t>(size), match.id, match.id >= 0});
    last = c;
    pos += size;
  }
  return finish_stretch(run);
}

Result<void> SentencePieceBpe::finish_stretch(Run& run) const {
  const auto lookup = [&](const Symbol& left, const Symbol& right) -> Merge {
    const std::string_view merged = run.piece(left.begin, left.size + right.size);
    const int32_t id = mergeable(merged);
    if (id < 0) return {};
    if (has_unused_ && tables_->kinds[id] == TokenKind::unused) run.left_bytes[merged] = left.size;
    return {priority(id), id};
  };
  if (run.symbols.size() <= kShortWord && !has_unused_) {
    merge_short(run.symbols, run.scratch, lookup);
  } else {
    merge_long(run.symbols, run.scratch, lookup);
  }
  for (const Symbol& s : run.symbols) {
    const std::string_view piece = run.piece(s.begin, s.size);
    const int32_t id = s.id >= 0 ? s.id : mergeable(piece);
    if (id >= 0 && tables_->kinds[id] == TokenKind::unused) {
      FATHOM_TRY(append_resegmented(run, piece, id));
    } else {
      FATHOM_TRY(append(run, piece, id));
    }
  }
  run.symbols.clear();
  return {};
}

// One piece: its token, or the tokens of its bytes, or one unknown token for as many as follow one another.
Result<void> SentencePieceBpe::append(Run& run, std::string_view piece, int32_t id) const {
  if (id >= 0) {
    run.ids->push_back(id);
    run.after_unknown = false;
    return {};
  }
  const bool has_bytes =
      std::all_of(piece.begin(), piece.end(), [&](char c) { return bytes_[static_cast<unsigned char>(c)] >= 0; });
  if (has_bytes) {
    for (const char c : piece) run.ids->push_back(bytes_[static_cast<unsigned char>(c)]);
    run.after_unknown = false;
    return {};
  }
  if (unknown_ < 0) {
    return Error{ErrorCode::format,
                 fmt::format("character U+{:04X} has no token, and the vocabulary has neither its bytes nor an "
                             "unknown token: leave it out of the text",
                             code_point(piece.data()))};
  }
  if (!run.after_unknown) run.ids->push_back(unknown_);
  run.after_unknown = true;
  return {};
}

// An unused token never comes out: it is taken apart where it was put together, and so on.
Result<void> SentencePieceBpe::append_resegmented(Run& run, std::string_view piece, int32_t id) const {
  std::vector<std::pair<std::string_view, int32_t>> open = {{piece, id}};
  while (!open.empty()) {
    const auto [text, token] = open.back();
    open.pop_back();
    const auto at =
        token >= 0 && tables_->kinds[token] == TokenKind::unused ? run.left_bytes.find(text) : run.left_bytes.end();
    if (at == run.left_bytes.end()) {
      FATHOM_TRY(append(run, text, token));
      continue;
    }
    const std::string_view left = text.substr(0, at->second), right = text.substr(at->second);
    open.emplace_back(right, mergeable(right));
    open.emplace_back(left, mergeable(left));
  }
  return {};
}

}  // namespace fathom::text
