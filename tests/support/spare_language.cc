// Drawing words, contexts and texts; whole numbers only, so that every machine draws the same.
// Next: tests/support/spare_writer.cc.
#include "tests/support/spare_language.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "tests/support/tiny_blocks.h"
#include "tests/support/tiny_vocab.h"

namespace fathom::testing {
namespace {

constexpr std::string_view kVowels = "aeiou";
constexpr std::string_view kConsonants = "bdfghjlkmnprst";  // words of prose begin with one of the first half
constexpr int kSyllables = 70;

std::string syllable(int i) { return {kConsonants[static_cast<size_t>(i / 5)], kVowels[static_cast<size_t>(i % 5)]}; }

std::vector<int32_t> shuffled(int32_t n, Random& random) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (int32_t i = n - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.below(i + 1))]);
  return order;
}

int32_t amplitude(int least, int most, Random& random) { return least + random.below(most - least + 1); }

/// The layer behind so many sixteenths of all, and behind the first in any case.
int32_t early_layer(const SpareOptions& o, int sixteenths) { return 1 + std::max(1, sixteenths * o.n_layers / 16); }

void add_tokens(SpareLanguage& language) {
  const std::string space = byte_stand_in(' ');
  for (int b = 0; b < 256; ++b) language.tokens.push_back(byte_stand_in(b));
  for (int i = 0; i < kSyllables; ++i) {
    language.tokens.push_back(syllable(i));
    language.merges.push_back(syllable(i).substr(0, 1) + " " + syllable(i).substr(1));
  }
  for (int i = 0; i < kSyllables; ++i) {
    language.tokens.push_back(space + syllable(i));
    language.merges.push_back(space + " " + syllable(i));
  }
}

