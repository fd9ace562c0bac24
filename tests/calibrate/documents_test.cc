// What is a document, what is a duplicate, and what is said of files that cannot be used. Next: pieces_test.cc.
#include "src/calibrate/documents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "tests/calibrate/text_files.h"
#include "tests/text/vocabularies.h"

namespace fathom {
namespace {

using testing::random_text;
using testing::TextFiles;

Result<std::vector<Document>> documents_in(std::string_view bytes, bool jsonl = false) {
  std::vector<Document> documents;
  const auto source = ByteSource::from_bytes(jsonl ? "file a.jsonl" : "file a.txt", {bytes.data(), bytes.size()});
  FATHOM_TRY(read_documents(source, jsonl, documents));
  return documents;
}

std::vector<std::string> texts_in(const std::string& bytes) {
  std::vector<std::string> texts;
  const std::vector<Document> documents = documents_in(bytes).value();
  for (const Document& d : documents) texts.push_back(bytes.substr(d.offset, d.bytes));
  return texts;
}

std::string error_of(std::string_view bytes, bool jsonl = false) {
  const auto documents = documents_in(bytes, jsonl);
  return documents ? "no error" : documents.error().message;
}

using Texts = std::vector<std::string>;

TEST(Documents, StandBetweenFormFeeds) {
  EXPECT_EQ(texts_in("one"), (Texts{"one"}));
  EXPECT_EQ(texts_in("one\ftwo\n\f\f \n\fthree\f"), (Texts{"one", "two\n", "three"})) << "blank ones are none";
  EXPECT_EQ(texts_in("\xEF\xBB\xBFone"), (Texts{"one"})) << "a byte order mark is no text";
}

TEST(Documents, AreReadAcrossChunks) {
  constexpr size_t kChunk = size_t{256} << 10;
  for (size_t before = kChunk - 4; before <= kChunk + 1; ++before) {
    const std::string first = std::string(before, 'a') + "\xF0\x9F\x90\x9F z";
    EXPECT_EQ(texts_in(first + "\fsecond"), (Texts{first, "second"})) << before;
    const auto lines = documents_in("{\"text\":\"" + first + "\"}\n{\"text\":\"b\"}", true).value();
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0].bytes, first.size());
    EXPECT_EQ(lines[1].line, 2);
    EXPECT_EQ(lines[1].offset, first.size() + 12);
  }
}

TEST(Documents, AreEqualWhenTheirWordsAre) {
  const auto one = documents_in("a b\ncd").value()[0];
  const auto other = documents_in("\n a \t b cd\r\n").value()[0];
  const auto third = documents_in("a bc d").value()[0];
  EXPECT_EQ(one.content, other.content);
  EXPECT_NE(one.exact, other.exact);
  EXPECT_NE(one.content, third.content);
  EXPECT_EQ(documents_in(R"({"text": "a b\ncd"})", true).value()[0].exact, one.exact);
}

TEST(Documents, OfLinesHaveTextOrPromptAndAnId) {
  const TextFiles files;
  DocumentFiles reader;
  std::vector<Document> documents;
  const std::string path = files.write("a.jsonl",
                                       "{\"id\": \"x\", \"text\": \"caf\\u00e9\", \"meta\": {\"text\": [1, 2]}}\n"
                                       "\n"
                                       "{\"text\": \" \"}\n"
                                       "{\"prompt\": \"Once upon\", \"id\": 7, \"more\": null}\r\n");
  ASSERT_TRUE(reader.add(path, 3, documents));
  ASSERT_EQ(documents.size(), 2u);
  EXPECT_EQ(reader.read(documents[0], 0, 100).value(), "caf\xC3\xA9");
  EXPECT_EQ(reader.read(documents[0], 3, 2).value(), "\xC3\xA9");
  EXPECT_EQ(reader.id(documents[0]).value(), "x");
  EXPECT_FALSE(documents[0].prompt);
  EXPECT_EQ(reader.read(documents[1], 5, 100).value(), "upon");
  EXPECT_EQ(reader.id(documents[1]).value(), "7");
  EXPECT_TRUE(documents[1].prompt);
  EXPECT_EQ(documents[1].line, 4);
  EXPECT_EQ(documents[1].group, 3);
}

