// Tokenizers over small hand-made vocabularies: what matches, what merges, what is an error.
#include "fathom/text/tokenizer.h"

#include <gtest/gtest.h>

#include "tests/support/processor_time.h"
#include "tests/text/vocabularies.h"

namespace fathom {
namespace {

using Ids = std::vector<int32_t>;

Tokenizer made(TokenizerTables tables) { return Tokenizer::make(std::move(tables)).value(); }

Error error_of(TokenizerTables tables) {
  auto result = Tokenizer::make(std::move(tables));
  return result ? Error{ErrorCode::cancelled, "no error"} : result.error();
}

std::string joined(const Tokenizer& t, const Ids& ids) {
  std::string text;
  for (const int32_t id : ids) {
    if (!text.empty()) text += '|';
    text += t.tables().tokens[static_cast<size_t>(id)];
  }
  return text;
}

std::string pieces(const Tokenizer& t, std::string_view text,
                   EncodeOptions options = {.special = false, .bos = false}) {
  return joined(t, t.encode(text, options).value());
}

TEST(Tokenizer, at_least_is_never_more_than_the_ids_of_a_text) {
  const Tokenizer t = made(sentencepiece_tables({"a", "b", "aa", "aaaa", "bbbb"}, {-9, -9, -3, -1, -1}));
  for (const std::string text : {"", "a", "aaaaaaaaaaaaaaaaaaaaaaaa", "abab abab", "\xC3\xA9\xC3\xA9 a\xCC\x81"}) {
    const auto ids = t.encode(text, {.special = false, .bos = false}).value();
    EXPECT_LE(t.at_least(text), ids.size()) << text;
  }
  EXPECT_GE(t.at_least(std::string(6000, 'a')), 1000u) << "the longest name here is <0x00>";
}

TEST(SentencePiece, the_best_score_merges_first) {
  // "ab" (-1) before "bc" (-2): ab|c, although bc alone would merge.
  const Tokenizer t = made(sentencepiece_tables({"a", "b", "c", "bc", "ab"}, {-9, -9, -9, -2, -1}));
  EXPECT_EQ(pieces(t, "abc"), "ab|c");
  EXPECT_EQ(pieces(t, "xbc"), "<0x78>|bc");
}

TEST(SentencePiece, the_leftmost_of_equal_scores_merges_first) {
  const Tokenizer t = made(sentencepiece_tables({"a", "aa"}, {-9, -1}));
  EXPECT_EQ(pieces(t, "aaaaa"), "aa|aa|a");
}

TEST(SentencePiece, a_merge_needs_the_steps_to_it) {
  const Tokenizer t = made(sentencepiece_tables({"a", "b", "c", "abc"}, {-9, -9, -9, -1}));
  EXPECT_EQ(pieces(t, "abc"), "a|b|c");
}

TEST(SentencePiece, spaces_are_visible_and_the_prefix_is_asked_for) {
  TokenizerTables tables = sentencepiece_tables({"a", "▁", "▁a"}, {-9, -9, -1});
  tables.add_space_prefix = true;
  EXPECT_EQ(pieces(made(tables), "a a"), "▁a|▁a");
  EXPECT_EQ(pieces(made(tables), ""), "");
  tables.add_space_prefix = false;
  EXPECT_EQ(pieces(made(tables), "a a"), "a|▁a");
}

TEST(SentencePiece, an_unknown_character_becomes_its_bytes) {
  const Tokenizer t = made(sentencepiece_tables({"a"}, {-1}));
  EXPECT_EQ(pieces(t, "aé"), "a|<0xC3>|<0xA9>");
  EXPECT_EQ(t.decode(t.encode("aé\xF0\x9F\x98\x80", {.bos = false}).value()), "aé\xF0\x9F\x98\x80");
}

TEST(SentencePiece, unknown_characters_in_a_row_are_one_unknown_token_without_byte_tokens) {
  TokenizerTables tables = tables_of("llama", {"<unk>", "a", "b"});
  tables.scores = {0, -1, -1};
  tables.kinds = {TokenKind::unknown, TokenKind::normal, TokenKind::normal};
  tables.add_space_prefix = false;
  const Tokenizer t = made(tables);
  EXPECT_EQ(pieces(t, "aééébé"), "a|<unk>|b|<unk>");
  EXPECT_EQ(t.decode(t.encode("éa", {.bos = false}).value()), " \xE2\x81\x87 a");
  tables.kinds[0] = TokenKind::normal;
  auto ids = made(tables).encode("é");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("U+00E9"), std::string::npos) << ids.error().message;
}

TEST(SentencePiece, user_defined_tokens_match_first_and_longest_and_never_merge) {
  TokenizerTables tables = sentencepiece_tables({"a", "\n", "\n\n", "  ", "a\n"}, {-9, 0, 0, 0, -1});
  for (const size_t i : {1, 2, 3}) tables.kinds[i + kFirstPiece] = TokenKind::user_defined;
  const Tokenizer t = made(tables);
  EXPECT_EQ(pieces(t, "a\n\n\n"), "a|\n\n|\n");
  EXPECT_EQ(pieces(t, "a  a"), "a|  |a");
  EXPECT_EQ(t.decode(t.encode("a  a\n", {.bos = false}).value()), "a  a\n");
}

TEST(SentencePiece, an_unused_token_is_taken_apart_again) {
  TokenizerTables tables = sentencepiece_tables({"a", "b", "c", "ab", "abc"}, {-9, -9, -9, -1, -2});
  tables.kinds[kFirstPiece + 4] = TokenKind::unused;
  EXPECT_EQ(pieces(made(tables), "abcab"), "ab|c|ab");
  tables.kinds[kFirstPiece + 3] = TokenKind::unused;
  EXPECT_EQ(pieces(made(tables), "abcab"), "a|b|c|a|b");
}

TEST(SentencePiece, a_megabyte_of_one_character_takes_less_than_two_seconds) {
  const Tokenizer t = made(sentencepiece_tables({"a", "aa", "aaaa", "aaaaaaaa"}, {-9, -1, -2, -3}));
  const double begin = testing::processor_seconds();
  const Ids ids = t.encode(std::string(1 << 20, 'a'), {.bos = false}).value();
  const double took = testing::processor_seconds() - begin;
  EXPECT_EQ(ids.size(), (1u << 20) / 8);
  EXPECT_LT(took, 2.0);  // squared work would take minutes; 0.2 s on one core of 2024
}

TEST(ByteBpe, the_lowest_rank_merges_first) {
  const Tokenizer t = made(byte_tables({"b c", "a b", "a bc"}));
  EXPECT_EQ(pieces(t, "abc"), "abc");
  EXPECT_EQ(pieces(t, "ab"), "ab");
  EXPECT_EQ(pieces(made(byte_tables({"a b", "b c", "a bc"})), "abc"), "ab|c");
}

TEST(ByteBpe, long_words_merge_like_short_ones) {
  const Tokenizer t = made(byte_tables({"b c", "a b", "a bc", "abc abc"}));
  std::string word, expected;
  for (int i = 0; i < 40; ++i) word += "abc", expected += i % 2 == 0 ? "" : expected.empty() ? "abcabc" : "|abcabc";
  EXPECT_EQ(pieces(t, word), expected);
}

TEST(ByteBpe, merges_do_not_cross_words) {
  const Tokenizer t = made(byte_tables({"a Ġ", "Ġ b"}));
  EXPECT_EQ(pieces(t, "a b"), "a|Ġb");
}

TEST(ByteBpe, qwen2_keeps_digits_apart_and_llama_in_threes) {
  TokenizerTables tables = byte_tables({"1 2", "12 3", "123 4"});
  tables.pre = "qwen2";
  EXPECT_EQ(pieces(made(tables), "1234"), "1|2|3|4");
  tables.pre = "llama-bpe";
  EXPECT_EQ(pieces(made(tables), "1234"), "123|4");
  tables.pre = "gpt-2";
  EXPECT_EQ(pieces(made(tables), "1234"), "1234");
}

TEST(ByteBpe, llama_takes_a_whole_word_before_merging) {
  TokenizerTables tables = byte_tables({"a b"});
  tables.tokens.push_back("xyz");
  tables.kinds.push_back(TokenKind::normal);
  tables.pre = "llama-bpe";
  EXPECT_EQ(pieces(made(tables), "xyz"), "xyz");
  tables.pre = "qwen2";
  EXPECT_EQ(pieces(made(tables), "xyz"), "x|y|z");
}

TEST(ByteBpe, qwen2_composes_accents_first_and_gpt2_does_not) {
  TokenizerTables tables = byte_tables({"Ã ©"});  // the two bytes of é
  tables.pre = "qwen2";
  EXPECT_EQ(pieces(made(tables), "e\xCC\x81"), "Ã©");
  tables.pre = "gpt-2";
  EXPECT_EQ(pieces(made(tables), "e\xCC\x81"), "e|Ì|ģ");
}

TEST(ByteBpe, composition_is_ordered_bounded_and_stops_at_the_version_of_the_references) {
  TokenizerTables tables = byte_tables({});
  tables.pre = "qwen2";
  const Tokenizer t = made(tables);
  const auto through = [&](std::string_view text) { return t.decode(t.encode(text, {.bos = false}).value()); };
  EXPECT_EQ(through("q\u0307\u0323"), "q\u0323\u0307");    // marks in the order of their classes
  EXPECT_EQ(through("x\u1112\u1161\u11ABy"), "x\uD55Cy");  // Hangul
  EXPECT_EQ(through("\uAC38\u11A7\u0116"), "\uAC38\u11A7\u0116");
  EXPECT_EQ(through("\u212B"), "\u00C5");
  EXPECT_EQ(through("\u0958"), "\u0915\u093C");          // excluded from composition
  EXPECT_EQ(through("a\u0330\u0D3C"), "a\u0330\u0D3C");  // U+0D3C came with Unicode 10
  std::string marks = "a";
  for (int i = 0; i < 100000; ++i) marks += i % 2 == 0 ? "\u0307" : "\u0323";
  const double begin = testing::processor_seconds();
  EXPECT_EQ(through(marks).size(), marks.size());  // ạ̇... : the first dot below joins the a in three bytes
  const double took = testing::processor_seconds() - begin;
  EXPECT_LT(took, 2.0);
}

TEST(ByteBpe, white_space_and_newer_letters_are_what_the_references_take_them_for) {
  TokenizerTables tables = byte_tables({"Ġ \u00e1"});
  tables.pre = "qwen2";
  const Tokenizer t = made(tables);
  // U+180E is no white space: the space before it belongs to its word.
  EXPECT_EQ(t.encode(" \u180E", {.bos = false}).value().size(), 3u);
  // U+31350 (Unicode 15) is a letter: it takes the exclamation mark with it, and nothing of the digit.
  EXPECT_EQ(t.encode("!\U00031350", {.bos = false}).value().size(), 5u);
}

TEST(ByteBpe, a_byte_without_a_token_is_an_error_that_names_it) {
  TokenizerTables tables = tables_of("gpt2", {"a", "b"});
  tables.pre = "gpt-2";
  auto ids = made(tables).encode("abc");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("0x63"), std::string::npos) << ids.error().message;
}

