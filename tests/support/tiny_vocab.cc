// Three small vocabularies: SentencePiece BPE with byte tokens, byte BPE and WordPiece. Next:
// tests/support/tiny_writer.cc.
#include "tests/support/tiny_vocab.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace fathom::testing {
namespace {

enum Kind : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocab {
  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;
  std::vector<float> scores;

  void add(std::string token, Kind kind, float score = 0.0f) {
    tokens.push_back(std::move(token));
    kinds.push_back(kind);
    scores.push_back(score);
  }
  void fill(int32_t vocab) {
    if (tokens.size() > static_cast<size_t>(vocab)) throw std::invalid_argument("TinyOptions::vocab is too small");
    for (int i = 0; tokens.size() < static_cast<size_t>(vocab); ++i) add(fmt::format("<unused{}>", i), kUnused);
  }
};

/// Every merged piece is made of two that stand before it.
constexpr const char* kMerges[][2] = {{"t", "h"},   {"th", "e"}, {"i", "n"}, {"e", "r"}, {"a", "n"}, {"o", "n"},
                                      {"_", "the"}, {"_", "a"},  {"o", "u"}, {"r", "e"}, {"_", "w"}, {"an", "d"},
                                      {"_", "and"}, {"in", "g"}, {"_", "t"}, {"s", "t"}};

std::string with_space(const char* piece, const char* space) {
  std::string out(piece);
  const size_t at = out.find('_');
  return at == std::string::npos ? out : out.replace(at, 1, space);
}

void add_sentencepiece(GgufWriter& writer, const TinyOptions& options) {
  Vocab vocab;
  vocab.add("<unk>", kUnknown);
  vocab.add("<s>", kControl);
  vocab.add("</s>", kControl);
  for (int b = 0; b < 256; ++b) vocab.add(fmt::format("<0x{:02X}>", b), kByte);
  vocab.add("\n", kUserDefined);
  vocab.add("\t", kUserDefined);
  vocab.add("<start_of_turn>", kControl);
  vocab.add("<end_of_turn>", kControl);
  const char* space = "\xe2\x96\x81";
  float score = -1.0f;
  for (const auto& pair : kMerges) {
    vocab.add(with_space(pair[0], space) + with_space(pair[1], space), kNormal, score);
    score -= 1.0f;
  }
  vocab.add(space, kNormal, score);
  for (char c = 'a'; c <= 'z'; ++c) vocab.add(std::string(1, c), kNormal, score -= 1.0f);
  vocab.fill(options.vocab);
  writer.set_text("tokenizer.ggml.model", "llama");
  writer.set_text("tokenizer.ggml.pre", "default");
  writer.set_texts("tokenizer.ggml.tokens", vocab.tokens);
  writer.set_f32s("tokenizer.ggml.scores", vocab.scores);
  writer.set_i32s("tokenizer.ggml.token_type", vocab.kinds);
  writer.set_u32("tokenizer.ggml.bos_token_id", 1);
  writer.set_u32("tokenizer.ggml.eos_token_id", 2);
  writer.set_u32("tokenizer.ggml.unknown_token_id", 0);
  writer.set_bool("tokenizer.ggml.add_bos_token", true);
  writer.set_bool("tokenizer.ggml.add_eos_token", false);
  writer.set_bool("tokenizer.ggml.add_space_prefix", false);
}

std::string utf8(int code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

void add_byte_bpe(GgufWriter& writer, const TinyOptions& options) {
  Vocab vocab;
  std::vector<std::string> merges;
  for (int b = 0; b < 256; ++b) vocab.add(byte_stand_in(b), kNormal);
  const std::string space = byte_stand_in(' ');
  for (const auto& pair : kMerges) {
    const std::string left = with_space(pair[0], space.c_str()), right = with_space(pair[1], space.c_str());
    vocab.add(left + right, kNormal);
    merges.push_back(left + " " + right);
  }
  const auto eos = static_cast<uint32_t>(vocab.tokens.size());
  vocab.add("<|endoftext|>", kControl);
  vocab.add("<|im_start|>", kControl);
  vocab.add("<|im_end|>", kControl);
  vocab.fill(options.vocab);
  writer.set_text("tokenizer.ggml.model", "gpt2");
  writer.set_text("tokenizer.ggml.pre", options.family == "llama" ? "llama-bpe" : "qwen2");
  writer.set_texts("tokenizer.ggml.tokens", vocab.tokens);
  writer.set_i32s("tokenizer.ggml.token_type", vocab.kinds);
  writer.set_texts("tokenizer.ggml.merges", merges);
  writer.set_u32("tokenizer.ggml.bos_token_id", eos);
  writer.set_u32("tokenizer.ggml.eos_token_id", eos);
  writer.set_bool("tokenizer.ggml.add_bos_token", false);
}

// What begins a word has a space mark in front; what goes on has none.
void add_wordpiece(GgufWriter& writer, const TinyOptions& options) {
  Vocab vocab;
  const std::string space = "\xe2\x96\x81";
  vocab.add("[PAD]", kControl);
  vocab.add("[UNK]", kUnknown);
  vocab.add("[CLS]", kControl);
  vocab.add("[SEP]", kControl);
  for (char c = 'a'; c <= 'z'; ++c) {
    vocab.add(space + c, kNormal);
    vocab.add(std::string(1, c), kNormal);
  }
  for (const char c : std::string("0123456789.,;:!?'\"()[]-_")) vocab.add(space + c, kNormal);
  for (const char* word : {"the", "and", "hand", "ring", "\xe6\xb0\xb4"}) vocab.add(space + word, kNormal);
  for (const char* ending : {"ing", "er", "ed", "there"}) vocab.add(ending, kNormal);
  vocab.fill(options.vocab);
  writer.set_text("tokenizer.ggml.model", "bert");
  writer.set_text("tokenizer.ggml.pre", "default");
  writer.set_texts("tokenizer.ggml.tokens", vocab.tokens);
  writer.set_i32s("tokenizer.ggml.token_type", vocab.kinds);
  writer.set_u32("tokenizer.ggml.padding_token_id", 0);
  writer.set_u32("tokenizer.ggml.unknown_token_id", 1);
  writer.set_u32("tokenizer.ggml.cls_token_id", 2);
  writer.set_u32("tokenizer.ggml.seperator_token_id", 3);
}

}  // namespace

std::string byte_stand_in(int byte) {
  const auto printable = [](int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; };
  if (printable(byte)) return utf8(byte);
  int before = 0;
  for (int b = 0; b < byte; ++b) before += printable(b) ? 0 : 1;
  return utf8(256 + before);
}

void add_vocab(GgufWriter& writer, const TinyOptions& options) {
  TinyVocab kind = options.tokenizer;
  if (kind == TinyVocab::family) {
    kind = options.family == "gemma3" ? TinyVocab::sentencepiece
           : options.family == "bert" ? TinyVocab::wordpiece
                                      : TinyVocab::byte_bpe;
  }
  switch (kind) {
    case TinyVocab::sentencepiece:
      return add_sentencepiece(writer, options);
    case TinyVocab::byte_bpe:
      return add_byte_bpe(writer, options);
    case TinyVocab::wordpiece:
      return add_wordpiece(writer, options);
    case TinyVocab::family:
    case TinyVocab::none:
      writer.set_u32(options.family + ".vocab_size", static_cast<uint32_t>(options.vocab));
      return writer.set_text("tokenizer.ggml.model", "no_vocab");
  }
}

}  // namespace fathom::testing
