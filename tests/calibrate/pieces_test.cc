// What holds of all pieces, whatever the text: random files, fixed seeds. Next: documents_test.cc, for what is read.
#include "fathom/calibrate/pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "src/calibrate/document_splits.h"
#include "src/calibrate/random.h"
#include "src/text/utf8.h"
#include "tests/calibrate/text_files.h"
#include "tests/text/vocabularies.h"

namespace fathom {
namespace {

using testing::random_documents;
using testing::random_text;
using testing::text_of;
using testing::TextFiles;

const Tokenizer& tokenizer() {
  static const Tokenizer made = Tokenizer::make(byte_tables({"a b", "c d", "e f", "ab cd"})).value();
  return made;
}

constexpr int32_t kTokens = 16;

PieceOptions options_of(int32_t each, uint64_t seed = 1) {
  return {.piece_tokens = kTokens, .n_fit = each, .n_choose = each, .n_report = each, .seed = seed};
}

Pieces sample(const std::vector<GroupData>& groups, const PieceOptions& options = options_of(40)) {
  return sample_pieces(tokenizer(), groups, options).value();
}

std::string bytes_of(const std::vector<int32_t>& tokens) {
  std::string bytes;
  for (const int32_t token : tokens) bytes += tokenizer().piece(token);
  return bytes;
}

// Two groups of many documents in two files each, and one of a single document.
std::vector<GroupData> random_groups(const TextFiles& files, uint64_t seed) {
  Random random(seed);
  std::string lines;
  for (int i = 0; i < 60; ++i) {
    lines += nlohmann::json{{"text", random_text(20 + random.below(200), random)}, {"id", i}}.dump() + "\n";
  }
  return {{"prose", {files.write("a.txt", random_documents(40, 100, random)), files.write("b.jsonl", lines)}},
          {"code", {files.write("c.txt", random_documents(70, 60, random))}},
          {"book", {files.write("d.txt", random_text(8000, random))}}};
}

TEST(Pieces, AreWholeAndOfTheirText) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const TextFiles files;
    const Pieces pieces = sample(random_groups(files, seed), options_of(30, seed));
    ASSERT_EQ(pieces.pieces.size(), 3u * 3 * 30) << "seed " << seed;
    for (const Piece& piece : pieces.pieces) {
      const std::string text = text_of(pieces, piece);
      std::string storage;
      ASSERT_EQ(text::valid_text(text, storage), text) << "seed " << seed << ": a character is cut";
      ASSERT_EQ(piece.tokens.size(), size_t{kTokens});
      ASSERT_EQ(text.substr(0, bytes_of(piece.tokens).size()), bytes_of(piece.tokens)) << "seed " << seed;
      ASSERT_GE(piece.position, 0);
      ASSERT_LE(piece.position, kTokens - 2);
    }
  }
}

TEST(Pieces, DoNotOverlap) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const TextFiles files;
    const Pieces pieces = sample(random_groups(files, seed), options_of(300, seed));
    std::map<int64_t, std::map<int64_t, int64_t>> extents;  // of each document: begin to end
    for (const Piece& piece : pieces.pieces) extents[piece.document][piece.offset] = piece.offset + piece.bytes;
    size_t n = 0;
    for (const auto& [document, ends] : extents) {
      int64_t end = 0;
      for (const auto& [begin, its_end] : ends) {
        ASSERT_LE(end, begin) << "seed " << seed << ", document " << document;
        end = its_end;
        ++n;
      }
    }
    EXPECT_EQ(n, pieces.pieces.size()) << "two begin at the same place";
  }
}

TEST(Pieces, OfDifferentSplitsShareNoDocumentWhereThereAreEight) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const TextFiles files;
    Random random(seed);
    const std::string path = files.write("a.txt", random_documents(8 + random.below(40), 120, random));
    const Pieces pieces = sample({{"prose", {path}}}, options_of(100, seed));
    EXPECT_FALSE(pieces.groups[0].spaced);
    std::map<int64_t, Split> splits;
    for (const Piece& piece : pieces.pieces) {
      ASSERT_EQ(splits.emplace(piece.document, piece.split).first->second, piece.split) << "seed " << seed;
    }
    EXPECT_GT(splits.size(), 4u);
  }
}

