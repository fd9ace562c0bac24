// Row costs: packed bytes, as shares of all that a row at full depth reads.
#include "src/calibrate/row_cost.h"

namespace fathom {

RowCost row_cost(const Model& model, const FittedExits& exits, bool looks_first) {
  const Weights& weights = model.weights();
  const ModelConfig& config = model.config();
  double layers = 0;
  for (const LayerWeights& w : weights.layers) layers += layer_bytes(w);
  const double head = double(weights.head.packed_bytes), all = layers + head;
  RowCost cost{.layers = layers / all, .head = head / all, .n_layers = config.n_layers};
  for (const FittedExit& exit : exits.exits) cost.translators.push_back(translator_bytes(exit) / all);
  cost.listed = looks_first ? check_tokens(config.vocab) : 0;
  cost.list = cost.head * cost.listed / config.vocab;
  return cost;
}

double layer_bytes(const LayerWeights& w) {
  double sum = 0;
  for (const Linear* linear : {&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down}) sum += double(linear->packed_bytes);
  return sum;
}

double translator_bytes(const FittedExit& exit) {
  return 2.0 * double(exit.translator.size() + exit.up.size() + exit.hidden.first.size() + exit.hidden.second.size());
}

}  // namespace fathom
