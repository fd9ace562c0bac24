// RowScreen: one row's way from bounds to the panels that must be multiplied in full. Next in the flow:
// src/head/screened_head.cc, which runs the steps of all rows.
//
//   begin      what the options ask for, or why they need the whole head
//   note       bounds of a few panels, from any thread; then adjust: bias and penalties, on bounds
//   choose     the panels that most likely hold the answer; they are multiplied
//   raise      their logits give a threshold
//   sift       with noise: what the threshold leaves open, with each token's noise, from any thread; the most promising
//              panels are multiplied and raise the threshold once more
//   finish     the panels whose bound reaches the threshold are the rest
//
// The threshold: greedy, the best logit found; with noise, the best score times T; with truncation, a logit that every
// kept one reaches (top_k: the k-th best found; min_p: from the best found), noise left aside.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/head/screened_head.h"
#include "fathom/sample/noise.h"
#include "src/sample/adjustments.h"

namespace fathom {

inline constexpr int kPanelTokens = 16;
inline constexpr int64_t kFirstPanels =
    8;  // multiplied before anything is known; two decide the threshold on most rows

/// Memory of one row.
struct RowSpace {
  float* logits;        // [vocab]          upper bounds, then logits where panels are multiplied
  float* bound;         // [panels]         largest upper bound; after sift, of what is compared with the threshold
  float* middle;        // [panels]         twice the largest middle of bounds
  uint8_t* scored;      // [panels]         1: multiplied
  int32_t* list;        // [list_size]      panels to multiply next
  float* first_bounds;  // [list_size, 16]  upper bounds of panels multiplied before the rest
  float* values;        // [list_size, 16]  their logits, adjusted
  int64_t vocab, panels, list_size;
};

class RowScreen {
 public:
  /// Why the row needs the whole head, as far as its use tells.
  FullHead begin(const LogitUse& use, const RowSpace& space);

  /// Takes bounds of panels [panel, panel + n), [n, 16] each.
  void note(int64_t panel, int64_t n, const float* lower, const float* upper);

  void adjust();

  /// Fills the list with the first panels; false where they are too many.
  bool choose();

  /// Takes the logits of the list, which is multiplied now, into the threshold.
  void raise();

  bool has_noise() const { return rule_ == Rule::noisy; }

  /// Adds noise to the bounds of panels [begin, end) that could reach the threshold; others leave the race.
  void sift(int64_t begin, int64_t end);

  /// Fills the list with the panels of the largest bounds: where noise has changed who is first.
  void choose_again();

  /// Fills the list with the rest, and reports on all; false where they are too many.
  bool finish(ScreenReport& report);

  std::span<const int32_t> list() const { return {space_.list, static_cast<size_t>(n_list_)}; }

  /// Panels [begin, end) that were not multiplied become -infinity.
  void clear_rest(int64_t begin, int64_t end);

 private:
  enum class Rule : uint8_t { greedy, noisy, kept };

  int64_t outputs_of(int64_t panel) const;
  float compared(float bound, int64_t token) const;
  bool survives(float compared) const;
  int64_t count_survivors(const float* bounds, int64_t panel) const;
  bool any_reaches(const float* of, int64_t panel, float least) const;
  void list_largest(const float* of, int64_t wanted);
  void load_values(int64_t panel, float* values);
  void find_threshold();
  void offer_scores(int64_t panel, const float* values);

  LogitUse use_;
  RowSpace space_{};
  Rule rule_ = Rule::greedy;
  NoiseKey key_;
  float temperature_ = 0;
  int64_t n_list_ = 0;
  int64_t n_first_ = 0;    // panels multiplied before the rest
  int64_t survivors_ = 0;  // among panels that were multiplied before the last threshold
  double threshold_ = 0;
  double best_score_ = 0;
  Adjustments adjustments_;
  std::vector<float> changed_;  // of adjusted tokens
};

}  // namespace fathom
