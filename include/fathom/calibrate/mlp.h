// A translator with one hidden layer on top of an affine one, trained on stored rows.
// Next in the flow: calibrate/temperature.h, for the head behind it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/calibrate/ridge.h"
#include "fathom/core/result.h"

namespace fathom {

/// y = base(x) + gelu(norm(x) w1 + b1) w2 + b2, norm(x) = x / sqrt(mean(x^2) + epsilon), gelu in its tanh form.
struct MlpTranslator {
  AffineTranslator base;
  int32_t hidden = 0;     // h
  float epsilon = 1e-6f;  // of the norm
  std::vector<float> w1;  // [d, h]
  std::vector<float> b1;  // [h]
  std::vector<float> w2;  // [h, d]
  std::vector<float> b2;  // [d]
};

/// dst = the translation of x.
///   x, dst   [n, d]   may not overlap
///   cost     the base's and 4 n d h operations
FATHOM_API void translate(const MlpTranslator& translator, std::span<const float> x, std::span<float> dst);

/// Rows before and after the layers that a translator stands for.
struct RowPairs {
  std::span<const float> x;  // [n, d]
  std::span<const float> y;  // [n, d]
};

/// Mean over rows and outputs of (metric[j] * (y - translation)[j])^2.
///   metric   [d] or empty
FATHOM_API double mean_squared_error(const MlpTranslator& translator, const RowPairs& rows,
                                     std::span<const float> metric = {});

struct MlpEpoch {
  int32_t epoch = 0;          // from 1
  double training_error = 0;  // mean over the epoch's batches, each before its step, in units of the base's error
  double held_out_error = 0;  // as mean_squared_error
};

struct MlpOptions {
  int32_t hidden = 256;
  int32_t max_epochs = 30;  // a budget that is the same on every machine
  int32_t patience = 4;     // epochs without a better held-out error before it stops
  int32_t batch = 256;      // rows
  float learning_rate = 2e-3f;
  float weight_decay = 1e-2f;  // of w1 and w2, decoupled
  uint64_t seed = 1;
  std::span<const float> metric = {};  // [d] or empty: what an output's error is multiplied with
  /// Called after each epoch; returning false ends the training with the best so far (a budget of time).
  bool (*on_epoch)(void* context, const MlpEpoch& epoch) = nullptr;
  void* context = nullptr;
};

struct MlpFit {
  MlpTranslator translator;
  double base_error = 0;   // on the held-out rows
  double error = 0;        // on the same; never above base_error
  int32_t epochs = 0;      // run
  int32_t best_epoch = 0;  // 0: nothing was better than the base, which is returned with w2 = 0
};

/// Trains by Adam in mini-batches from w2 = 0, that is from the base itself, and keeps the epoch that is best on the
/// held-out rows. Each output's residual is measured in its own standard deviation, so that one step size serves all;
/// the rate falls to 0 along a cosine. The same bits for the same rows, options, build and machine.
///   errors   argument: a value that is not finite (by row and column), no rows on a side, an option out of range;
///            shape: rows that do not fit the base
///   cost     each epoch 10 d h operations for a training row and the base's + 4 d h for a held-out one, in f32;
///            memory 4 d bytes for each training row, and 16 d h
///   source   Kingma, Ba 2015 (Adam); Loshchilov, Hutter 2019 (decoupled decay)
FATHOM_API Result<MlpFit> fit_mlp(const AffineTranslator& base, const RowPairs& training, const RowPairs& held_out,
                                  const MlpOptions& options = {});

}  // namespace fathom
