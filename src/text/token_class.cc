// Token classes, in ASCII alone: the locale has no say.
#include "fathom/text/token_class.h"

#include <algorithm>

#include "fathom/text/tokenizer.h"

namespace fathom {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_plain(char c) { return c >= '\t' && c < 127; }
bool delimits(char c) { return std::string_view("()[]{}<>\"'`,:;=+*/%&|^~\\").find(c) != std::string_view::npos; }

template <class Is>
bool any(std::string_view piece, Is is) {
  return std::any_of(piece.begin(), piece.end(), is);
}

}  // namespace

TokenClass class_of(std::string_view piece) noexcept {
  if (any(piece, is_digit)) return TokenClass::digits;
  if (piece.empty() || !std::all_of(piece.begin(), piece.end(), is_plain)) return TokenClass::other;
  if (any(piece, is_letter)) return is_space(piece.front()) ? TokenClass::word_begins : TokenClass::word_parts;
  if (any(piece, delimits)) return TokenClass::delimiters;
  return std::all_of(piece.begin(), piece.end(), is_space) ? TokenClass::spaces : TokenClass::punctuation;
}

std::vector<TokenClass> classes_of(const Tokenizer& tokenizer) {
  std::vector<TokenClass> classes;
  classes.reserve(static_cast<size_t>(tokenizer.vocab()));
  for (int32_t id = 0; id < tokenizer.vocab(); ++id) classes.push_back(class_of(tokenizer.piece(id)));
  return classes;
}

}  // namespace fathom
