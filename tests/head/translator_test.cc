// Kinds of translators in the engine, against the maps that were fitted. Next: tests/head/hot_head_test.cc.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "fathom/calibrate/mlp.h"
#include "fathom/calibrate/parts.h"
#include "fathom/engine/layer_loop.h"
#include "fathom/engine/session.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kLayer = 2, kRank = 32, kHidden = 64;

// Few bits each, so that BF16 holds them.
std::vector<float> some(size_t n, uint64_t seed, float scale) {
  std::mt19937_64 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = float(int(random() % 129) - 64) / 64 * scale;
  return values;
}

std::vector<float> turned(const std::vector<float>& values, size_t rows) {
  const size_t cols = values.size() / rows;
  std::vector<float> out(values.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) out[c * rows + r] = values[r * cols + c];
  }
  return out;
}

AffineTranslator affine(size_t d, size_t r) {
  AffineTranslator t{.width = int32_t(d), .rank = int32_t(r), .down = some(d * (r > 0 ? r : d), 1, 0.125f)};
  t.up = some(r * d, 2, 0.5f);
  t.bias = some(d, 3, 0.5f);
  return t;
}

FittedExit exit_of(const AffineTranslator& t) {
  const auto d = size_t(t.width), r = size_t(t.rank);
  FittedExit exit{.layer = kLayer, .temperatures = {1}, .agreement = {AgreementMap{.slope = 1}}};
  exit.translator = turned(t.down, d);
  exit.bias = t.bias;
  if (r > 0) exit.up = turned(t.up, r);
  return exit;
}

MlpTranslator mlp(size_t d) {
  return {.base = affine(d, 0),
          .hidden = kHidden,
          .w1 = some(d * kHidden, 4, 0.25f),
          .b1 = some(kHidden, 5, 1),
          .w2 = some(kHidden * d, 6, 0.25f),
          .b2 = std::vector<float>(d)};
}

FittedFill fill_of(size_t d, int32_t layer) {
  return {layer, some(kRank * d, 7, 0.25f), some(kRank * d, 8, 0.25f), some(d, 9, 0.5f)};
}

FittedExit exit_of(const MlpTranslator& t) {
  FittedExit exit = exit_of(t.base);
  const auto d = size_t(t.base.width);
  exit.hidden = {.first = turned(t.w1, d), .offset = t.b1, .second = turned(t.w2, kHidden)};
  return exit;
}

// At the exit's boundary: what its answer is, and what the plain head says of states translated by the fitted map.
template <class Map>
class Compared final : public LayerObserver {
 public:
  explicit Compared(Map map) : map_(std::move(map)) {}
  void at(LayerLoop& loop, int32_t layer) noexcept override {
    if (layer != kLayer) return;
    const size_t n = loop.rows.size(), d = size_t(loop.config.d_model);
    std::vector<int32_t> which(n);
    for (size_t i = 0; i < n; ++i) which[i] = int32_t(i);
    std::vector<LogitStats> stats(n);
    const std::vector<float> states(loop.buffers.x, loop.buffers.x + n * d);
    loop.answer(which, layer, stats.data());
    const auto logits = [&] {
      return std::vector<float>(loop.buffers.logits, loop.buffers.logits + n * size_t(loop.buffers.vocab));
    };
    answered = logits();
    std::vector<float> moved(n * d);
    translate(map_, states, moved);
    std::copy(moved.begin(), moved.end(), loop.buffers.x);
    const ExitHeads* const fitted = std::exchange(loop.fitted, nullptr);
    loop.answer(which, layer, stats.data());
    meant = logits();
    loop.fitted = fitted;
    std::copy(states.begin(), states.end(), loop.buffers.x);
  }
  std::vector<float> answered, meant;

 private:
  Map map_;
};

template <class Map>
void expect_same(const Map& map) {
  const Model model = testing::tiny_model({.type = DType::f32}, {.numerics = Numerics::exact});
  Session session = Session::make(model, {.max_tokens = 32, .max_rows = 16, .max_logit_rows = 16}).value();
  session.use(ExitHeads::make(model, {.groups = {}, .exits = {exit_of(map)}}).value()).value();
  Compared<Map> compared(map);
  session.observe(&compared);
  testing::run(session, testing::random_ids(9, model.config().vocab, 3), {.chunk = 9});
  session.observe(nullptr);
  ASSERT_EQ(compared.answered.size(), 9u * size_t(model.config().vocab));
  for (size_t i = 0; i < compared.answered.size(); ++i) {
    ASSERT_NEAR(compared.answered[i], compared.meant[i], 1e-3f * (1 + std::fabs(compared.meant[i]))) << i;
  }
}

