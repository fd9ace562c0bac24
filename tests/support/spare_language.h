// The language of the models with spare depth: words, what follows each, and how deep a model must go to say so.
// Next: tests/support/spare_model.h, which turns it into weights.
//
// A context is a word and one bit of the word before it. What follows a context is drawn from a known chain, so that
// texts need no model, and a model's answers can be compared with what they should be. Easy contexts have one answer,
// early and for good; hard ones wander from answer to answer and settle late.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::testing {

struct SpareOptions {
  int32_t d_model = 128;  // a multiple of 128
  int32_t n_layers = 8;   // a multiple of 8
  int32_t heads = 4;
  int32_t kv_heads = 2;
  int32_t head_dim = 16;       // at least d_model / 16
  int32_t feed_forward = 160;  // a multiple of 32
  int32_t topics = 2;          // of each kind of text, at least 2
  int32_t words = 16;          // of each topic
  int32_t context = 512;       // positions
  float rope_base = 100;       // small heads have few angles: they must not meet again within the context
  uint64_t seed = 1;
};

/// The model of `./dev model tiny-spare`: 16 layers, 2,048 tokens, 63 MB.
SpareOptions tiny_spare();

/// What a state says comes next: the sum of two tokens' codes. Amplitudes are in 64ths, so that sums are exact.
struct SpareAnswer {
  int32_t token = -1;
  int32_t second = -1;  // also likely; -1: none
  int32_t amplitude = 0;
  int32_t second_amplitude = 0;

  friend bool operator==(const SpareAnswer&, const SpareAnswer&) = default;
};

/// What a direction of the state shows: nearly always the truth.
enum class SpareFlag { on_its_way, nothing, settled };

/// The feed-forward half of `layer` replaces the answer.
struct SpareMove {
  int32_t layer = 0;  // from 1
  SpareAnswer answer;
  SpareFlag flag = SpareFlag::on_its_way;
};

struct SpareContext {
  bool hard = false;
  std::vector<SpareMove> moves;  // by layer, at least one

  const SpareAnswer& final() const { return moves.back().answer; }
  int32_t settled_at() const { return moves.back().layer; }
};

/// A word is one token: a space and two syllables. The last entry of SpareLanguage::words is the line's end.
struct SpareWord {
  std::string text;
  int32_t token = 0;
  int32_t topic = 0;                     // the first half belong to prose, the others to code
  bool bit = false;                      // what the word after it sees of it
  std::array<SpareContext, 2> contexts;  // by the bit of the word before; a first word sees its own
};

struct SpareLanguage {
  SpareOptions options;
  std::vector<std::string> tokens;  // in the spelling of byte BPE: 256 bytes, 140 syllables, words, control tokens
  std::vector<std::string> merges;  // syllables, syllables behind a space, words
  std::vector<SpareWord> words;
  int32_t n_control = 0;  // the last tokens; the first of them ends a text

  int32_t first_word() const { return words.front().token; }
  /// The word that a token is, or null.
  const SpareWord* word_of(int32_t token) const;
};

SpareLanguage spare_language(const SpareOptions& options = {});

/// Kinds of text. They share no word, and hard contexts are more frequent in code; `mixed` has both.
enum class SpareText { prose, code, mixed };
std::string_view name(SpareText kind);

/// Documents of 72 to 160 tokens with a form feed between them, each on a topic, drawn from the chain.
std::string spare_text(const SpareLanguage& language, SpareText kind, int32_t documents);

}  // namespace fathom::testing