TEST(Pieces, OfDifferentSplitsInOneDocumentHaveAPieceOfTextBetweenThem) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const TextFiles files;
    Random random(seed);
    const size_t n_documents = 1 + random.below(7);
    const std::string path = files.write("a.txt", random_documents(n_documents, 2000 + random.below(2000), random));
    Pieces pieces = sample({{"prose", {path}}}, options_of(400, seed));
    EXPECT_TRUE(pieces.groups[0].spaced);
    std::sort(pieces.pieces.begin(), pieces.pieces.end(), [](const Piece& a, const Piece& b) {
      return std::pair(a.document, a.offset) < std::pair(b.document, b.offset);
    });
    std::set<Split> splits;
    for (size_t i = 0; i < pieces.pieces.size(); ++i) {
      const Piece& piece = pieces.pieces[i];
      splits.insert(piece.split);
      if (i == 0 || pieces.pieces[i - 1].document != piece.document || pieces.pieces[i - 1].split == piece.split) {
        continue;
      }
      const auto end = static_cast<size_t>(pieces.pieces[i - 1].offset + pieces.pieces[i - 1].bytes);
      const std::string between = text_of(pieces.documents[static_cast<size_t>(piece.document)])
                                      .substr(end, static_cast<size_t>(piece.offset) - end);
      ASSERT_GE(tokenizer().encode(between, {.bos = false}).value().size(), size_t{kTokens}) << "seed " << seed;
    }
    EXPECT_EQ(splits.size(), kSplits) << "seed " << seed;
  }
}

TEST(Pieces, AreTheSameWhateverTheOrderOfGroupsAndFiles) {
  const TextFiles files;
  std::vector<GroupData> groups = random_groups(files, 7);
  const Pieces first = sample(groups);
  std::reverse(groups.begin(), groups.end());
  for (GroupData& group : groups) std::reverse(group.paths.begin(), group.paths.end());
  const Pieces second = sample(groups);
  EXPECT_EQ(first.fingerprints, second.fingerprints);
  ASSERT_EQ(first.pieces.size(), second.pieces.size());
  for (size_t i = 0; i < first.pieces.size(); ++i) {
    ASSERT_EQ(first.pieces[i].tokens, second.pieces[i].tokens) << i;
    ASSERT_EQ(first.pieces[i].position, second.pieces[i].position) << i;
    ASSERT_EQ(first.pieces[i].document, second.pieces[i].document) << i;
  }
  EXPECT_EQ(first.groups[0].name, "book");
}

TEST(Pieces, DoNotDependOnWhatFilesAreCalled) {
  const TextFiles files;
  Random random(3);
  const std::string some = random_documents(20, 80, random);
  std::string others = some;  // duplicates, of which one is kept
  std::replace(others.begin(), others.end(), ' ', '\n');
  const Pieces first = sample({{"g", {files.write("a.txt", some), files.write("b.txt", others)}}});
  const Pieces second = sample({{"g", {files.write("d.txt", some), files.write("c.txt", others)}}});
  EXPECT_EQ(first.fingerprints, second.fingerprints);
}

TEST(Pieces, AreOthersForAnotherSeed) {
  const TextFiles files;
  const std::vector<GroupData> groups = random_groups(files, 7);
  const Pieces first = sample(groups, options_of(40, 1)), second = sample(groups, options_of(40, 2));
  for (size_t s = 0; s < kSplits; ++s) EXPECT_NE(first.fingerprints[s], second.fingerprints[s]);
}

TEST(Pieces, OfOneSplitDoNotDependOnHowManyAnotherHas) {
  const TextFiles files;
  const std::vector<GroupData> groups = random_groups(files, 7);
  PieceOptions options = options_of(40);
  const Pieces first = sample(groups, options);
  options.n_choose = 10;
  const Pieces second = sample(groups, options);
  EXPECT_EQ(first.fingerprints[0], second.fingerprints[0]);
  EXPECT_NE(first.fingerprints[1], second.fingerprints[1]);
  EXPECT_EQ(first.fingerprints[2], second.fingerprints[2]);
  EXPECT_EQ(first.fingerprints[0].size(), 32u);
}

TEST(Pieces, OfOneGroupDoNotDependOnOtherGroups) {
  const TextFiles files;
  const std::vector<GroupData> groups = random_groups(files, 7);
  const Pieces all = sample(groups), one = sample({groups[0]});
  std::vector<std::vector<int32_t>> of_all, of_one;
  for (const Piece& piece : all.pieces) {
    if (all.groups[static_cast<size_t>(piece.group)].name == "prose") of_all.push_back(piece.tokens);
  }
  for (const Piece& piece : one.pieces) of_one.push_back(piece.tokens);
  EXPECT_EQ(of_all, of_one);
}

