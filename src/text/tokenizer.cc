// Tokenizer: the checks of the file's tables, special tokens, and the way to the encoder of its kind.
#include "fathom/text/tokenizer.h"

#include <fmt/core.h>

#include <optional>
#include <variant>

#include "src/text/byte_bpe.h"
#include "src/text/sentencepiece.h"
#include "src/text/special_matcher.h"
#include "src/text/tokenizer_impl.h"
#include "src/text/utf8.h"
#include "src/text/wordpiece.h"

namespace fathom {
namespace {

using text::printable;

constexpr size_t kMaxTextBytes = size_t{1} << 29;  // offsets in 32 bits, spaces in three bytes
constexpr size_t kMaxTokens = size_t{1} << 24;

constexpr std::string_view kUnknownText = " \xE2\x81\x87 ";  // what sentencepiece writes for an unknown token

// Tokens at which a model has said what it had to say, beside the ones the file names.
constexpr std::string_view kEndTokens[] = {"<end_of_turn>", "<|im_end|>",      "<|eot_id|>",        "<|eom_id|>",
                                           "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>"};

Error format_error(std::string message) { return {ErrorCode::format, std::move(message)}; }

Result<void> check_lengths(const TokenizerTables& t) {
  const size_t n = t.tokens.size();
  if (n == 0) return format_error("tokenizer.ggml.tokens is empty: use model no_vocab for a file without a vocabulary");
  if (n > kMaxTokens) {
    return format_error(
        fmt::format("tokenizer.ggml.tokens has {} entries of at most {}: the file is damaged", n, kMaxTokens));
  }
  if (!t.scores.empty() && t.scores.size() != n) {
    return format_error(
        fmt::format("tokenizer.ggml.scores has {} entries for {} tokens: convert the model again", t.scores.size(), n));
  }
  if (!t.kinds.empty() && t.kinds.size() != n) {
    return format_error(fmt::format("tokenizer.ggml.token_type has {} entries for {} tokens: convert the model again",
                                    t.kinds.size(), n));
  }
  for (size_t i = 0; i < t.kinds.size(); ++i) {
    const int kind = static_cast<int>(t.kinds[i]);
    if (kind < 1 || kind > 6) {
      return format_error(
          fmt::format("tokenizer.ggml.token_type[{}] is {} of 1 to 6: convert the model again", i, kind));
    }
  }
  return {};
}

Result<void> check_ids(const TokenizerTables& t) {
  const std::pair<const char*, int32_t> ids[] = {
      {"bos", t.bos}, {"eos", t.eos}, {"unknown", t.unknown}, {"padding", t.padding}, {"eot", t.eot}};
  for (const auto& [name, id] : ids) {
    if (id < -1 || id >= static_cast<int32_t>(t.tokens.size())) {
      return format_error(fmt::format("tokenizer.ggml.{}_token_id is {} with {} tokens: convert the model again", name,
                                      id, t.tokens.size()));
    }
  }
  return {};
}

Result<text::TokenIndex> index_tokens(const TokenizerTables& t) {
  text::TokenIndex index(t.tokens.size(), &t.tokens, [](const void* tokens, int32_t id) -> std::string_view {
    return (*static_cast<const std::vector<std::string>*>(tokens))[static_cast<size_t>(id)];
  });
  for (size_t i = 0; i < t.tokens.size(); ++i) {
    const int32_t other = index.add(static_cast<int32_t>(i));
    if (other >= 0) {
      return format_error(
          fmt::format("tokens {} and {} are both \"{}\": convert the model again", other, i, printable(t.tokens[i])));
    }
    const bool special = t.kinds[i] == TokenKind::control || t.kinds[i] == TokenKind::user_defined;
    if (special && t.tokens[i].size() > text::kMaxSpecialBytes) {
      return format_error(fmt::format("special token {} has {} bytes of at most {}: the file is damaged", i,
                                      t.tokens[i].size(), text::kMaxSpecialBytes));
    }
  }
  return index;
}

// A file without kinds: what its ids and the form of its byte tokens tell.
void infer_kinds(TokenizerTables& t) {
  t.kinds.assign(t.tokens.size(), TokenKind::normal);
  for (size_t i = 0; t.model == "llama" && i < t.tokens.size(); ++i) {
    const std::string& token = t.tokens[i];
    if (token.size() == 6 && token.compare(0, 3, "<0x") == 0 && token[5] == '>') t.kinds[i] = TokenKind::byte;
  }
  for (const int32_t id : {t.bos, t.eos, t.padding, t.eot}) {
    if (id >= 0) t.kinds[id] = TokenKind::control;
  }
  if (t.unknown >= 0) t.kinds[t.unknown] = TokenKind::unknown;
}

}  // namespace

// The bytes of every token; those that differ from the token's name lie in the pool.
void Tokenizer::Impl::fill_pieces() {
  size_t bytes = 0;
  for (const std::string& token : tables.tokens) bytes += token.size();
  pool.reserve(bytes + 16);  // never grows again: the views stay
  pieces.reserve(tables.tokens.size());
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    const std::string& token = tables.tokens[i];
    const TokenKind kind = tables.kinds[i];
    const size_t begin = pool.size();
    if (kind == TokenKind::control || kind == TokenKind::unknown) {
      pieces.push_back(kind == TokenKind::control ? std::string_view(token) : kUnknownText);
      continue;
    }
    if (!marks_spaces) {
      const auto plain = kind == TokenKind::normal ? text::alphabet_bytes(token) : std::nullopt;
      if (plain) pool.append(*plain);
      pieces.push_back(plain ? std::string_view(pool).substr(begin) : std::string_view(token));
      continue;
    }
    const int byte = kind == TokenKind::byte ? text::named_byte(token) : -1;
    if (byte >= 0) {
      pool.push_back(static_cast<char>(byte));
    } else {
      for (size_t at = 0; at < token.size();) {
        const bool space = token.compare(at, text::kSpaceMark.size(), text::kSpaceMark) == 0;
        pool.push_back(space ? ' ' : token[at]);
        at += space ? text::kSpaceMark.size() : 1;
      }
    }
    pieces.push_back(std::string_view(pool).substr(begin));
  }
}

