// Calibration on prompts alone, where the model writes the text of every piece. Next: tests/calibrate/recheck_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/engine/generate.h"
#include "src/calibrate/piece_runner.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom {
namespace {

constexpr int32_t kPieceTokens = 24;

// A model with depth to spare and prompts for it: the first words of lines.
struct Prompted {
  testing::SpareLanguage language = testing::spare_language();
  testing::GgufWriter writer = testing::spare_writer(language);
  testing::Bytes bytes = writer.bytes();
  testing::TextFiles files;

  Model model() const { return Model::from_bytes(bytes).value(); }

  void end_at(int32_t token) {
    writer.set_u32("tokenizer.ggml.eos_token_id", uint32_t(token));
    bytes = writer.bytes();
  }

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

std::vector<std::vector<int32_t>> answers_of(const Model& model, const Pieces& pieces) {
  PieceRunner runner = PieceRunner::make(model, pieces, 1).value();
  std::vector<std::vector<int32_t>> answers;
  for (const Piece& piece : pieces.pieces) answers.push_back(runner.text_of(piece).value().tokens);
  return answers;
}

// The token that stands most often at a place of the answers.
int32_t most_frequent(const std::vector<std::vector<int32_t>>& answers, size_t place) {
  std::map<int32_t, int> counts;
  for (const auto& answer : answers) ++counts[answer[place]];
  return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

TEST(Prompts, AreAnsweredByAsManyTokensAsAPieceHas) {
  const Prompted prompted;
  const Model model = prompted.model();
  const Pieces pieces = prompted.sample(model, prompted.lines(120));
  ASSERT_GE(pieces.pieces.size(), 40u);
  for (const Piece& piece : pieces.pieces) ASSERT_TRUE(piece.prompt);
  for (const auto& answer : answers_of(model, pieces)) EXPECT_EQ(answer.size(), size_t{kPieceTokens});
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

TEST(Prompts, ThatTheModelDoesNotAnswerAreCountedAndNoPieces) {
  Prompted prompted;
  const std::string lines = prompted.lines(160);
  const Pieces all = prompted.sample(prompted.model(), lines);
  prompted.end_at(most_frequent(answers_of(prompted.model(), all), 1));
  const Model model = prompted.model();
  const Pieces pieces = prompted.sample(model, lines);
  int64_t unanswered = 0;
  for (const auto& answer : answers_of(model, pieces)) unanswered += answer.size() < 2;
  ASSERT_GT(unanswered, 0);
  const Calibration found = calibrate(model, pieces, {.risk = 0.3, .n_exits = 2, .n_settings = 2}).value();
  const GroupText& text = found.texts[0];
  EXPECT_EQ(text.n_unanswered, unanswered);
  EXPECT_EQ(text.n_pieces[0] + text.n_pieces[1] + text.n_pieces[2] + unanswered, std::ssize(pieces.pieces));
  const auto group = nlohmann::json::parse(found.report)["groups"][0];
  EXPECT_EQ(group["left_out"]["unanswered"], unanswered);
  EXPECT_EQ(group["pieces"]["choose"], text.n_pieces[size_t(Split::choose)]);
}

// All answers have two or three tokens: a setting passes, and nothing can be timed.
TEST(Prompts, WithShortAnswersAreCertifiedAndNotTimed) {
  Prompted prompted;
  const std::string lines = prompted.lines(900);
  const Pieces all = prompted.sample(prompted.model(), lines);
  prompted.end_at(most_frequent(answers_of(prompted.model(), all), 2));
  const Model model = prompted.model();
  Session session = Session::make(model, {.max_tokens = 128}).value();
  std::string few;
  for (size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
    const std::string line = lines.substr(at, lines.find('\n', at) + 1 - at);
    const std::string prompt = nlohmann::json::parse(line)["prompt"];
    const auto ids = model.tokenizer().encode(prompt, {.bos = false}).value();
    const size_t n = generate(session, ids, {.max_new_tokens = 8}).value().tokens.size();
    if (n == 2 || n == 3) few += line;
  }
  const Pieces pieces = prompted.sample(model, few);
  const Calibration found = calibrate(model, pieces, {.risk = 0.5, .n_exits = 2, .n_settings = 2}).value();
  ASSERT_TRUE(found.texts[0].suffices()) << found.report;
  ASSERT_GE(found.passed, 0) << "nothing was certified";
  EXPECT_TRUE(found.speeds.empty());
  EXPECT_TRUE(found.lossless);
  EXPECT_NE(found.promise.find("could be timed"), std::string::npos) << found.promise;
  EXPECT_NE(found.report.find("not timed: behind no prompt did every policy write 4 tokens"), std::string::npos);
}

}  // namespace
}  // namespace fathom
