// Calibration on prompts alone, where the model writes the text of every piece. Next: tests/calibrate/recheck_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/piece_runner.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

constexpr int32_t kPieceTokens = 24;

// A model with depth to spare and prompts for it: the first words of lines.
struct Prompted {
  testing::SpareLanguage language = testing::spare_language();
  testing::Bytes bytes = testing::spare_writer(language).bytes();
  testing::TextFiles files;

  Model model() const { return Model::from_bytes(bytes).value(); }

  std::string lines(int n) const {
    const std::string text = testing::spare_text(language, testing::SpareText::prose, 4 * n);
    std::string out;
    for (size_t at = 0; n > 0 && at < text.size(); at += 97) {
      const size_t begin = text.find(' ', at), end = text.find(' ', begin + 30);
      if (end == std::string::npos) break;
      out += nlohmann::json{{"prompt", text.substr(begin, end - begin)}}.dump() + "\n";
      --n;
    }
    return out;
  }
  Pieces sample(const Model& model, const std::string& text) const {
    return sample_pieces(model.tokenizer(), std::vector<GroupData>{{"chat", {files.write("chat.jsonl", text)}}},
                         {.piece_tokens = kPieceTokens, .n_fit = 16, .n_choose = 24, .n_report = 10})
        .value();
  }
};

TEST(Prompts, AreAnsweredByAsManyTokensAsAPieceHas) {
  const Prompted prompted;
  const Model model = prompted.model();
  const Pieces pieces = prompted.sample(model, prompted.lines(120));
  PieceRunner runner = PieceRunner::make(model, pieces, 1).value();
  ASSERT_GE(pieces.pieces.size(), 40u);
  for (const Piece& piece : pieces.pieces) {
    ASSERT_TRUE(piece.prompt);
    EXPECT_EQ(runner.text_of(piece).value().places(), kPieceTokens - 1);
  }
}

TEST(Prompts, AloneAreCalibratedAtEveryPlaceOfTheirAnswers) {
  const Prompted prompted;
  const Model model = prompted.model();
  const Pieces pieces = prompted.sample(model, prompted.lines(120));
  const Calibration found =
      calibrate(model, pieces, {.risk = 0.3, .n_exits = 2, .n_settings = 2, .measured_tokens = 8}).value();
  const auto report = nlohmann::json::parse(found.report);
  EXPECT_EQ(report["run"]["pieces_tokens"], kPieceTokens);
  int64_t places = 0;
  for (const auto& n : report["exit_depth"]["groups"][0]["counts"]) places += n.get<int64_t>();
  EXPECT_EQ(places, pieces.groups[0].n_pieces[size_t(Split::report)] * (kPieceTokens - 1));
  EXPECT_GT(places, 0);
}

}  // namespace
}  // namespace fathom
