// At which places of a piece a policy is compared with full depth, and that nothing else hangs on them. Next:
// tests/calibrate/calibrate_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "fathom/calibrate/recheck.h"
#include "fathom/calibrate/report.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/settings.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

TEST(ComparedPlaces, EachIsAsLikelyAsAnyOtherAndNoneCountsTwice) {
  for (const int32_t places : {1, 2, 16, 17, 31, 63, 255}) {
    for (const int32_t most : {1, 2, 16, 40, 300}) {
      std::vector<int32_t> times(size_t(places), 0);
      const int32_t n = std::min(most, places);
      for (int32_t first = 0; first < places; ++first) {
        const PieceText text{
            .lead = {}, .tokens = std::vector<int32_t>(size_t(places) + 1), .first = first, .most_compared = most};
        const std::vector<int32_t> compared = text.compared();
        EXPECT_EQ(std::ssize(std::set<int32_t>(compared.begin(), compared.end())), n) << places << ", " << most;
        EXPECT_TRUE(std::is_sorted(compared.begin(), compared.end()));
        for (const int32_t place : compared) ++times[size_t(place)];
      }
      for (const int32_t t : times) EXPECT_EQ(t, n) << places << " places, " << most << " of them";
    }
  }
}

TEST(ComparedPlaces, CostAQuarterOfTheLayersUnlessThatIsFewerThanSixteen) {
  const auto n = [](int32_t n_layers, int32_t vocab, int32_t places) {
    return compared_places(testing::tiny_model({.n_layers = n_layers, .vocab = vocab}).config(), places);
  };
  EXPECT_EQ(n(4, 384, 63), 63) << "heads are cheap";
  EXPECT_EQ(n(1, 16384, 63), 16);
  EXPECT_EQ(n(1, 16384, 9), 9) << "a short piece";
  const ModelConfig& config = testing::tiny_model({.n_layers = 4, .vocab = 1024}).config();
  const WorkModel work(config);
  const int32_t some = compared_places(config, 63);
  EXPECT_GT(some, 16);
  EXPECT_LT(some, 63);
  EXPECT_NEAR(some * work.head(), .25 * 63 * work.full(31, false), work.head());
}

constexpr int32_t kPlaces = 63;

struct Compared {
  Model model = testing::tiny_model({.type = DType::q8_0});
  PieceText text{.lead = {1, 2, 3}, .tokens = testing::random_ids(kPlaces + 1, 320, 1)};
  PieceRunner runner = make();
  Progress progress{nullptr, nullptr};

  PieceRunner make() const {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = text.tokens});
    return PieceRunner::make(model, pieces, 2).value();
  }
  SettingRun run(const Policy& policy, int32_t first, int32_t most) {
    text.first = first, text.most_compared = most;
    const PieceText* const texts[] = {&text};
    const auto truth = true_tokens(runner, texts, progress).value();
    return run_setting(runner, texts, truth, policy, 1, progress).value();
  }
};

// The promise is about the share of all tokens, and only its mean over the draw of places is bounded.
TEST(ComparedPlaces, TheirMeanOverAllBeginningsIsThePiecesLoss) {
  Compared c;
  for (const double temperature : {0.0, .8}) {
    c.runner.compare_by(Loss(temperature));
    const Policy policy = exit_at{.layer = 3};
    const float whole = c.run(policy, 0, kPlaces).losses[0];
    ASSERT_GT(whole, 0);
    ASSERT_LT(whole, 1);
    std::set<float> seen;
    double mean = 0;
    for (int32_t first = 0; first < kPlaces; ++first) {
      const float loss = c.run(policy, first, 16).losses[0];
      seen.insert(loss);
      mean += loss / kPlaces;
    }
    EXPECT_NEAR(mean, whole, 1e-6) << "at temperature " << temperature;
    EXPECT_GT(seen.size(), 1u) << "places do not matter";
  }
}

