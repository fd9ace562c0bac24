// ActiveSet: the rows of a step and what each does in the coming layer, as index lists over memory that stays put.
// Next in the flow: engine/layer_loop.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/macros.h"
#include "fathom/policy/decision.h"

namespace fathom {

/// Whether a row is in a step to run the layers it owes, and how far.
enum class Settles : uint8_t {
  nothing,      ///< a row of its own
  with_others,  ///< as deep as some row of its sequence goes
  all,
};

/// Of a row that does not leave early.
inline constexpr int32_t kStays = -1;

/// The running state of one row inside a step.
struct RowState {
  int32_t token = 0;
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t cell = 0;       // where its keys and values go: its position, until tokens before it are gone
  int32_t last_cell = 0;  // that it sees of its sequence: its own, or in an encoder the sequence's last
  int32_t generated = 0;  // generated rows of its sequence before it
  RowKind kind = RowKind::prompt;
  bool predicts = false;     // its logits are wanted
  bool draft = false;        // its token is a guess
  int32_t slot = -1;         // where they go; -1 for rows that do not predict
  bool exact = true;         // its state is, so far, bit for bit that of full depth
  int32_t checked_at = 0;    // the last boundary whose answer was computed for it; 0: none
  int32_t left_at = kStays;  // layers behind it when it left
  bool answered = false;     // its logits are in place
  bool removed = false;      // dropped, or merged into another
  int32_t partner = -1;      // the row that it is most like: it joins that one where it is merged; -1: none
  float stands_for = 1;      // tokens: itself, and those that joined it
  int32_t last_answer = -1;  // argmax of that check
  int32_t agreeing = 0;      // checks in a row with this answer
  float half_layers = 0;     // sublayers run
  double macs = 0;           // multiply-adds so far
  double full_macs = 0;      // of full depth

  // Depth debt: a row may enter with layers behind it, and may leave owing those above its last exact state.
  int32_t from = 0;              // layers behind it when it enters
  double macs_before = 0;        // of `macs`, those of earlier steps
  const float* state = nullptr;  // [d] its state there; null where from is 0
  Settles settles = Settles::nothing;
  bool asks = true;        // the policy decides about it
  float* kept = nullptr;   // [d] where its last exact state is kept; null where it may owe nothing
  int32_t owes_from = -1;  // layers of which that is the state; -1: it owes nothing

  /// Keeps its state, with `layers` exact layers behind it: it owes those above.
  void owe(int32_t layers, std::span<const float> now) {
    owes_from = layers;
    std::copy(now.begin(), now.end(), kept);
  }
  void ran_half(double cost) {
    half_layers += 1;
    macs += cost;
  }
};

/// Who does what in the coming layer. Lists hold row indices in ascending order within each part.
class ActiveSet {
 public:
  void reset(std::span<const RowState> rows) {
    running_.clear();
    attend_.clear();
    write_.clear();
    feed_.clear();
    verdicts_.assign(rows.size(), Verdict::run);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].settles == Settles::nothing) running_.push_back(static_cast<int32_t>(i));
    }
  }
  /// A row that was waiting runs from the coming layer on.
  void enter(int32_t row) { running_.insert(std::upper_bound(running_.begin(), running_.end(), row), row); }
  /// A running row waits again; its cells above are left alone.
  void leave(int32_t row) { running_.erase(std::lower_bound(running_.begin(), running_.end(), row)); }

  /// Rows that have not left.
  std::span<const int32_t> running() const { return running_; }
  /// What a row does in the coming layer. Holds until set again; a row that left has Verdict::exit.
  void set(int32_t row, Verdict verdict) { verdicts_[static_cast<size_t>(row)] = verdict; }
  Verdict verdict(int32_t row) const { return verdicts_[static_cast<size_t>(row)]; }

  /// Sorts all rows by their verdicts and lets those that exit go.
  void act() {
    attend_.clear();
    feed_.clear();
    silenced_.clear();
    size_t kept = 0;
    for (int32_t row : running_) {
      const Verdict v = verdicts_[static_cast<size_t>(row)];
      if (!skips_attention(v)) (silences_heads(v) ? silenced_ : attend_).push_back(row);
      if (!skips_feed_forward(v)) feed_.push_back(row);
      if (!exits(v)) running_[kept++] = row;
    }
    running_.resize(kept);
    attend_.insert(attend_.end(), silenced_.begin(), silenced_.end());
    write_ = attend_;
    for (size_t row = 0; row < verdicts_.size(); ++row) {
      const Verdict v = verdicts_[row];
      if (skips_attention(v) && !removes(v)) write_.push_back(static_cast<int32_t>(row));
    }
  }

  /// Rows whose sequence nobody attends in any more write no cells: they would not be read.
  void forget_finished(std::span<const RowState> rows, int32_t n_sequences) {
    read_.assign(static_cast<size_t>(n_sequences), false);
    for (const int32_t row : attend_) read_[static_cast<size_t>(rows[static_cast<size_t>(row)].sequence)] = true;
    std::erase_if(write_,
                  [&](int32_t row) { return !read_[static_cast<size_t>(rows[static_cast<size_t>(row)].sequence)]; });
  }

  /// Rows that attend; the last n_silenced() of them do so without the heads that the policy names.
  std::span<const int32_t> attend() const { return attend_; }
  int64_t n_silenced() const { return static_cast<int64_t>(silenced_.size()); }
  /// Rows whose keys and values are written: first attend(), then those that are only filled.
  std::span<const int32_t> write() const { return write_; }
  std::span<const int32_t> feed() const { return feed_; }

 private:
  std::vector<int32_t> running_, attend_, silenced_, write_, feed_;
  std::vector<Verdict> verdicts_;  // of every row
  std::vector<bool> read_;         // [sequences]
};

}  // namespace fathom
