// One pass over a task's texts.
#include "src/classify/task_states.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kBlock = 256;  // texts between two looks at on_progress

class Keeper final : public TextSteps::Observer {
 public:
  Keeper(TaskStates& states, size_t first) : states_(states), first_(first) {}

  void at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept override {
    std::vector<float>& kept = states_.by_layer[static_cast<size_t>(layer - 1)];
    loop.pool.run(std::ssize(texts), [&](int64_t i) {
      const TextRows& text = texts[static_cast<size_t>(i)];
      const std::vector<double> mean = mean_state(loop, text.first, text.n);
      std::transform(mean.begin(), mean.end(), kept.begin() + std::ptrdiff_t((first_ + text.text) * states_.d),
                     [](double x) { return static_cast<float>(x); });
    });
  }

 private:
  TaskStates& states_;
  size_t first_;
};

}  // namespace

Result<TaskStates> TaskStates::collect(TextSteps& steps, const LabelledSet& set, const TrainOptions& options) {
  const ModelConfig& config = steps.model().config();
  TaskStates states{.n_layers = config.n_layers, .d = static_cast<size_t>(config.d_model), .ids = {}, .by_layer = {}};
  const size_t n = set.texts.size();
  states.by_layer.assign(static_cast<size_t>(config.n_layers), std::vector<float>(n * states.d));
  for (const LabelledText& text : set.texts) {
    FATHOM_TRY(TextIds ids, steps.read(text.text));
    states.ids.push_back(std::move(ids));
  }
  for (size_t begin = 0; begin < n; begin += kBlock) {
    if (options.on_progress != nullptr &&
        !options.on_progress(options.context, "full depth", static_cast<double>(begin) / static_cast<double>(n))) {
      return Error{ErrorCode::cancelled, "training was stopped"};
    }
    Keeper keeper(states, begin);
    const auto block = std::span<const TextIds>(states.ids).subspan(begin, std::min(kBlock, n - begin));
    FATHOM_TRY(steps.run(block, Policy(), nullptr, keeper));
  }
  return states;
}

}  // namespace fathom