void Tokenizer::Impl::fill_specials() {
  size_t bytes = 0;
  const auto special = [&](size_t i) {
    const TokenKind kind = tables.kinds[i];
    return (kind == TokenKind::control || kind == TokenKind::user_defined) && !tables.tokens[i].empty();
  };
  for (size_t i = 0; i < tables.tokens.size(); ++i) bytes += special(i) ? tables.tokens[i].size() : 0;
  specials.emplace(bytes);
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    if (special(i)) specials->add(tables.tokens[i], static_cast<int32_t>(i));
  }
  ends.assign(tables.tokens.size(), false);
  for (const int32_t id : {tables.eos, tables.eot}) {
    if (id >= 0) ends[id] = true;
  }
  for (const std::string_view token : kEndTokens) {
    const int32_t id = index->find(token);
    if (id >= 0 && tables.kinds[id] == TokenKind::control) ends[id] = true;
  }
}

size_t Tokenizer::at_least(std::string_view text) const noexcept {
  constexpr size_t kComposes = 4;  // NFC makes a letter of at most that many times its bytes
  const auto ascii = static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return c >= 0; }));
  return (ascii + (text.size() - ascii) / kComposes) / impl_->longest;
}

Result<Tokenizer> Tokenizer::make(TokenizerTables tables) {
  auto impl = std::make_shared<Impl>();
  if (tables.model == "no_vocab" || tables.model == "none") {
    tables.bos = tables.eos = tables.unknown = tables.padding = tables.eot = -1;
    tables.add_bos = tables.add_eos = false;
    tables.tokens.clear(), tables.scores.clear(), tables.kinds.clear(), tables.merges.clear();
    impl->tables = std::move(tables);
    return Tokenizer(std::move(impl));
  }
  const bool wordpiece = tables.model == "bert";
  impl->marks_spaces = tables.model == "llama" || wordpiece;
  if (!impl->marks_spaces && tables.model != "gpt2") {
    return Error{ErrorCode::unsupported,
                 fmt::format("tokenizer.ggml.model \"{}\" is not known: models with llama, gpt2, bert or no_vocab work",
                             printable(tables.model))};
  }
  FATHOM_TRY(check_lengths(tables));
  FATHOM_TRY(check_ids(tables));
  if (tables.kinds.empty()) infer_kinds(tables);
  impl->tables = std::move(tables);
  FATHOM_TRY(text::TokenIndex index, index_tokens(impl->tables));
  impl->index.emplace(std::move(index));
  impl->fill_pieces();
  impl->fill_specials();
  for (const std::string& token : impl->tables.tokens) impl->longest = std::max(impl->longest, token.size());
  if (wordpiece) {
    FATHOM_TRY(auto encoder, text::WordPiece::make(impl->tables, *impl->index));
    impl->encoder.emplace<text::WordPiece>(std::move(encoder));
  } else if (impl->marks_spaces) {
    FATHOM_TRY(auto encoder, text::SentencePieceBpe::make(impl->tables, *impl->index));
    impl->encoder.emplace<text::SentencePieceBpe>(std::move(encoder));
  } else {
    FATHOM_TRY(auto encoder, text::ByteBpe::make(impl->tables, *impl->index, impl->pieces));
    impl->encoder.emplace<text::ByteBpe>(std::move(encoder));
    impl->index.reset();
  }
  return Tokenizer(std::move(impl));
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Result<void> Tokenizer::Impl::encode_run(std::string_view run, std::vector<int32_t>& ids) const {
  if (const auto* bpe = std::get_if<text::SentencePieceBpe>(&encoder)) return bpe->encode(run, ids);
  if (const auto* bpe = std::get_if<text::ByteBpe>(&encoder)) return bpe->encode(run, ids);
  if (const auto* pieces_of = std::get_if<text::WordPiece>(&encoder)) return pieces_of->encode(run, ids);
  return Error{ErrorCode::unsupported,
               "the model file has no vocabulary: give token ids, or a file with tokenizer tables"};
}

// Moves the text between control tokens into `run`, and encodes it whenever one is met.
Result<void> Tokenizer::Impl::encode_special(std::string_view text, std::string& run, std::vector<int32_t>& ids) const {
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const text::SpecialMatcher::Match match = specials->longest(text.substr(pos));
    const bool control = match.id >= 0 && tables.kinds[match.id] == TokenKind::control;
    if (control) {
      run.append(text.substr(begin, pos - begin));
      FATHOM_TRY(encode_run(run, ids));
      run.clear();
      ids.push_back(match.id);
    }
    pos += match.id >= 0 ? match.bytes : 1;
    if (control) begin = pos;
  }
  run.append(text.substr(begin));
  return {};
}

