// Label heads: what they say, their bytes, and those that are refused.
#include "fathom/classify/label_heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "src/calibrate/random.h"
#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::expect_refused;

constexpr int32_t kWidth = 5, kLayers = 3;

ModelConfig config() {
  ModelConfig config;
  config.n_layers = kLayers;
  config.d_model = kWidth;
  return config;
}

FittedLabels some_heads(bool several = false) {
  Random random(3);
  FittedLabels fitted{.labels = {"a", "b", "c"}, .several = several};
  fitted.words = {.buckets = {4, 90, 777}, .rarity = {1, 2, 1.5f}};
  for (int32_t layer = 0; layer <= kLayers; ++layer) {
    FittedLabelHead head{.layer = layer, .linear = {.labels = 3}, .temperature = 0.5f + float(layer)};
    for (int i = 0; i < 3 * (layer == 0 ? 3 : kWidth); ++i) head.linear.weights.push_back(float(random.normal()));
    for (int i = 0; i < 3; ++i) head.linear.bias.push_back(float(random.normal()));
    head.agreement = {.slope = 1.5f, .offset = float(layer) - 1};
    fitted.heads.push_back(head);
  }
  return fitted;
}

std::shared_ptr<const LabelHeads> made(bool several = false) {
  return LabelHeads::make(config(), some_heads(several)).value();
}

TEST(LabelHeads, one_label_is_the_likeliest_of_a_softmax_at_the_temperature) {
  const auto heads = made();
  const std::vector<float> mean = {1, -1, 0.5f, 2, 0};
  const FittedLabelHead& head = *heads->at(2);
  const LabelAnswer answer = heads->answer(head, mean);
  std::vector<float> logits(3);
  head.linear(mean, logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x} / head.temperature);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(answer.probability[i], std::exp(double{logits[i]} / head.temperature) / sum, 1e-6);
  }
  EXPECT_EQ(answer.best, std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_FLOAT_EQ(answer.confidence, answer.probability[size_t(answer.best)]);
  const double best = double{answer.confidence}, next = best - double{answer.margin};
  EXPECT_NEAR(answer.score, std::log(best / (1 - best)) + std::log(best / next), 1e-3);
}

TEST(LabelHeads, several_labels_are_sure_as_a_whole_and_same_as_a_set) {
  const auto heads = made(true);
  const LabelAnswer a = heads->answer(*heads->at(1), std::vector<float>{1, -1, 0.5f, 2, 0});
  double whole = 1;
  for (const float p : a.probability) whole *= std::max(p, 1 - p);
  EXPECT_NEAR(a.confidence, whole, 1e-6);
  LabelAnswer b = a;
  EXPECT_TRUE(a.same(b, true));
  b.probability[1] = 1 - b.probability[1];
  EXPECT_FALSE(a.same(b, true));
  EXPECT_TRUE(a.same(b, false));  // `best` is what one label is compared by
}

TEST(LabelHeads, full_depth_agrees_with_itself_whatever_its_map_says) {
  const auto heads = made();
  const LabelAnswer answer = heads->answer(*heads->at(kLayers), std::vector<float>(kWidth, 0.1f));
  EXPECT_EQ(heads->agreement(*heads->at(kLayers), answer), 1);
  EXPECT_LT(heads->agreement(*heads->at(1), answer), 1);
}

TEST(LabelHeads, bytes_give_back_the_same_heads) {
  for (const bool several : {false, true}) {
    const FittedLabels fitted = some_heads(several);
    EXPECT_EQ(read_labels(label_bytes(fitted)).value(), fitted);
  }
}

TEST(LabelHeads, cut_off_bytes_are_refused_at_every_length) {
  const std::vector<std::byte> bytes = label_bytes(some_heads());
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(read_labels(std::span(bytes).first(n))) << n;
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  expect_refused(read_labels(longer), ErrorCode::format, {"labels", "1 bytes are left over"});
}

TEST(LabelHeads, changed_bytes_give_heads_or_an_error_and_never_more_memory_than_bytes) {
  const std::vector<std::byte> bytes = label_bytes(some_heads());
  Random random(9);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::byte> damaged = bytes;
    for (int n = 0; n < 3; ++n) {
      damaged[size_t(random.uniform() * double(bytes.size()))] = std::byte(int(random.uniform() * 256));
    }
    if (const auto read = read_labels(damaged)) (void)LabelHeads::make(config(), *read);
  }
}

TEST(LabelHeads, heads_that_do_not_fit_the_model_are_refused) {
  struct Case {
    std::vector<std::string> says;
    std::function<void(FittedLabels&)> breaks;
  };
  const Case cases[] = {
      {{"0 labels"}, [](FittedLabels& f) { f.labels.clear(); }},
      {{"twice"}, [](FittedLabels& f) { f.labels[1] = "a"; }},
      {{"none at full depth", "3 layers"}, [](FittedLabels& f) { f.heads.pop_back(); }},
      {{"depth 1 behind 1"}, [](FittedLabels& f) { f.heads[2].layer = 1; }},
      {{"depth 4"}, [](FittedLabels& f) { f.heads[3].layer = 4; }},
      {{"depth 2", "14 weights"}, [](FittedLabels& f) { f.heads[2].linear.weights.pop_back(); }},
      {{"depth 0", "temperature 0"}, [](FittedLabels& f) { f.heads[0].temperature = 0; }},
      {{"depth 1", "no finite number"}, [](FittedLabels& f) { f.heads[1].linear.bias[0] = NAN; }},
      {{"bucket 4 behind 90"}, [](FittedLabels& f) { std::swap(f.words.buckets[0], f.words.buckets[1]); }},
  };
  for (const Case& c : cases) {
    FittedLabels fitted = some_heads();
    c.breaks(fitted);
    const auto refused = LabelHeads::make(config(), fitted);
    ASSERT_FALSE(refused) << c.says.front();
    for (const std::string& part : c.says) {
      EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
    }
  }
}

}  // namespace
}  // namespace fathom