TEST(Translators, OfFullRankAnswerAsTheyWereFitted) { expect_same(affine(64, 0)); }
TEST(Translators, OfLowRankAnswerAsTheyWereFitted) { expect_same(affine(64, kRank)); }
TEST(Translators, WithAHiddenLayerAnswerAsTheyWereFitted) { expect_same(mlp(64)); }

TEST(Translators, ArePaidByTheirKind) {
  const Model model = testing::tiny_model({});
  const Policy policy = Policy::parse("exit_at(2)").value();
  const auto macs = [&](std::shared_ptr<const ExitHeads> exits) {
    Session session = Session::make(model, {.max_tokens = 8}).value();
    session.use(std::move(exits)).value();
    const Row rows[] = {{.token = 1, .kind = RowKind::generated, .logits = true}};
    return session.step(rows, policy.ref()).value().rows[0].macs;
  };
  const auto of = [&](FittedExit exit) {
    return macs(ExitHeads::make(model, {.groups = {}, .exits = {exit}}).value());
  };
  const double none = macs(nullptr);
  EXPECT_EQ(of(exit_of(affine(64, 0))) - none, 64 * 64);
  EXPECT_EQ(of(exit_of(affine(64, kRank))) - none, 2 * 64 * kRank);
  EXPECT_EQ(of(exit_of(mlp(64))) - none, 64 * 64 + 2 * 64 * kHidden);
}

TEST(Translators, OfWrongSizesAreRefused) {
  const Model model = testing::tiny_model({});
  const auto refused = [&](FittedExit exit) {
    const auto made = ExitHeads::make(model, {.groups = {}, .exits = {std::move(exit)}});
    return made.has_value() ? std::string() : made.error().message;
  };
  FittedExit low = exit_of(affine(64, kRank));
  low.translator.pop_back();
  EXPECT_NE(refused(low).find("a translator of 2047 and 2048"), std::string::npos) << refused(low);
  low.translator.clear(), low.bias.clear();
  EXPECT_NE(refused(low).find("a translator of 0 and 2048 and a bias of 0"), std::string::npos) << refused(low);
  FittedExit hidden = exit_of(mlp(64));
  hidden.hidden.second.pop_back();
  EXPECT_NE(refused(hidden).find("a hidden layer of"), std::string::npos);
  hidden = exit_of(mlp(64));
  hidden.up = some(64 * kRank, 1, 1), hidden.translator = some(64 * kRank, 1, 1);
  EXPECT_NE(refused(hidden).find("beside a translator of full rank"), std::string::npos) << refused(hidden);
  hidden = exit_of(mlp(64));
  hidden.hidden.first[7] = NAN;
  EXPECT_NE(refused(hidden).find("not finite"), std::string::npos);
}

TEST(KvTranslators, OfWrongSizesOrLayersAreRefused) {
  const Model model = testing::tiny_model({.n_layers = 5});  // a feed-forward half of 96: ranks up to 32
  const auto refused = [&](std::vector<FittedFill> fills) {
    FittedExit exit = exit_of(affine(64, 0));
    exit.fills = std::move(fills);
    const auto made = ExitHeads::make(model, {.groups = {}, .exits = {std::move(exit)}});
    return made.has_value() ? std::string() : made.error().message;
  };
  EXPECT_EQ(refused({fill_of(64, 4), fill_of(64, 5)}), "");
  for (const int32_t layer : {-1, 2, 3, 6}) {
    EXPECT_NE(refused({fill_of(64, layer)}).find("layers rise from 4 to 5"), std::string::npos)
        << refused({fill_of(64, layer)});
  }
  EXPECT_NE(refused({fill_of(64, 5), fill_of(64, 4)}).find("layers rise"), std::string::npos);
  EXPECT_NE(refused({fill_of(64, 4), fill_of(64, 4)}).find("layers rise"), std::string::npos);
  EXPECT_NE(refused({fill_of(96, 4)}).find("for states of 64"), std::string::npos);
  for (std::vector<float> FittedFill::*part : {&FittedFill::down, &FittedFill::up, &FittedFill::bias}) {
    FittedFill fill = fill_of(64, 4);
    (fill.*part).pop_back();
    EXPECT_NE(refused({fill}).find("a KV translator of"), std::string::npos) << refused({fill});
    fill = fill_of(64, 4);
    (fill.*part)[5] = INFINITY;
    EXPECT_NE(refused({fill}).find("of layer 4 is not finite"), std::string::npos) << refused({fill});
  }
  FittedFill none{.layer = 4, .down = {}, .up = {}, .bias = some(64, 1, 1)};
  EXPECT_NE(refused({none}).find("its rank is 1 to 32"), std::string::npos) << refused({none});
  FittedFill wide{.layer = 4, .down = some(48 * 64, 1, 1), .up = some(48 * 64, 2, 1), .bias = some(64, 3, 1)};
  EXPECT_NE(refused({wide}).find("its rank is 1 to 32"), std::string::npos) << refused({wide});
}