// A policy may read what was predicted before a row, and how dear a row's head is.
TEST(ComparedPlaces, APolicyDoesTheSameWhereverItIsCompared) {
  Compared c;
  for (const char* text : {"exit_when(confidence_at_least=0.02)", "skip_when(similarity_above=0.9)",
                           "exit_at(layer=2) | budget(of_full=0.8)", "exit_when(signal=last_entropy, below=5.2)",
                           "exit_at(layer=2) | full_depth_after(low_margin=0.02, rows=2)"}) {
    const Policy policy = Policy::parse(text).value();
    const SettingRun whole = c.run(policy, 0, kPlaces), some = c.run(policy, 5, 16);
    EXPECT_EQ(some.depths, whole.depths) << text;
    EXPECT_LT(whole.mean_depth, 4) << text;
    EXPECT_EQ(some.mean_depth, whole.mean_depth) << text;
    EXPECT_NEAR(some.work, whole.work, .1) << text;
    double work = 0;  // each place is in 16 of 63 draws
    for (int32_t first = 0; first < kPlaces; ++first) work += c.run(policy, first, 16).work / kPlaces;
    EXPECT_NEAR(work, whole.work, 2e-3) << text;
  }
}

constexpr int32_t kPieceTokens = 24;
constexpr double kRisk = 0.3;

// Heads are dear, and two layers of four do little: without them some tokens change.
struct HeadHeavy {
  testing::Bytes bytes = heavy();
  Model model = Model::from_bytes(bytes).value();
  testing::TextFiles files;
  Pieces pieces = sample();

  static testing::Bytes heavy() {
    testing::GgufWriter writer = testing::tiny_writer({.vocab = 2048});
    for (const char* name :
         {"blk.1.attn_output.weight", "blk.1.ffn_down.weight", "blk.2.attn_output.weight", "blk.2.ffn_down.weight"}) {
      testing::Bytes& data = writer.tensor(name).data;
      for (size_t at = 0; at < data.size(); at += sizeof(float)) {
        float value = 0;
        std::memcpy(&value, &data[at], sizeof value);
        value *= .04f;
        std::memcpy(&data[at], &value, sizeof value);
      }
    }
    return writer.bytes();
  }
  Pieces sample() {
    std::string words;
    for (int i = 0; i < 6000; ++i) words += fmt::format("w{}{}", i * 7919 % 613, i % 60 == 59 ? '\f' : ' ');
    return sample_pieces(model.tokenizer(), std::vector<GroupData>{{"text", {files.write("a.txt", words)}}},
                         {.piece_tokens = kPieceTokens, .n_fit = 12, .n_choose = 40, .n_report = 6})
        .value();
  }
  Pieces certified() const {
    Pieces out = pieces;
    std::erase_if(out.pieces, [](const Piece& piece) { return piece.split != Split::choose; });
    return out;
  }
};

TEST(ComparedPlaces, ACheckOfTheSamePiecesComparesAtTheSamePlaces) {
  HeadHeavy h;
  ASSERT_EQ(compared_places(h.model.config(), kPieceTokens - 1), 16);
  const Calibration found =
      calibrate(h.model, h.pieces, {.risk = kRisk, .n_exits = 1, .n_settings = 2, .measured_tokens = 8}).value();
  const CalibratedSetting& setting = found.settings.front();
  ASSERT_TRUE(setting.run);
  ASSERT_EQ(setting.bounds.size(), 1u);
  EXPECT_GT(setting.bounds[0].mean, 0) << "nothing is lost anywhere";
  const auto policy = Policy::parse(setting.policy).value();
  const Recheck again = recheck(h.model, policy, found.exits, h.certified(), {.risk = kRisk}).value();
  EXPECT_EQ(again.groups[0].bound.mean, setting.bounds[0].mean);
  EXPECT_EQ(again.groups[0].bound.n, setting.bounds[0].n);
  Pieces moved = h.certified();
  for (Piece& piece : moved.pieces) piece.position = (piece.position + 1) % (kPieceTokens - 1);
  const Recheck elsewhere = recheck(h.model, policy, found.exits, moved, {.risk = kRisk}).value();
  EXPECT_NE(elsewhere.groups[0].bound.mean, setting.bounds[0].mean) << "positions do not matter";

  const auto json = nlohmann::json::parse(found.report);
  EXPECT_EQ(json["run"]["compared_places"], 16);
  const auto page = report_html(found.report);
  ASSERT_TRUE(page.has_value()) << page.error().message;
  EXPECT_NE(page->find("at 16 of its 23 places"), std::string::npos);
}

}  // namespace
}  // namespace fathom
