// Linear label classifiers: optimal to the gradient, on dense and sparse rows, with one label and with several.
#include "fathom/classify/label_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "src/calibrate/random.h"
#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::expect_refused;

struct Data {
  int32_t features = 0, labels = 0;
  std::vector<float> dense;
  std::vector<std::vector<SparseTerm>> sparse;
  std::vector<float> targets;
  int64_t n() const { return std::ssize(targets) / labels; }
  FeatureRows dense_rows() const { return {.n = n(), .features = features, .dense = dense}; }
  FeatureRows sparse_rows() const { return {.n = n(), .features = features, .sparse = sparse}; }
};

/// Rows around the centre of their label; the same numbers dense and sparse.
Data random_data(int64_t n, int32_t features, int32_t labels, bool several, uint64_t seed) {
  Random random(seed);
  Data data{.features = features, .labels = labels};
  for (int64_t i = 0; i < n; ++i) {
    const auto label = static_cast<int32_t>(random.uniform() * labels);
    std::vector<float> row(static_cast<size_t>(labels), 0.0f);
    row[static_cast<size_t>(label)] = 1;
    if (several && random.uniform() < 0.5) row[static_cast<size_t>((label + 1) % labels)] = 1;
    auto& terms = data.sparse.emplace_back();
    for (int32_t f = 0; f < features; ++f) {
      const auto x = static_cast<float>(random.normal() + (row[static_cast<size_t>(f % labels)] != 0 ? 1.5 : 0));
      data.dense.push_back(x);
      terms.push_back({f, x});
    }
    data.targets.insert(data.targets.end(), row.begin(), row.end());
  }
  return data;
}

std::vector<float> logits_of(const LinearLabels& fit, const Data& data) {
  std::vector<float> out(data.targets.size());
  for (int64_t i = 0; i < data.n(); ++i) {
    fit(std::span(data.dense).subspan(size_t(i) * size_t(data.features), size_t(data.features)),
        std::span(out).subspan(size_t(i) * size_t(data.labels), size_t(data.labels)));
  }
  return out;
}

/// The objective as its docstring writes it, in the raw features' units, without a penalty on anything else.
double objective(const LinearLabels& fit, const Data& data, bool several, float l2) {
  double square = 0;
  for (const float w : fit.weights) square += double{w} * w;
  return label_loss(logits_of(fit, data), data.targets, data.labels, several) + 0.5 * l2 * square;
}

TEST(LabelFit, no_small_change_of_a_weight_lowers_the_objective) {
  for (const bool several : {false, true}) {
    const Data data = random_data(300, 6, 3, several, 7);
    const float l2 = 1e-2f;
    const LinearLabels fit = fit_labels(data.sparse_rows(), data.targets, 3, {.several = several, .l2 = l2}).value();
    const double best = objective(fit, data, several, l2);
    for (size_t i = 0; i < fit.weights.size() + fit.bias.size(); ++i) {
      for (const float step : {-0.01f, 0.01f}) {
        LinearLabels moved = fit;
        (i < fit.weights.size() ? moved.weights[i] : moved.bias[i - fit.weights.size()]) += step;
        EXPECT_GE(objective(moved, data, several, l2), best - 1e-7) << several << " " << i;
      }
    }
  }
}

TEST(LabelFit, labels_that_can_be_told_apart_are) {
  const Data data = random_data(500, 12, 4, false, 3);
  const LinearLabels fit = fit_labels(data.dense_rows(), data.targets, 4).value();
  const std::vector<float> logits = logits_of(fit, data);
  int64_t right = 0;
  for (int64_t i = 0; i < data.n(); ++i) {
    const auto row = std::span(logits).subspan(size_t(i) * 4, 4);
    const auto best = std::max_element(row.begin(), row.end()) - row.begin();
    right += data.targets[size_t(i * 4 + best)] != 0;
  }
  EXPECT_GT(right, 450);
}