TEST(Pieces, MoreFilesMoveNoDocumentToAnotherSplit) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const TextFiles files;
    Random random(seed);
    const std::string first = files.write("m.txt", random_documents(30, 60, random));
    const std::string more = files.write("a.txt", random_documents(30, 60, random));
    std::map<std::string, Split> splits;
    for (const auto& paths : {std::vector{first}, std::vector{more, first}}) {
      const Pieces pieces = sample({{"prose", paths}}, options_of(500, seed));
      for (const Piece& piece : pieces.pieces) {
        const std::string text = text_of(pieces.documents[static_cast<size_t>(piece.document)]);
        ASSERT_EQ(splits.emplace(text, piece.split).first->second, piece.split) << "seed " << seed;
      }
    }
    EXPECT_GE(splits.size(), 58u);
  }
}

TEST(Pieces, AreOfSplitsThatHaveTheirSharesOfTheDocuments) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    std::array<double, kSplits> n = {};
    for (uint64_t i = 0; i < 4000; ++i) {
      ContentHash hash;
      hash.add(std::to_string(i));
      n[static_cast<size_t>(split_of(hash.collapsed(), options_of(1, seed)))] += 1;
    }
    EXPECT_NEAR(n[0], 1000, 5 * std::sqrt(750.0)) << "seed " << seed;
    EXPECT_NEAR(n[1], 2000, 5 * std::sqrt(1000.0)) << "seed " << seed;
  }
}

TEST(Pieces, ComeFromEveryDocumentAlike) {
  const TextFiles files;
  Random random(5);
  const PieceOptions options = options_of(60, 2);
  std::string all;  // 20 long documents and 180 of a tenth of their length
  std::array<double, kSplits> n_long = {}, documents = {}, long_documents = {};
  for (int i = 0; i < 200; ++i) {
    const std::string text = random_text(i % 10 == 0 ? 3000 : 300, random);
    ContentHash hash;
    hash.add(text);
    const auto s = static_cast<size_t>(split_of(hash.collapsed(), options));
    documents[s] += 1;
    if (i % 10 == 0) long_documents[s] += 1;
    all += text + "\f";
  }
  const Pieces pieces = sample({{"prose", {files.write("a.txt", all)}}}, options);
  for (const Piece& piece : pieces.pieces) {
    const std::string text = text_of(pieces.documents[static_cast<size_t>(piece.document)]);
    if (text.size() > 10000) n_long[static_cast<size_t>(piece.split)] += 1;
  }
  for (size_t s = 0; s < kSplits; ++s) {
    const double share = long_documents[s] / documents[s];
    ASSERT_LT(share, 0.3) << "split " << s << " shows nothing";
    EXPECT_NEAR(n_long[s], 60 * share, 4 * std::sqrt(60 * share * (1 - share))) << "split " << s;
  }
}

TEST(Pieces, OfFewDocumentsComeFromTheirTextByItsLength) {
  const TextFiles files;
  Random random(5);
  const std::string text = random_text(20000, random) + "\f" + random_text(2000, random);
  PieceOptions options = options_of(200, 2);
  for (const int64_t fewest : {2, 3}) {
    options.fewest_documents = fewest;
    const Pieces pieces = sample({{"prose", {files.write("a.txt", text)}}}, options);
    EXPECT_EQ(pieces.groups[0].spaced, fewest == 3);
    if (fewest == 2) continue;
    int64_t n_short = 0;
    for (const Piece& piece : pieces.pieces) {
      n_short += text_of(pieces.documents[static_cast<size_t>(piece.document)]).size() < 30000;
    }
    EXPECT_LT(n_short, std::ssize(pieces.pieces) / 5);
    EXPECT_GT(n_short, 0);
  }
}

TEST(Pieces, LieAnywhereInADocument) {
  const TextFiles files;
  Random random(5);
  const std::string path = files.write("a.txt", random_text(60000, random));
  const Pieces pieces = sample({{"prose", {path}}}, options_of(400));
  const auto bytes = static_cast<double>(pieces.groups[0].bytes);
  std::array<double, 10> tenths = {};
  std::array<double, kTokens - 1> positions = {};
  for (const Piece& piece : pieces.pieces) {
    tenths[static_cast<size_t>(static_cast<double>(piece.offset) / bytes * 10)] += 1;
    positions[static_cast<size_t>(piece.position)] += 1;
  }
  for (const double n : tenths) EXPECT_NEAR(n, 120, 5 * std::sqrt(120.0));
  for (const double n : positions) EXPECT_NEAR(n, 80, 5 * std::sqrt(80.0));
}