TEST(Translators, AreReadBackFromPartsAsTheyWereWritten) {
  FittedExits exits{.groups = {}, .exits = {exit_of(affine(64, 0)), exit_of(affine(64, kRank)), exit_of(mlp(64))}};
  exits.exits[1].fills = {fill_of(64, 4), fill_of(64, 6)};
  exits.shortlist = {3, 1, 2};
  const std::vector<std::byte> bytes = parts_bytes(exits);
  EXPECT_EQ(read_parts(bytes).value(), exits);  // BF16 holds every number
  for (size_t n = 0; n < bytes.size(); n += 1 + n / 5) {
    EXPECT_FALSE(read_parts(std::span(bytes).first(n)).has_value()) << n << " bytes";
  }
}

TEST(KvTranslators, OfDamagedPartsAreNotRead) {
  FittedExits exits{.groups = {},
                    .exits = {{.layer = 2, .temperatures = {1}, .agreement = {AgreementMap{.slope = 1}}}}};
  exits.exits[0].fills = {fill_of(64, 4)};
  const std::vector<std::byte> bytes = parts_bytes(exits);
  ASSERT_EQ(read_parts(bytes).value(), exits);
  // Behind the last map: how many, then layer, width and rank of the first.
  const size_t behind = bytes.size() - sizeof(uint32_t) - 2 * 2 * kRank * 64 - 4 * 64 - 4 * sizeof(uint32_t);
  const auto error_with = [&](size_t at, uint32_t value) {
    std::vector<std::byte> damaged = bytes;
    std::memcpy(damaged.data() + behind + at * sizeof value, &value, sizeof value);
    const auto read = read_parts(damaged);
    return read.has_value() ? std::string() : read.error().message;
  };
  EXPECT_NE(error_with(0, 513).find("KV translators 513: at most 512"), std::string::npos) << error_with(0, 513);
  EXPECT_NE(error_with(0, 2).find("cut off"), std::string::npos) << error_with(0, 2);
  EXPECT_NE(error_with(1, 1 << 20).find("layer of a KV translator"), std::string::npos) << error_with(1, 1 << 20);
  EXPECT_NE(error_with(2, 1 << 30).find("width of a KV translator"), std::string::npos) << error_with(2, 1 << 30);
  EXPECT_NE(error_with(2, 1 << 16).find("cut off"), std::string::npos) << error_with(2, 1 << 16);
  EXPECT_NE(error_with(3, 65).find("rank of a KV translator 65: at most 64"), std::string::npos) << error_with(3, 65);
}

// What earlier formats hold of an exit of width 1: layer, width, translator, bias, temperature, probe, map.
TEST(Translators, PartsOfEarlierFormatsAreStillRead) {
  const auto bytes_of = [](uint32_t format) {
    std::vector<std::byte> out;
    const auto put = [&](const auto& value) {
      const auto* const from = reinterpret_cast<const std::byte*>(&value);
      out.insert(out.end(), from, from + sizeof value);
    };
    for (const uint32_t n : {format, 0u, 1u, 2u, 1u}) put(n);  // no group, one exit behind layer 2, width 1
    if (format == 3) put(uint32_t{0}), put(uint32_t{0});       // no low rank, no hidden layer
    put(uint16_t{0x3f00});                                     // 0.5
    for (const float v : {0.25f, 1.5f}) put(v);                // bias, temperature
    put(uint32_t{0});                                          // no state in the probe
    for (const float v : {1.0f, 0.0f, 0.0f, 0.0f}) put(v);
    const std::vector<float> map = AgreementMap{.slope = 1}.to_floats();
    put(uint32_t(map.size()));
    for (const float v : map) put(v);
    if (format >= 2) put(uint32_t{1}), put(int32_t{9});
    return out;
  };
  const FittedExits first = read_parts(bytes_of(1)).value(), second = read_parts(bytes_of(2)).value(),
                    third = read_parts(bytes_of(3)).value();
  for (const FittedExits* read : {&first, &second, &third}) {
    ASSERT_EQ(read->exits.size(), 1u);
    EXPECT_EQ(read->exits[0].translator, std::vector<float>{0.5f});
    EXPECT_EQ(read->exits[0].bias, std::vector<float>{0.25f});
    EXPECT_EQ(read->exits[0].temperatures, std::vector<float>{1.5f});
    EXPECT_TRUE(read->exits[0].up.empty() && read->exits[0].hidden == HiddenLayer{} && read->exits[0].fills.empty());
  }
  EXPECT_TRUE(first.shortlist.empty());
  EXPECT_EQ(second.shortlist, std::vector<int32_t>{9});
}

}  // namespace
}  // namespace fathom