TEST(LabelFit, sparse_and_dense_rows_that_are_standard_already_give_the_same) {
  Data data = random_data(400, 4, 2, false, 11);
  // Standardised by hand, so that what the dense fit does inside changes nothing.
  for (int32_t f = 0; f < 4; ++f) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < data.n(); ++i) mean += data.dense[size_t(i * 4 + f)] / double(data.n());
    for (int64_t i = 0; i < data.n(); ++i)
      square += std::pow(data.dense[size_t(i * 4 + f)] - mean, 2) / double(data.n());
    for (int64_t i = 0; i < data.n(); ++i) {
      float& x = data.dense[size_t(i * 4 + f)];
      x = static_cast<float>((x - mean) / std::sqrt(square));
      data.sparse[size_t(i)][size_t(f)].value = x;
    }
  }
  const LinearLabels dense = fit_labels(data.dense_rows(), data.targets, 2).value();
  const LinearLabels sparse = fit_labels(data.sparse_rows(), data.targets, 2).value();
  for (size_t i = 0; i < dense.weights.size(); ++i) EXPECT_NEAR(dense.weights[i], sparse.weights[i], 2e-3);
}

TEST(LabelFit, a_feature_that_never_changes_gets_no_weight) {
  Data data = random_data(600, 2, 2, false, 13);
  for (size_t i = 1; i < data.dense.size(); i += 2) data.dense[i] = 0.37f;
  for (const float l2 : {1e-1f, 1e-2f, 1e-3f, 1e-4f}) {
    const LinearLabels fit = fit_labels(data.dense_rows(), data.targets, 2, {.l2 = l2}).value();
    EXPECT_EQ(fit.weights[1], 0);
    EXPECT_EQ(fit.weights[3], 0);
    EXPECT_LT(label_loss(logits_of(fit, data), data.targets, 2, false), std::log(2.0));
  }
}

TEST(LabelFit, a_temperature_that_was_put_in_is_found) {
  const Data data = random_data(3000, 6, 3, false, 5);
  const LinearLabels fit = fit_labels(data.dense_rows(), data.targets, 3).value();
  std::vector<float> logits = logits_of(fit, data);
  const float natural = fit_label_temperature(logits, data.targets, 3, false);
  EXPECT_NEAR(natural, 1, 0.1);
  for (float& x : logits) x *= 3;
  EXPECT_NEAR(fit_label_temperature(logits, data.targets, 3, false), 3 * natural, 0.02);
}

TEST(LabelFit, what_another_fit_says_is_learnt_as_it_stands) {
  for (const bool several : {false, true}) {
    const Data data = random_data(2000, 6, 3, several, 19);
    const LinearLabels first = fit_labels(data.sparse_rows(), data.targets, 3, {.several = several}).value();
    std::vector<float> said = logits_of(first, data);
    for (size_t i = 0; i < said.size(); i += 3) {
      double sum = 0;
      for (size_t c = i; c < i + 3; ++c) sum += said[c] = std::exp(said[c]);
      for (size_t c = i; c < i + 3; ++c) said[c] /= several ? 1 + said[c] : static_cast<float>(sum);
    }
    const LinearLabels second =
        fit_labels(data.sparse_rows(), said, 3, {.several = several, .l2 = 1e-7f, .most_steps = 500}).value();
    const auto between = [&](const LinearLabels& fit, size_t i) { return fit.weights[i] - fit.weights[i % 6]; };
    for (size_t i = 6; i < first.weights.size(); ++i) {
      EXPECT_NEAR(between(second, i), between(first, i), 5e-3) << several << " " << i;
    }
  }
}

TEST(LabelFit, what_is_wrong_with_rows_is_told) {
  Data data = random_data(10, 2, 2, false, 1);
  expect_refused(fit_labels({.n = 9, .features = 2, .dense = data.dense}, data.targets, 2), ErrorCode::shape,
                 {"9 rows", "do not fit"});
  expect_refused(fit_labels({}, {}, 2), ErrorCode::argument, {"0 rows"});
  data.dense[3] = std::numeric_limits<float>::quiet_NaN();
  expect_refused(fit_labels(data.dense_rows(), data.targets, 2), ErrorCode::argument, {"row 1", "nan"});
}

}  // namespace
}  // namespace fathom