TEST(ByteBpe, long_runs_of_one_character_are_not_squared_work) {
  TokenizerTables tables = byte_tables({"a a", "aa aa", "Ġ Ġ", "ĠĠ ĠĠ"});
  for (const char* pre : {"qwen2", "llama-bpe", "gpt-2", "default", "smollm"}) {
    tables.pre = pre;
    const Tokenizer t = made(tables);
    for (const char c : {'a', ' ', '\n', '!', '1'}) {
      const std::string text(1 << 18, c);
      const double begin = testing::processor_seconds();
      const auto ids = t.encode(text, {.bos = false});
      const double took = testing::processor_seconds() - begin;
      ASSERT_TRUE(ids) << pre << ": " << ids.error().message;
      EXPECT_EQ(t.decode(*ids), text);
      EXPECT_LT(took, 2.0) << pre << " with " << static_cast<int>(c);
    }
  }
}

TEST(Tokenizer, control_tokens_match_only_where_asked) {
  const Tokenizer t = made(with_controls(byte_tables({})));
  EXPECT_EQ(pieces(t, "<s>"), "<|s|>");
  EXPECT_EQ(pieces(t, "a<s>b", {.special = true, .bos = false}), "a|<s>|b");
  EXPECT_EQ(pieces(t, "<s><s>>", {.special = true, .bos = false}), "<s>|<s>>");
}

