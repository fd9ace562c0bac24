// Answers of label heads between an encoder's layers: one for each text, which all of its rows are told.
// Next in the flow: classify/label_heads.h.
#include "fathom/classify/label_heads.h"
#include "fathom/engine/boundary.h"
#include "fathom/engine/layer_loop.h"

namespace fathom {

// Rows of a text stand side by side, and are told the same: they leave together.
void Boundary::check_labels(LayerLoop& loop, int32_t layer) {
  const FittedLabelHead* const head = loop.labels->at(layer);
  if (head == nullptr) return;
  const auto d = static_cast<size_t>(loop.config.d_model);
  std::vector<float> mean(d);
  for (size_t begin = 0, end = 0; begin < asking_.size(); begin = end) {
    const auto text = [&](size_t i) { return loop.row(asking_[i]).sequence; };
    while (end < asking_.size() && text(end) == text(begin)) ++end;
    const SignalSet wants = wanted(loop, layer, loop.row(asking_[begin]).kind);
    if (!wants.any(kExitSignals)) continue;
    std::vector<double> sum(d, 0.0);
    for (size_t i = begin; i < end; ++i) {
      const auto state = loop.buffers.state(asking_[i]);
      for (size_t c = 0; c < d; ++c) sum[c] += static_cast<double>(state[c]);
    }
    const auto n = static_cast<double>(end - begin);
    for (size_t c = 0; c < d; ++c) mean[c] = static_cast<float>(sum[c] / n);
    const LabelAnswer answer = loop.labels->answer(*head, mean);
    const double cost = static_cast<double>(d) * (n + loop.labels->n_labels()) / n;  // of each row
    for (size_t i = begin; i < end; ++i) {
      RowState& row = loop.row(asking_[i]);
      row.macs += cost;
      if (wants.has(Signal::agreeing)) {
        row.agreeing = answer.best == row.last_answer ? row.agreeing + 1 : 1;
        row.last_answer = answer.best;
      }
      Step& step = steps_[static_cast<size_t>(asking_[i])];
      step.signals[static_cast<int>(Signal::exit_confidence)] = answer.confidence;
      step.signals[static_cast<int>(Signal::exit_margin)] = answer.margin;
      step.signals[static_cast<int>(Signal::exit_entropy)] = answer.entropy;
      step.signals[static_cast<int>(Signal::agreeing)] = static_cast<float>(row.agreeing);
      step.signals[static_cast<int>(Signal::agreement)] = loop.labels->agreement(*head, answer);
    }
  }
}

}  // namespace fathom
