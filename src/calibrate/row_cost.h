// What a row's parts cost, by the bytes that it reads: forecasts hang on no clock, so what is proposed, and then
// certified, is the same on every run. Next in the flow: src/calibrate/exit_trials.h.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/head/exit_heads.h"
#include "fathom/model/model.h"

namespace fathom {

/// Tokens of the shortlist that exit checks may look at first: a check by it costs next to nothing, and 96 to 99 % of
/// full depth's tokens are on it (docs/lossless.md).
///   returns  0 where the vocabulary is too small for one
constexpr int32_t check_tokens(int32_t vocab) { return vocab < 128 ? 0 : vocab / 8 < 4096 ? vocab / 8 : 4096; }

/// Costs of a row's parts, in passes of one row at full depth.
struct RowCost {
  double layers = 1, head = 0;
  std::vector<double> translators = {};  // [exits]
  double list = 0;                       // the shortlist that checks look at first; 0: they read the whole head
  int32_t listed = 0;                    // tokens of it
  int32_t n_layers = 1;
};

/// Mean time of each group's rows, with the layers that each ran and one head.
class MeanTime {
 public:
  MeanTime(size_t n_groups, const RowCost& cost) : cost_(cost), sums_(n_groups), rows_(n_groups) {}

  void add(int32_t group, double depth) {
    sums_[size_t(group)] += cost_.layers * depth / cost_.n_layers + cost_.head;
    ++rows_[size_t(group)];
  }
  /// [groups] 1 where there was no row.
  std::vector<double> of_groups() const {
    std::vector<double> out(sums_.size(), 1);
    for (size_t g = 0; g < out.size(); ++g) {
      if (rows_[g] > 0) out[g] = sums_[g] / double(rows_[g]);
    }
    return out;
  }

 private:
  const RowCost& cost_;
  std::vector<double> sums_;   // [groups]
  std::vector<int64_t> rows_;  // [groups]
};

///   looks_first  checks look at a shortlist of check_tokens(vocab)
RowCost row_cost(const Model& model, const FittedExits& exits, bool looks_first);

/// Bytes that a row reads in a layer.
double layer_bytes(const LayerWeights& weights);
/// Bytes that a translation reads.
double translator_bytes(const FittedExit& exit);

}  // namespace fathom
