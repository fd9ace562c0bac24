// TokenSet: the tokens of an encoder's texts beside one another: which matters more, which is most like which, and what
// becomes of a text when some of them go. Next in the flow: engine/boundary.h, which asks it between layers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/active_set.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct LayerLoop;

class TokenSet {
 public:
  /// Rows of a text whose attention is looked at, at most, when tokens are ranked by what they receive.
  static constexpr int32_t kMostLooked = 256;

  /// Prepares for a step under a policy with these settings.
  void begin(const Settings& settings);

  /// Whether a boundary that reads these signals needs to know where attention went.
  bool reads_attention(SignalSet next) const;

  /// Keeps of a half that attended what the coming boundary reads: what each token received, and the keys' places.
  ///   layer   that attended
  void look(LayerLoop& loop, int32_t layer, SignalSet next);

  /// Tells rows what they are worth in their texts.
  ///   layer   behind the rows
  ///   steps   [rows]
  void tell(LayerLoop& loop, int32_t layer, SignalSet reads, std::span<Step> steps);

  /// Takes decisions back that cannot be: of protected tokens, and of those without a partner to join. Then rows go,
  /// states join, and the cells of what is left move together.
  ///   which, decided   [n] rows, and what is decided of each
  void act(LayerLoop& loop, std::span<const int32_t> which, std::span<Decision> decided);

 private:
  struct Text {
    int64_t first = 0, n = 0;  // of by_text_
    float lost = 0;            // share of its attention
    float dropping = 0;        // of what is left of that, at this boundary
    bool changed = false;
    int32_t looked_at = -1;    // the last layer whose attention was looked at
    int32_t silenced_at = -1;  // the last in which some of its rows had silent heads
  };

  std::span<const int32_t> rows_of(const Text& text) const {
    return std::span(by_text_).subspan(static_cast<size_t>(text.first), static_cast<size_t>(text.n));
  }
  void group(std::span<const RowState> rows);
  bool is_protected(int32_t row) const { return protected_[static_cast<size_t>(row)]; }
  bool both_noise(const LayerLoop& loop, const RowState& a, const RowState& b) const;
  Text& text_of(int32_t row) { return texts_[static_cast<size_t>(text_of_[static_cast<size_t>(row)])]; }
  void look_at(LayerLoop& loop, int32_t layer, Text& text);
  bool ranks_by_attention() const {
    return settings_.rank_by == TokenOrder::attention || settings_.rank_by == TokenOrder::entropy;
  }
  void choose_looked(const Text& text);
  float worth(const LayerLoop& loop, int32_t row) const;
  void rank(LayerLoop& loop, int32_t layer, const Text& text, std::span<const int32_t> left,
            std::span<Step> steps) const;
  void pair(LayerLoop& loop, int32_t layer, std::span<const int32_t> left, std::span<Step> steps) const;
  void pair_neighbours(LayerLoop& loop, std::span<Step> steps);
  bool can_go(const LayerLoop& loop, int32_t row, Verdict verdict) const;
  bool join(LayerLoop& loop, int32_t row) const;
  void close_up(LayerLoop& loop, const Text& text) const;

  Settings settings_{};
  std::vector<Text> texts_;
  std::vector<int32_t> by_text_;    // rows, those of a text side by side, in their order
  std::vector<int32_t> text_of_;    // [rows]
  std::vector<bool> protected_;     // [rows] tokens around a text, and those that the policy protects
  std::vector<float> received_;     // [rows] of attention in the layer just run: mean over heads and the rows looked at
  std::vector<float> entropy_;      // [rows] of its own attention, nats
  int32_t keys_of_ = -1;            // the layer whose keys are known
  std::vector<int32_t> key_place_;  // [rows] in the layer's list of keys; -1: it has none
  std::vector<int32_t> place_;      // [rows] among those that attended; -1: it did not
  std::vector<int32_t> cells_;      // rows of a text that are there
  std::vector<int32_t> looked_;     // places of those of its rows whose attention is looked at
  std::vector<int32_t> from_;
  std::vector<float> shares_;  // [at most kMostLooked, cells]
};

}  // namespace fathom
