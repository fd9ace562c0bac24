// Answers of label heads between an encoder's layers: one for each text, which all of its rows are told.
// Next in the flow: classify/label_heads.h.
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "fathom/classify/label_heads.h"
#include "fathom/engine/boundary.h"
#include "fathom/engine/layer_loop.h"
#include "src/engine/text_steps.h"

namespace fathom {

namespace {

// A hash of what is said, for patience: FNV-1a over the labels.
int32_t answer_of(const LabelAnswer& answer, bool several) {
  uint32_t hash = 2166136261u;
  for (const int32_t label : answer.labels(several)) hash = (hash ^ static_cast<uint32_t>(label)) * 16777619u;
  return static_cast<int32_t>(hash >> 1);
}

}  // namespace

// Places in asking_, the rows of a text side by side.
void Boundary::sort_by_text(const LayerLoop& loop) {
  by_text_.resize(asking_.size());
  std::iota(by_text_.begin(), by_text_.end(), 0);
  std::stable_sort(by_text_.begin(), by_text_.end(),
                   [&](int32_t a, int32_t b) { return text_of(loop, a) < text_of(loop, b); });
}

int32_t Boundary::text_of(const LayerLoop& loop, int32_t place) const {
  return loop.row(asking_[static_cast<size_t>(place)]).sequence;
}

void Boundary::check_labels(LayerLoop& loop, int32_t layer) {
  const FittedLabelHead* const head = loop.labels->at(layer);
  if (head == nullptr) return;
  sort_by_text(loop);
  const auto d = static_cast<size_t>(loop.config.d_model);
  for (size_t begin = 0, end = 0; begin < by_text_.size(); begin = end) {
    while (end < by_text_.size() && text_of(loop, by_text_[end]) == text_of(loop, by_text_[begin])) ++end;
    const auto rows = std::span(by_text_).subspan(begin, end - begin);
    const auto row_of = [&](int32_t place) { return asking_[static_cast<size_t>(place)]; };
    const SignalSet wants = wanted(loop, layer, loop.row(row_of(rows[0])).kind);
    if (!wants.any(kExitSignals)) continue;
    StateMean of_text(loop.config.d_model);
    for (const int32_t place : rows) of_text.add(loop.row(row_of(place)), loop.buffers.state(row_of(place)));
    const std::vector<double> mean = std::move(of_text).value();
    const std::vector<float> rounded(mean.begin(), mean.end());
    const auto n = static_cast<double>(rows.size());
    const LabelAnswer answer = loop.labels->answer(*head, rounded);
    const int32_t said = answer_of(answer, loop.labels->several());
    const double cost = static_cast<double>(d) * (n + loop.labels->n_labels()) / n;  // of each row
    for (const int32_t place : rows) {
      RowState& row = loop.row(row_of(place));
      row.macs += cost;
      if (wants.has(Signal::agreeing)) {
        row.agreeing = said == row.last_answer ? row.agreeing + 1 : 1;
        row.last_answer = said;
      }
      Step& step = steps_[static_cast<size_t>(row_of(place))];
      step.set(Signal::exit_confidence, answer.confidence);
      step.set(Signal::exit_margin, answer.margin);
      step.set(Signal::exit_entropy, answer.entropy);
      step.set(Signal::agreeing, static_cast<float>(row.agreeing));
      step.set(Signal::agreement, loop.labels->agreement(*head, answer));
    }
  }
}

// A text has one answer, so its rows leave together: where one of them stays, all do but those that are removed, and
// where none stays, none is removed from what answers.
void Boundary::leave_together(const LayerLoop& loop) {
  sort_by_text(loop);
  for (size_t begin = 0, end = 0; begin < by_text_.size(); begin = end) {
    bool all = true;
    for (; end < by_text_.size() && text_of(loop, by_text_[end]) == text_of(loop, by_text_[begin]); ++end) {
      all &= exits(said_[static_cast<size_t>(by_text_[end])].verdict);
    }
    const bool none_removed = all && layer_ > 0;
    for (size_t i = begin; i < end; ++i) {
      Decision& decision = said_[static_cast<size_t>(by_text_[i])];
      if (!all && saving_of(decision.verdict) == Verdict::exit) decision.verdict = removal_of(decision.verdict);
      if (decision.verdict == Verdict::run) decision = {};
      if (none_removed) decision.verdict = Verdict::exit;
    }
  }
}

}  // namespace fathom