TEST(Documents, OfAFileThatChangesAreAnError) {
  const TextFiles files;
  DocumentFiles reader;
  std::vector<Document> documents;
  const std::string path = files.write("a.txt", "one\ftwo");
  ASSERT_TRUE(reader.add(path, 0, documents));
  files.write("a.txt", "one");
  const auto text = reader.read(documents[1], 0, 3);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().message, "file " + path + ": changed while it was read: run again when nothing writes to it");
}

TEST(DocumentErrors, NameTheByteThatIsNoText) {
  EXPECT_EQ(error_of(std::string("PK\3\4\0\0", 6)),
            "file a.txt, byte 4: 0x00 is no UTF-8 text, it is binary, or UTF-16: save it as UTF-8");
  EXPECT_EQ(error_of("caf\xE9 au lait"),
            "file a.txt, byte 3: 0xe9 is no UTF-8 text, it is binary, or of another encoding: save it as UTF-8");
  EXPECT_EQ(error_of("cut \xE2\x82"),
            "file a.txt, byte 4: 0xe2 is no UTF-8 text, it is binary, or of another encoding: save it as UTF-8");
}

TEST(DocumentErrors, NameTheLineThatIsNoDocument) {
  const std::string form = R"(: write one object a line, such as {"text": "Once upon"})";
  const std::string good = "{\"text\": \"a\"}\n\n";
  EXPECT_EQ(error_of(good + "{\"id\": 1}", true), "file a.jsonl, line 3: neither text nor prompt is there" + form);
  EXPECT_EQ(error_of(good + "[1]", true), "file a.jsonl, line 3: [...] is no object" + form);
  EXPECT_EQ(error_of(good + "{\"text\": 5}", true), "file a.jsonl, line 3: text is 5: give a string");
  EXPECT_EQ(error_of(good + "{\"text\": [\"a\"]}", true), "file a.jsonl, line 3: text is [...]: give a string");
  EXPECT_EQ(error_of("{\"text\": \"a\", \"text\": \"b\"}", true),
            "file a.jsonl, line 1: text is given twice: give it once");
  EXPECT_EQ(error_of("{\"text\": \"a\", \"prompt\": \"b\"}", true),
            "file a.jsonl, line 1: both text and prompt are given: keep text, or prompt where the model is to continue "
            "it");
  for (const std::string bad : {"{\"text\": \"a\"", "text", "{\"text\": \"\xFF\"}", "{\"text\": \"\\ud800\"}"}) {
    const std::string message = error_of(good + bad, true);
    EXPECT_EQ(message.find("file a.jsonl, line 3: no JSON at byte "), 0u) << message;
    EXPECT_NE(message.find(form), std::string::npos) << message;
  }
}

TEST(DocumentErrors, RefuseDepthWhereItBegins) {
  const std::string deep(1'000'000, '[');
  EXPECT_EQ(error_of("{\"text\": \"a\", \"x\": " + deep, true),
            "file a.jsonl, line 1: nested more than 64 levels deep: leave out what is neither text nor prompt");
}

TEST(DocumentErrors, RefuseALineThatDoesNotFit) {
  EXPECT_EQ(error_of("{\"text\": \"a\"}\n{\"text\": \"" + std::string(kMostLineBytes + 1'000'000, 'a'), true),
            "file a.jsonl, line 2: longer than 16777216 bytes: cut it into several documents");
}

TEST(DocumentErrors, NameAFileWithoutText) {
  EXPECT_EQ(error_of(""), "file a.txt: no text in its 0 bytes: give a file with text, or leave it out");
  EXPECT_EQ(error_of("\n \f\t"), "file a.txt: no text in its 4 bytes: give a file with text, or leave it out");
  EXPECT_EQ(error_of("{\"text\": \"\"}", true),
            "file a.jsonl: no text in its 12 bytes: give a file with text, or leave it out");
}

// What sample_pieces() says.
class SampleErrors : public ::testing::Test {
 protected:
  std::string error(const std::vector<GroupData>& groups, const PieceOptions& options = {}) const {
    const auto pieces = sample_pieces(tokenizer_, groups, options);
    return pieces ? "no error" : pieces.error().message;
  }
  TextFiles files_;
  Tokenizer tokenizer_ = Tokenizer::make(byte_tables({})).value();
};

TEST_F(SampleErrors, NameTheFile) {
  const std::string absent = files_.path("absent.txt");
  EXPECT_EQ(error({{"a", {absent}}}), "file " + absent +
                                          ": cannot be opened: No such file or directory: check the path and its "
                                          "permissions");
  EXPECT_EQ(error({{"a", {files_.path("")}}}),
            "file " + files_.path("") + ": is not a regular file: save the text to a file");
}

