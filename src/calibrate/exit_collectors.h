// What the fit of exits keeps of running steps: sums of states, log-sums of logits, features of answers.
// Next in the flow: src/calibrate/exit_fitting.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/calibrate/mlp.h"
#include "fathom/calibrate/ridge.h"
#include "fathom/calibrate/temperature.h"
#include "fathom/head/exit_heads.h"
#include "src/calibrate/exit_watcher.h"
#include "src/calibrate/reference.h"

namespace fathom {

/// Feeds states of exits and of the last layer to the fits of translators; rows in front of a piece are left out.
class StateCollector final : public LayerObserver {
 public:
  StateCollector(std::span<const int32_t> layers, int32_t d);
  void at(LayerLoop& loop, int32_t layer) noexcept override;

  /// Whether the coming steps are kept for the choice of lambda.
  void hold_out(bool held_out) { holding_out_ = held_out; }
  /// Of the steps so far.
  ///   errors   argument: a state that is not finite
  Result<void> error() const;

  /// Of pieces that are fitted on, every so many rows are kept for what sums do not fit; of those held out too.
  void keep_every(int64_t fitted, int64_t held_out) { every_[0] = fitted, every_[1] = held_out; }

  std::span<const int32_t> layers() const { return layers_; }
  PairMoments moments(size_t exit, bool held_out) const { return (held_out ? held_out_ : fit_)[exit].moments(); }
  RowPairs kept(size_t exit, bool held_out) const { return {kept_x_[held_out][exit], kept_y_[held_out]}; }

 private:
  void keep(LayerLoop& loop);
  std::span<const int32_t> layers_;
  std::vector<std::vector<float>> states_;  // [layers] of the running step
  std::vector<RidgeFit> fit_, held_out_;    // [layers]
  std::vector<Result<void>> errors_;        // [layers] the first of each
  bool holding_out_ = false;
  int64_t every_[2] = {1, 1}, seen_[2] = {};   // rows, fitted and held out
  std::vector<std::vector<float>> kept_x_[2];  // [layers][rows, d]
  std::vector<float> kept_y_[2];               // [rows, d]
};

/// How often each exit's answer is full depth's.
class AgreementCounter final : public ExitWatcher {
 public:
  explicit AgreementCounter(std::span<const int32_t> layers)
      : ExitWatcher(layers), tokens_(layers.size()), agreed_(layers.size()) {}
  /// Full depth's tokens of the step that is done.
  void step_done(std::span<const LogitStats> truth);
  double agreement(size_t exit) const { return rows_ > 0 ? double(agreed_[exit]) / double(rows_) : 0; }

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
            std::span<const LogitStats> stats) noexcept override;

 private:
  std::vector<std::vector<int32_t>> tokens_;  // [exits][rows of the step]
  std::vector<int64_t> agreed_;               // [exits]
  int64_t rows_ = 0;
};

/// What temperatures need of the logits at exits: they are fitted to full depth's tokens, or where the runner's loss
/// compares logits to what its tokens are drawn from.
class LogitCollector final : public ExitWatcher {
 public:
  LogitCollector(std::span<const int32_t> layers, size_t n_groups, PieceRunner& runner)
      : ExitWatcher(layers), loss_(runner.loss()), reference_(runner), cells_(static_cast<int32_t>(n_groups + 1)) {}

  /// The coming steps are of one piece.
  ///   asked    places that predict
  ///   truth    [asked] full depth's tokens
  void begin(const PieceText& text, std::span<const int32_t> asked, std::span<const int32_t> truth) {
    asked_ = asked, group_ = text.group, done_ = 0;
    if (error_) error_ = reference_.begin(text, asked_, truth);
  }
  void step_done(size_t predicted) { done_ += predicted; }

  /// [exits, groups + 1]; the last of each exit holds for all groups together.
  ///   errors   those of a step at full depth, of fit_temperatures()
  Result<std::vector<TemperatureFit>> fit() const;

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
            std::span<const LogitStats> stats) noexcept override;

 private:
  Loss loss_;
  Reference reference_;
  Result<void> error_;  // the first
  std::span<const int32_t> asked_;
  int32_t group_ = 0, cells_;
  size_t done_ = 0;  // of asked_, those of earlier steps
  std::vector<float> target_, lse_, scaled_, sums_;
  std::vector<int32_t> cell_;
};

/// Features of a probe at every exit, and whether the exit's answer was full depth's.
class ProbeCollector final : public ExitWatcher {
 public:
  explicit ProbeCollector(std::span<const int32_t> layers)
      : ExitWatcher(layers), features_(layers.size()), tokens_(layers.size()) {}

  /// Full depth's tokens of the step that is done, in the order of its rows.
  void step_done(std::span<const LogitStats> truth);

  /// The probe of an exit: with the state where that predicts better on the last quarter of the rows.
  Result<AgreementProbe> fit(size_t exit, size_t d) const;

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
            std::span<const LogitStats> stats) noexcept override;

 private:
  std::vector<std::vector<float>> features_;  // [exits][rows, 3 + d]
  std::vector<std::vector<int32_t>> tokens_;  // [exits][rows]
  std::vector<int32_t> truth_;                // [rows]
};

}  // namespace fathom
