// TextSteps: texts to tokens, and steps of an encoder filled with whole texts of all lengths. Next in the flow:
// src/engine/embed.cc, which pools the rows of each; src/classify/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "fathom/engine/embed.h"
#include "fathom/engine/layer_loop.h"
#include "fathom/engine/session.h"

namespace fathom {

/// The ids of a text, those around it included.
struct TextIds {
  std::vector<int32_t> ids;
  bool truncated = false;

  /// Without those around it.
  std::span<const int32_t> inner() const { return std::span(ids).subspan(1, ids.size() - 2); }
};

/// Where a text's rows stand in a step.
struct TextRows {
  size_t text = 0;  // index into what run() was given
  int64_t first = 0, n = 0;
};

/// What became of a text's rows, once its step is over.
struct TextRun {
  float depth = 0;  // layers run, mean over its rows
  double work = 0;  // multiply-adds, of full depth's
  int32_t tokens_kept = 0;
};

class TextSteps {
 public:
  /// Sees each step's texts between layers; calls for texts of one step may be spread over the loop's pool by whoever
  /// implements it.
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept = 0;
    /// Whether at() asks where attention went.
    virtual bool reads_attention() const noexcept { return false; }
  };

  ///   errors   those of Encoder::make()
  static Result<TextSteps> make(const Model& model, const EncoderOptions& options);

  /// The ids of a text, as many as there is room for. Of a long one no more is read than is needed.
  Result<TextIds> read(std::string_view text) const;

  /// Runs texts, as many in a step as find room, in their order.
  ///   returns  [texts]
  ///   errors   those of Session::step()
  Result<std::vector<TextRun>> run(std::span<const TextIds> texts, const Policy& policy, Trace* trace,
                                   Observer& observer);

  Session& session() { return session_; }
  const Model& model() const { return session_.model(); }
  const EncoderOptions& options() const { return options_; }

 private:
  TextSteps(Session session, const EncoderOptions& options) : session_(std::move(session)), options_(options) {}
  Result<void> step(const Policy& policy, Trace* trace, Observer& observer, std::span<TextRun> runs);

  Session session_;
  EncoderOptions options_;
  std::vector<Row> rows_;
  std::vector<TextRows> in_step_;  // by sequence
};

/// A mean of rows' states by the tokens they stand for, in double precision.
class StateMean {
 public:
  explicit StateMean(int32_t d_model) : sum_(static_cast<size_t>(d_model), 0.0) {}
  void add(const RowState& row, std::span<const float> state) {
    const double each = row.stands_for;
    for (size_t c = 0; c < sum_.size(); ++c) sum_[c] += each * static_cast<double>(state[c]);
    tokens_ += each;
  }
  std::vector<double> value() && {
    for (double& x : sum_) x /= tokens_;
    return std::move(sum_);
  }

 private:
  std::vector<double> sum_;
  double tokens_ = 0;
};

/// The mean of states [first, first + n) of a step, without rows that were removed.
std::vector<double> mean_state(const LayerLoop& loop, int64_t first, int64_t n);

}  // namespace fathom
