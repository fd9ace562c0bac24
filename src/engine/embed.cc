// Encoder: the rows of each text made one embedding.
#include "fathom/engine/embed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "src/engine/text_steps.h"
#include "src/engine/token_flow.h"

namespace fathom {
namespace {

/// Pools the rows of each text when the last layer is behind them.
class Pool final : public TextSteps::Observer {
 public:
  explicit Pool(std::span<Embedding> texts) : texts_(texts) {}

  void at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept override {
    if (layer != loop.config.n_layers) return;
    loop.pool.run(std::ssize(texts), [&](int64_t i) {
      const TextRows& rows = texts[static_cast<size_t>(i)];
      const bool mean = loop.config.pooling == Pooling::mean;
      const std::vector<double> pooled = mean_state(loop, rows.first, mean ? rows.n : 1);
      double square = 0;
      for (const double x : pooled) square += x * x;
      const double scale = loop.config.unit_length && square > 0 ? 1 / std::sqrt(square) : 1;
      std::vector<float>& values = texts_[rows.text].values;
      std::transform(pooled.begin(), pooled.end(), values.begin(),
                     [&](double x) { return static_cast<float>(x * scale); });
    });
  }

 private:
  std::span<Embedding> texts_;
};

bool all_numbers(const Embedding& e) {
  return std::all_of(e.values.begin(), e.values.end(), [](float x) { return std::isfinite(x); }) &&
         std::all_of(e.fates.begin(), e.fates.end(), [](const TokenFate& fate) {
           return std::isfinite(fate.share) && std::all_of(fate.sources.begin(), fate.sources.end(),
                                                           [](const auto& s) { return std::isfinite(s.second); });
         });
}

}  // namespace

struct Encoder::Impl {
  TextSteps steps;
};

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;
Encoder::~Encoder() = default;

Result<Encoder> Encoder::make(const Model& model, const EncoderOptions& options) {
  FATHOM_TRY(TextSteps steps, TextSteps::make(model, options));
  return Encoder(std::unique_ptr<Impl>(new Impl{std::move(steps)}));
}

Result<std::vector<Embedding>> Encoder::embed(std::span<const std::string_view> texts, const Policy& policy,
                                              Trace* trace) {
  std::vector<TextIds> ids;
  std::vector<Embedding> results(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    FATHOM_TRY(TextIds read, impl_->steps.read(texts[i]));
    results[i].values.resize(static_cast<size_t>(model().config().d_model));
    results[i].tokens = static_cast<int32_t>(read.ids.size());
    results[i].truncated = read.truncated;
    ids.push_back(std::move(read));
  }
  Pool pool(results);
  TokenFlow flow(pool, results, trace);
  TextSteps::Observer& observer = options().explain ? static_cast<TextSteps::Observer&>(flow) : pool;
  FATHOM_TRY(const std::vector<TextRun> runs, impl_->steps.run(ids, policy, trace, observer));
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].depth = runs[i].depth;
    results[i].work = runs[i].work;
    results[i].tokens_kept = runs[i].tokens_kept;
    if (all_numbers(results[i])) continue;
    return Error{ErrorCode::format,
                 fmt::format("text {}: its embedding holds what is no number; the model file is damaged", i + 1)};
  }
  return results;
}

const Model& Encoder::model() const noexcept { return impl_->steps.model(); }
const EncoderOptions& Encoder::options() const noexcept { return impl_->steps.options(); }

}  // namespace fathom