TEST(Pieces, BeginWithWords) {
  const TextFiles files;
  Random random(5);
  const Pieces pieces = sample({{"prose", {files.write("a.txt", random_text(9000, random))}}});
  for (const Piece& piece : pieces.pieces) {
    const char first = text_of(pieces, piece)[0];
    EXPECT_TRUE(piece.offset == 0 || first == ' ' || first == '\n') << first;
  }
}

TEST(Pieces, BeginWithACharacterWhereNoWordBegins) {
  const TextFiles files;
  Random random(5);
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += random.below(2) == 0 ? "\xE6\xB0\xB4" : "\xF0\x9F\x90\x9F";
  const Pieces pieces = sample({{"prose", {files.write("a.txt", text)}}});
  ASSERT_EQ(pieces.pieces.size(), 120u);
  std::string storage;
  for (const Piece& piece : pieces.pieces) {
    EXPECT_EQ(text::valid_text(text_of(pieces, piece), storage), text_of(pieces, piece)) << piece.offset;
  }
}

TEST(Pieces, BeginWithoutTheSpaceThatTheTokenizerPutsThere) {
  TokenizerTables tables = sentencepiece_tables({"\xE2\x96\x81"}, {-1});
  tables.add_space_prefix = true;
  const Tokenizer prefixing = Tokenizer::make(tables).value();
  const TextFiles files;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "word ";
  const std::vector<GroupData> groups = {{"prose", {files.write("a.txt", text)}}};
  const Pieces pieces = sample_pieces(prefixing, groups, options_of(10)).value();
  ASSERT_EQ(pieces.pieces.size(), 30u);
  for (const Piece& piece : pieces.pieces) {
    EXPECT_EQ(piece.tokens[0], kFirstPiece);
    EXPECT_EQ(piece.tokens[1], 'w');
  }
}

TEST(Pieces, ThatAreMissingAreCounted) {
  const TextFiles files;
  Random random(5);
  const std::string few = files.write("few.txt", random_documents(20, 20, random));
  const std::string many = files.write("many.txt", random_documents(200, 50, random));
  const Pieces pieces = sample({{"few", {few}}, {"many", {many}}}, options_of(60));
  std::array<std::array<int64_t, kSplits>, 2> counted = {};
  for (const Piece& piece : pieces.pieces) {
    ++counted[static_cast<size_t>(piece.group)][static_cast<size_t>(piece.split)];
  }
  for (size_t g = 0; g < 2; ++g) {
    EXPECT_EQ(pieces.groups[g].n_pieces, counted[g]);
    for (size_t s = 0; s < kSplits; ++s) EXPECT_EQ(pieces.groups[g].n_missing[s], 60 - counted[g][s]);
  }
  EXPECT_GT(pieces.groups[0].n_missing[0], 0);
  EXPECT_EQ(pieces.groups[1].n_missing, (std::array<int64_t, kSplits>{}));
}

TEST(Pieces, TakeADocumentThatIsJustLongEnough) {
  const TextFiles files;
  std::string text;  // one byte is one token here
  for (char c = 'g'; c <= 'z'; ++c) text += std::string(kTokens, c) + "\f" + std::string(kTokens - 1, c) + "\f";
  const Pieces pieces = sample({{"g", {files.write("a.txt", text)}}}, options_of(30));
  EXPECT_TRUE(pieces.groups[0].spaced) << "too short to be counted on";
  EXPECT_EQ(pieces.pieces.size(), 20u);
  EXPECT_EQ(pieces.groups[0].n_short, 20);
}

TEST(Pieces, PassOverTextThatIsNearlyEmpty) {
  const TextFiles files;
  Random random(5);
  // One token of 4096 spaces would be no text; here each space is a token, so a vocabulary with long ones is made.
  TokenizerTables tables = sentencepiece_tables({}, {});
  std::string mark = "\xE2\x96\x81", run = mark;
  for (int i = 0; i < 12; ++i, run += run) {
    tables.tokens.push_back(run);
    tables.scores.push_back(static_cast<float>(i));
    tables.kinds.push_back(TokenKind::normal);
  }
  const Tokenizer spaces = Tokenizer::make(tables).value();
  const std::string text = random_text(2000, random) + std::string(100'000, ' ') + random_text(2000, random);
  const std::vector<GroupData> groups = {{"prose", {files.write("a.txt", text)}}};
  const Pieces pieces = sample_pieces(spaces, groups, options_of(50)).value();
  int64_t n_behind = 0;
  for (const Piece& piece : pieces.pieces) n_behind += piece.offset > 100'000 ? 1 : 0;
  EXPECT_GT(n_behind, 0);
  EXPECT_GT(pieces.pieces.size(), 100u);
}

}  // namespace
}  // namespace fathom