Result<std::vector<int32_t>> Tokenizer::encode_segments(std::span<const TextSegment> segments, bool bos) const {
  size_t bytes = 0;
  for (const TextSegment& segment : segments) {
    bytes += segment.text.size();
    if (bytes > kMaxTextBytes) {
      return Error{ErrorCode::capacity,
                   fmt::format("text of {} bytes, at most {} at once: split the text", bytes, kMaxTextBytes)};
    }
  }
  std::vector<int32_t> ids;
  if (bos && adds_bos()) ids.push_back(impl_->tables.bos);
  std::string storage;
  if (segments.size() == 1 && !segments[0].special) {
    FATHOM_TRY(impl_->encode_run(text::valid_text(segments[0].text, storage), ids));
    return ids;
  }
  std::string run;
  for (const TextSegment& segment : segments) {
    const std::string_view valid = text::valid_text(segment.text, storage);
    if (segment.special && impl_->specials) {
      FATHOM_TRY(impl_->encode_special(valid, run, ids));
    } else {
      run.append(valid);
    }
  }
  FATHOM_TRY(impl_->encode_run(run, ids));
  return ids;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const TextSegment segment{text, options.special};
  return encode_segments({&segment, 1}, options.bos);
}

std::string_view Tokenizer::piece(int32_t id, bool special) const noexcept {
  if (id < 0 || id >= vocab()) return {};
  if (impl_->tables.kinds[id] == TokenKind::control && !special) return {};
  return impl_->pieces[id];
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  StreamDecoder decoder(*this, special);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text += decoder.finish();
}

int32_t Tokenizer::vocab() const noexcept { return static_cast<int32_t>(impl_->tables.tokens.size()); }
int32_t Tokenizer::bos() const noexcept { return impl_->tables.bos; }
int32_t Tokenizer::eos() const noexcept { return impl_->tables.eos; }
bool Tokenizer::adds_bos() const noexcept { return impl_->tables.add_bos && impl_->tables.bos >= 0; }
bool Tokenizer::ends_text(int32_t id) const noexcept { return id >= 0 && id < vocab() && impl_->ends[id]; }
TokenKind Tokenizer::kind(int32_t id) const noexcept {
  return id >= 0 && id < vocab() ? impl_->tables.kinds[id] : TokenKind::unknown;
}
const TokenizerTables& Tokenizer::tables() const noexcept { return impl_->tables; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool special, bool continues)
    : tokenizer_(tokenizer),
      special_(special),
      first_(!continues && tokenizer.impl_->marks_spaces && tokenizer.impl_->tables.add_space_prefix) {}

std::string StreamDecoder::push(int32_t id) {
  std::string_view piece = tokenizer_.piece(id, special_);
  if (first_ && !piece.empty() && tokenizer_.kind(id) != TokenKind::control) {
    first_ = false;
    if (piece[0] == ' ') piece.remove_prefix(1);
  }
  pending_.append(piece);
  std::string whole;
  text::take_whole_characters(pending_, whole);
  return whole;
}

std::string StreamDecoder::finish() {
  std::string storage;
  std::string rest(text::valid_text(pending_, storage));
  pending_.clear();
  return rest;
}

}  // namespace fathom