void add_words(SpareLanguage& language) {
  const SpareOptions& o = language.options;
  const std::string space = byte_stand_in(' ');
  for (int kind = 0; kind < 2; ++kind) {
    Random random(o.seed, kind == 0 ? "words of prose" : "words of code");
    const std::vector<int32_t> spellings = shuffled(kSyllables / 2 * kSyllables, random);
    const int32_t n = o.topics * o.words;
    if (n > static_cast<int32_t>(spellings.size())) throw std::invalid_argument("SpareOptions: too many words");
    for (int32_t i = 0; i < n; ++i) {
      const int32_t spelling = spellings[static_cast<size_t>(i)];
      const std::string first = syllable(kind * kSyllables / 2 + spelling / kSyllables);
      const std::string second = syllable(spelling % kSyllables);
      SpareWord word;
      word.text = " " + first + second;
      word.token = static_cast<int32_t>(language.tokens.size());
      word.topic = kind * o.topics + i / o.words;
      word.bit = random.below(2) == 1;
      language.tokens.push_back(space + first + second);
      language.merges.push_back(space + first + " " + second);
      language.words.push_back(std::move(word));
    }
  }
  for (const char* control : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"})
    language.tokens.push_back(control);
  language.n_control = 4;
}

/// Two answers with the gap that makes the first about seven times as likely as the second.
SpareAnswer settled_answer(int32_t token, int32_t second, Random& random) {
  const int32_t a = amplitude(51, 74, random);
  return {token, second, a, a * 4 / 5};
}

/// An answer of a hard context before it settles. One in seven looks as sure as a settled one.
SpareAnswer passing_answer(int32_t token, Random& random) {
  const bool sure = random.below(7) == 0;
  return {token, -1, sure ? amplitude(46, 62, random) : amplitude(24, 44, random), 0};
}

SpareContext easy_context(const SpareOptions& o, const SpareAnswer& answer, Random& random) {
  const int percent = random.below(100);
  const int sixteenths = percent < 25 ? 1 : percent < 60 ? 2 : percent < 90 ? 3 : percent < 97 ? 4 : 5;
  SpareContext context;
  const SpareFlag flag = random.below(100) < 8 ? SpareFlag::nothing : SpareFlag::settled;
  context.moves.push_back({early_layer(o, sixteenths), answer, flag});
  return context;
}

SpareContext hard_context(const SpareLanguage& language, const SpareAnswer& answer, Random& random) {
  const SpareOptions& o = language.options;
  SpareContext context;
  context.hard = true;
  const int percent = random.below(100);  // 3 in 100 pose as settled all the way, 8 show nothing
  const SpareFlag flag = percent < 3 ? SpareFlag::settled : percent < 11 ? SpareFlag::nothing : SpareFlag::on_its_way;
  const auto pass = [&](int32_t layer) {
    const int32_t now = context.moves.empty() ? -1 : context.moves.back().answer.token;
    int32_t token = now;
    while (token == now || token == answer.token || token == answer.second)
      token = language.first_word() + random.below(2 * o.topics * o.words);
    context.moves.push_back({layer, passing_answer(token, random), flag});
  };
  pass(early_layer(o, 1 + random.below(3)));
  if (random.below(100) < 15) context.moves.back().answer.token = answer.token;  // right by chance
  const int32_t first = o.n_layers / 4 + 1, last = o.n_layers * 3 / 4 + random.below(o.n_layers / 4 + 1);
  for (int32_t layer = first; layer < last; ++layer) {
    if (random.below(100) < 55 || layer == last - 1) pass(layer);
  }
  context.moves.push_back({last, answer, SpareFlag::settled});
  return context;
}

/// Hard contexts of a topic, in percent: 30 of prose and 50 of code on average, 14 more or less from topic to topic.
int32_t hard_percent(const SpareOptions& o, int32_t topic) {
  return (topic < o.topics ? 16 : 36) + 28 * (topic % o.topics) / (o.topics - 1);
}

void add_contexts(SpareLanguage& language, int32_t topic) {
  const SpareOptions& o = language.options;
  const int32_t n = o.words;
  Random random(o.seed ^ static_cast<uint64_t>(topic), "contexts");
  const std::vector<int32_t> order = shuffled(2 * n, random);
  const int32_t n_hard = 2 * n * hard_percent(o, topic) / 100;
  for (int32_t bit = 0; bit < 2; ++bit) {
    // A permutation of the topic's words: a chain that follows it visits all of them alike.
    const std::vector<int32_t> next = shuffled(n, random), second = shuffled(n, random);
    const auto token = [&](int32_t i) { return language.first_word() + topic * n + i; };
    for (int32_t i = 0; i < n; ++i) {
      const size_t at = static_cast<size_t>(i);
      const int32_t also = second[at] == next[at] ? (second[at] + 1) % n : second[at];
      const SpareAnswer answer = settled_answer(token(next[at]), token(also), random);
      const bool hard = order[static_cast<size_t>(bit * n + i)] < n_hard;
      language.words[static_cast<size_t>(topic * n + i)].contexts[static_cast<size_t>(bit)] =
          hard ? hard_context(language, answer, random) : easy_context(o, answer, random);
    }
  }
}

/// What follows a line's end is any word: its answer is a guess, and easy.
void add_line_end(SpareLanguage& language) {
  SpareWord word;
  word.text = "\n";
  word.token = '\n';
  word.topic = -1;
  Random random(language.options.seed, "line end");
  for (SpareContext& context : word.contexts) {
    const int32_t token = language.first_word() + random.below(static_cast<int>(language.words.size()));
    context.moves.push_back({2, {token, -1, 38, 0}, SpareFlag::settled});
  }
  language.words.push_back(std::move(word));
}

/// One document's words, drawn one after the other.
class Document {
 public:
  Document(const SpareLanguage& language, SpareText kind, Random& random)
      : language_(language), random_(random), n_(language.options.words) {
    const int32_t topics = language.options.topics;
    first_topic_ = kind == SpareText::code ? topics : 0;
    n_topics_ = kind == SpareText::mixed ? 2 * topics : topics;
    topic_ = first_topic_ + random.below(n_topics_);
  }

  std::string text(int32_t tokens) {
    std::string out;
    int32_t line = 0;
    for (int32_t i = 0; i < tokens - 1; ++i) {
      const bool end = line == 0 ? false : line >= 40 && random_.below(30) == 0 && i + 10 < tokens;
      const SpareWord& word = end ? language_.words.back() : next(line == 0);
      out += word.text;
      bit_ = before_ != nullptr ? before_->bit : word.bit;
      before_ = &word;
      line = end ? 0 : line + 1;
    }
    return out + "\n";
  }

 private:
  /// 72 % the answer, 12 % the second, 14 % any word of the topic, 2 % another topic.
  const SpareWord& next(bool fresh) {
    const int percent = random_.below(100);
    if (fresh || percent >= 84) {
      if (percent >= 98) topic_ = first_topic_ + random_.below(n_topics_);
      return language_.words[static_cast<size_t>(topic_ * n_ + random_.below(n_))];
    }
    const SpareAnswer& answer = before_->contexts[bit_ ? 1 : 0].final();
    return *language_.word_of(percent < 72 ? answer.token : answer.second);
  }

  const SpareLanguage& language_;
  Random& random_;
  int32_t n_, first_topic_, n_topics_, topic_;
  const SpareWord* before_ = nullptr;
  bool bit_ = false;  // of the word before `before_`
};

}  // namespace

SpareOptions tiny_spare() {
  return {.d_model = 512,
          .n_layers = 16,
          .heads = 8,
          .kv_heads = 4,
          .head_dim = 64,
          .feed_forward = 1792,
          .topics = 8,
          .words = 103,
          .context = 4096,
          .rope_base = 10000,
          .seed = 20261125};
}

const SpareWord* SpareLanguage::word_of(int32_t token) const {
  if (token == '\n') return &words.back();
  const int64_t i = int64_t{token} - first_word();
  return i >= 0 && i + 1 < static_cast<int64_t>(words.size()) ? &words[static_cast<size_t>(i)] : nullptr;
}

SpareLanguage spare_language(const SpareOptions& options) {
  SpareLanguage language;
  language.options = options;
  add_tokens(language);
  add_words(language);
  for (int32_t topic = 0; topic < 2 * options.topics; ++topic) add_contexts(language, topic);
  add_line_end(language);
  return language;
}

std::string_view name(SpareText kind) {
  constexpr std::string_view kNames[] = {"prose", "code", "mixed"};
  return kNames[static_cast<size_t>(kind)];
}

std::string spare_text(const SpareLanguage& language, SpareText kind, int32_t documents) {
  Random random(language.options.seed, name(kind));
  std::string out;
  for (int32_t i = 0; i < documents; ++i) {
    if (i > 0) out += '\f';
    const int32_t tokens = 72 + random.below(89);
    out += Document(language, kind, random).text(tokens);
  }
  return out;
}

}  // namespace fathom::testing
