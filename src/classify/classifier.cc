// Classifier: words first, then the layers, and the head of the depth where a text's rows came to rest.
#include "fathom/classify/classifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "src/engine/text_steps.h"

namespace fathom {
namespace {

/// Answers each text from where it left, when the last layer is behind the step.
class Answers final : public TextSteps::Observer {
 public:
  Answers(const LabelHeads& heads, std::span<LabelAnswer> answers, std::span<int32_t> layers)
      : heads_(heads), answers_(answers), layers_(layers) {}

  void at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept override {
    if (layer != loop.config.n_layers) return;
    loop.pool.run(std::ssize(texts), [&](int64_t i) {
      const TextRows& text = texts[static_cast<size_t>(i)];
      const int32_t left_at = loop.row(static_cast<int32_t>(text.first)).left_at;
      layers_[text.text] = left_at == kStays ? layer : left_at;
      const std::vector<double> pooled = mean_state(loop, text.first, text.n);
      const std::vector<float> mean(pooled.begin(), pooled.end());
      answers_[text.text] = heads_.answer(*heads_.at(layers_[text.text]), mean);
    });
  }

 private:
  const LabelHeads& heads_;
  std::span<LabelAnswer> answers_;
  std::span<int32_t> layers_;
};

// Where a policy lets rows leave, a head has to be there to answer.
Result<void> check_heads(const LabelHeads& heads, int32_t n_layers) {
  for (int32_t layer = 1; layer <= n_layers; ++layer) {
    if (heads.at(layer) != nullptr) continue;
    return Error{ErrorCode::argument,
                 fmt::format("label heads: none with {} layers behind it: train the task again", layer)};
  }
  return {};
}

}  // namespace

struct Classifier::Impl {
  TextSteps steps;
  std::shared_ptr<const LabelHeads> heads;
};

Classifier::Classifier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;
Classifier::~Classifier() = default;

Result<Classifier> Classifier::make(const Model& model, std::shared_ptr<const LabelHeads> heads,
                                    const EncoderOptions& options) {
  if (heads == nullptr) return Error{ErrorCode::argument, "label heads: none: give those of a task"};
  FATHOM_TRY(TextSteps steps, TextSteps::make(model, options));
  FATHOM_TRY(check_heads(*heads, model.config().n_layers));
  FATHOM_TRY(steps.session().use_labels(heads));
  return Classifier(std::unique_ptr<Impl>(new Impl{std::move(steps), std::move(heads)}));
}

Result<std::vector<Classification>> Classifier::classify(std::span<const std::string_view> texts, const Policy& policy,
                                                         Trace* trace) {
  const LabelHeads& heads = *impl_->heads;
  const Settings settings = policy.settings();
  if (settings.exits_by_words && heads.at(0) == nullptr) {
    return Error{ErrorCode::argument, "word_exit: the task has no head that reads words: leave it out"};
  }
  std::vector<Classification> results(texts.size());
  std::vector<LabelAnswer> answers(texts.size());
  std::vector<TextIds> deeper;
  std::vector<size_t> places;  // of those in the caller's order
  for (size_t i = 0; i < texts.size(); ++i) {
    FATHOM_TRY(TextIds ids, impl_->steps.read(texts[i]));
    results[i].tokens = static_cast<int32_t>(ids.ids.size());
    results[i].truncated = ids.truncated;
    if (settings.exits_by_words) {
      answers[i] = heads.answer_words(ids.inner());
      if (heads.agreement(*heads.at(0), answers[i]) >= settings.word_agreement) continue;
    }
    deeper.push_back(std::move(ids));
    places.push_back(i);
  }
  std::vector<LabelAnswer> said(deeper.size());
  std::vector<int32_t> layers(deeper.size());
  Answers observer(heads, said, layers);
  FATHOM_TRY(const std::vector<TextRun> runs, impl_->steps.run(deeper, policy, trace, observer));
  for (size_t i = 0; i < deeper.size(); ++i) {
    Classification& result = results[places[i]];
    result.depth = runs[i].depth;
    result.work = runs[i].work;
    result.answered_at = layers[i];
    answers[places[i]] = std::move(said[i]);
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (!std::isfinite(answers[i].confidence)) {
      return Error{ErrorCode::format,
                   fmt::format("text {}: its answer holds what is no number; the model file is damaged", i + 1)};
    }
    results[i].labels = answers[i].labels(heads.several());
    results[i].confidence = answers[i].confidence;
    results[i].probability = std::move(answers[i].probability);
  }
  return results;
}

const Model& Classifier::model() const noexcept { return impl_->steps.model(); }
const LabelHeads& Classifier::heads() const noexcept { return *impl_->heads; }

}  // namespace fathom