TEST(Tokenizer, segments_merge_across_borders_and_keep_controls_where_they_are_meant) {
  TokenizerTables tables = with_controls(byte_tables({"a b"}));
  const Tokenizer t = made(tables);
  const TextSegment segments[] = {{"<s>a", true}, {"b<s>", false}, {"<s>", true}};
  EXPECT_EQ(joined(t, t.encode_segments(segments, false).value()), "<s>|ab|<|s|>|<s>");
}

TEST(Tokenizer, the_beginning_is_added_where_model_and_caller_want_it) {
  TokenizerTables tables = with_controls(byte_tables({}));
  tables.bos = static_cast<int32_t>(tables.tokens.size()) - 2;
  EXPECT_EQ(made(tables).encode("").value(), Ids{});
  tables.add_bos = true;
  EXPECT_EQ(made(tables).encode("").value(), Ids{tables.bos});
  EXPECT_EQ(made(tables).encode("", {.bos = false}).value(), Ids{});
}

TEST(Tokenizer, each_maximal_invalid_part_is_one_replacement_character) {
  const Tokenizer t = made(byte_tables({}));
  const auto through = [&](std::string_view bytes) { return t.decode(t.encode(bytes, {.bos = false}).value()); };
  EXPECT_EQ(through("a\xFF\xFE z"), "a\uFFFD\uFFFD z");
  EXPECT_EQ(through("\xE2\x82"), "\uFFFD");                  // cut off
  EXPECT_EQ(through("\xE2\x82z"), "\uFFFDz");                // a lead and one continuation: one part
  EXPECT_EQ(through("\xC0\x80"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(through("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // surrogate
  EXPECT_EQ(through("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

TEST(Tokenizer, ends_of_text_are_the_named_ones_and_the_usual_turn_ends) {
  TokenizerTables tables = byte_tables({});
  const auto n = static_cast<int32_t>(tables.tokens.size());
  for (const char* token : {"<|im_end|>", "<end>", "<other>"}) {
    tables.tokens.push_back(token);
    tables.kinds.push_back(TokenKind::control);
  }
  tables.eos = n + 1;
  const Tokenizer t = made(tables);
  EXPECT_TRUE(t.ends_text(n));
  EXPECT_TRUE(t.ends_text(n + 1));
  EXPECT_FALSE(t.ends_text(n + 2));
  EXPECT_FALSE(t.ends_text(-1));
  EXPECT_FALSE(t.ends_text(n + 3));
}

TEST(Tokenizer, control_tokens_give_no_text_unless_asked) {
  const Tokenizer t = made(with_controls(byte_tables({})));
  const auto id = static_cast<int32_t>(t.vocab() - 2);
  EXPECT_EQ(t.decode(Ids{id}), "");
  EXPECT_EQ(t.decode(Ids{id}, true), "<s>");
  EXPECT_EQ(t.piece(-1), "");
  EXPECT_EQ(t.piece(t.vocab()), "");
}

TEST(Tokenizer, a_file_without_vocabulary_loads_and_refuses_text) {
  for (const char* model : {"no_vocab", "none"}) {
    const Tokenizer t = made(tables_of(model, {}));
    EXPECT_EQ(t.vocab(), 0);
    EXPECT_EQ(t.bos(), -1);
    auto ids = t.encode("a");
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, ErrorCode::unsupported);
    EXPECT_EQ(t.decode(Ids{3}), "");
  }
}

TEST(Tokenizer, bad_tables_are_errors_that_name_the_entry) {
  const auto expect = [](TokenizerTables tables, ErrorCode code, const char* words) {
    const Error error = error_of(std::move(tables));
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message << " lacks: " << words;
  };
  const TokenizerTables good = byte_tables({"a b"});
  TokenizerTables t = good;
  t.model = "rwkv";
  expect(t, ErrorCode::unsupported, "\"rwkv\"");
  t.model = "bert";
  expect(t, ErrorCode::format, "without an unknown token");
  t = good, t.pre = "tekken";
  expect(t, ErrorCode::unsupported, "\"tekken\"");
  t = good, t.pre = "bad\nname";
  expect(t, ErrorCode::unsupported, "bad\\x0aname");
  expect(tables_of("gpt2", {}), ErrorCode::format, "empty");
  t = good, t.kinds.pop_back();
  expect(t, ErrorCode::format, "token_type has 256 entries for 257 tokens");
  t = good, t.kinds[3] = static_cast<TokenKind>(9);
  expect(t, ErrorCode::format, "token_type[3] is 9");
  t = good, t.scores = {1, 2};
  expect(t, ErrorCode::format, "scores has 2 entries");
  t = good, t.tokens.push_back("ab"), t.kinds.push_back(TokenKind::normal);
  expect(t, ErrorCode::format, "tokens 256 and 257 are both \"ab\"");
  t = good, t.merges = {"a zz"};
  expect(t, ErrorCode::format, "merges[0] \"a zz\" names a token");
  t = good, t.merges = {"a c"};
  expect(t, ErrorCode::format, "merges[0] \"a c\" makes a token");
  t = good, t.merges = {"a b", "a b"};
  expect(t, ErrorCode::format, "merges[1] \"a b\" comes twice");
  for (const char* merge : {"", " ", "ab", "a ", " b"}) {
    t = good, t.merges = {merge};
    EXPECT_EQ(error_of(t).code, ErrorCode::format) << merge;
  }
  t = good, t.eos = 257;
  expect(t, ErrorCode::format, "eos_token_id is 257 with 257 tokens");
  t = good, t.bos = -2;
  expect(t, ErrorCode::format, "bos_token_id is -2");
  t = good, t.tokens.push_back(std::string(300, 'x')), t.kinds.push_back(TokenKind::control);
  expect(t, ErrorCode::format, "300 bytes of at most 256");

  TokenizerTables s = sentencepiece_tables({"a"}, {-1});
  s.scores.clear();
  expect(s, ErrorCode::format, "scores is missing");
  s = sentencepiece_tables({"a"}, {std::nanf("")});
  expect(s, ErrorCode::format, "is not a number");
  s = sentencepiece_tables({"<0xZZ>"}, {-1});
  s.kinds.back() = TokenKind::byte;
  expect(s, ErrorCode::format, "<0xNN>");
}

TEST(StreamDecoder, whole_characters_come_out_as_soon_as_they_are_whole) {
  const Tokenizer t = made(byte_tables({}));
  StreamDecoder decoder(t);
  std::vector<std::string> out;
  const Ids ids = t.encode("é\xF0\x9F\x98\x80", {.bos = false}).value();
  for (const int32_t id : ids) out.push_back(decoder.push(id));
  EXPECT_EQ(out, (std::vector<std::string>{"", "é", "", "", "", "\xF0\x9F\x98\x80"}));
  EXPECT_EQ(decoder.finish(), "");
  decoder.push(0xE2);
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(StreamDecoder, the_prefix_space_is_taken_off_unless_text_goes_on) {
  TokenizerTables tables = sentencepiece_tables({"a", "▁", "▁a"}, {-9, -9, -1});
  tables.add_space_prefix = true;
  const Tokenizer t = made(tables);
  const Ids ids = t.encode(" a", {.bos = false}).value();
  EXPECT_EQ(t.decode(ids), " a");
  EXPECT_EQ(t.decode(t.encode("a", {.bos = false}).value()), "a");
  StreamDecoder continued(t, false, true);
  EXPECT_EQ(continued.push(kFirstPiece + 2), " a");
}

}  // namespace
}  // namespace fathom