TEST_F(SampleErrors, NameTheGroup) {
  const std::string tiny = files_.write("tiny.txt", "too short");
  Random random(1);
  const std::string text = files_.write("text.txt", random_text(3000, random));
  EXPECT_EQ(error({}), "no groups of text: give one, such as prose=a.txt");
  EXPECT_EQ(error({{"", {text}}}), "a group has no name: give one, such as prose=a.txt");
  EXPECT_EQ(error({{"a", {}}}), "group a has no files: give one, or leave it out");
  EXPECT_EQ(error({{"a", {text}}, {"a", {tiny}}}), "group a is given twice: give its files together");
  EXPECT_EQ(error({{"b", {tiny}}}),
            "group b: no piece of 64 tokens in 9 bytes of text (1 documents): give more text, or leave the group out");
  const std::string prompts = files_.write("p.jsonl", R"({"prompt": "Once upon a time"})");
  EXPECT_EQ(error({{"p", {prompts}}}, {.most_prompt_tokens = 15}),
            "group p: its 1 prompts are too long: give shorter ones, or raise the tokens that a prompt may have "
            "(--prompt-tokens, PieceOptions::most_prompt_tokens)");
}

TEST_F(SampleErrors, NameTheOption) {
  EXPECT_EQ(error({}, {.piece_tokens = 1}), "PieceOptions::piece_tokens 1: give 2 to 4096");
  EXPECT_EQ(error({}, {.n_choose = -1}), "PieceOptions::n_choose -1: give 0 to 1000000");
  EXPECT_EQ(error({}, {.n_fit = 0, .n_choose = 0, .n_report = 0}),
            "PieceOptions: no pieces are asked for: set n_fit, n_choose or n_report");
  EXPECT_EQ(error({}, {.shares = {0.5, 0.5, 0.5}}),
            "PieceOptions::shares 0.5, 0.5, 0.5: give shares that are together 1");
}

TEST_F(SampleErrors, AreNoneForDuplicatesWhichAreCounted) {
  Random random(1);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(random_text(150, random));
  std::string first, second;
  for (int i = 0; i < 30; ++i) first += texts[static_cast<size_t>(i)] + "\f";
  std::string spaced = texts[0];
  std::replace(spaced.begin(), spaced.end(), ' ', '\n');
  first += texts[3] + "\f" + spaced + " ";
  for (int i = 20; i < 40; ++i) second += texts[static_cast<size_t>(i)] + "\f";
  const std::vector<GroupData> groups = {{"b", {files_.write("b.txt", second)}}, {"a", {files_.write("a.txt", first)}}};
  const Pieces pieces = sample_pieces(tokenizer_, groups).value();
  EXPECT_EQ(pieces.groups[0].name, "a");
  EXPECT_EQ(pieces.groups[0].n_documents, 30);
  EXPECT_EQ(pieces.groups[0].n_duplicates, 2);
  EXPECT_EQ(pieces.groups[0].n_in_other_groups, 0);
  EXPECT_EQ(pieces.groups[1].n_documents, 10);
  EXPECT_EQ(pieces.groups[1].n_duplicates, 0);
  EXPECT_EQ(pieces.groups[1].n_in_other_groups, 10);
}

TEST_F(SampleErrors, AreNoneForPromptsWhichAreWhole) {
  std::string lines;
  for (int i = 0; i < 50; ++i)
    lines += "{\"prompt\": \"Number " + std::to_string(i) + "\", \"id\": \"" + std::to_string(i) + "\"}\n";
  const std::string path = files_.write("p.jsonl", lines);
  const std::vector<GroupData> groups = {{"p", {path}}};
  const Pieces pieces = sample_pieces(tokenizer_, groups, {.n_fit = 100, .n_choose = 100, .n_report = 100}).value();
  ASSERT_EQ(pieces.pieces.size(), 50u) << "each once";
  for (const Piece& piece : pieces.pieces) {
    EXPECT_TRUE(piece.prompt);
    EXPECT_EQ(tokenizer_.decode(piece.tokens), "Number " + pieces.documents[static_cast<size_t>(piece.document)].id);
    EXPECT_LE(piece.position, 62);
  }
}

}  // namespace
}  // namespace fathom
