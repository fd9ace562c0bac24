// SignalRecord: a stage that writes down what it is shown.
#include "src/calibrate/signal_record.h"

#include <algorithm>
#include <limits>

namespace fathom {
namespace {

SignalSet state_signals() {
  SignalSet set;
  for (const Signal s : kStateSignals) set = set | s;
  return set;
}

// What is written down of the running text.
struct Page {
  std::span<const int32_t> layers;
  int32_t first_position = 0;  // of its first place
  std::vector<SignalRecord::Values>* values = nullptr;
};

struct witness {
  Page* page;
  static constexpr StageTraits traits{"witness", StageKind::limit};
  SignalSet reads_at(int32_t layer, int32_t, RowKind kind) const noexcept {
    const bool looks = std::find(page->layers.begin(), page->layers.end(), layer) != page->layers.end();
    return looks && kind == RowKind::generated ? state_signals() : SignalSet();
  }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    const auto found = std::find(page->layers.begin(), page->layers.end(), step.layer);
    if (found == page->layers.end() || step.kind != RowKind::generated) return decision;
    const auto place = static_cast<size_t>(step.position - page->first_position);
    auto& to = (*page->values)[place * page->layers.size() + static_cast<size_t>(found - page->layers.begin())];
    for (size_t s = 0; s < kStateSignals.size(); ++s) to[s] = step[kStateSignals[s]];
    return decision;
  }
};

}  // namespace

Result<SignalRecord> record_signals(PieceRunner& runner, std::span<const PieceText* const> texts,
                                    std::span<const int32_t> layers, Progress& progress) {
  SignalRecord record{.layers = {layers.begin(), layers.end()}, .texts = {}};
  Page page{.layers = record.layers};
  const Policy policy = witness{&page};
  SignalRecord::Values missing;
  missing.fill(std::numeric_limits<float>::quiet_NaN());
  for (const PieceText* text : texts) {
    page.first_position = static_cast<int32_t>(text->lead.size());
    page.values = &record.texts.emplace_back(static_cast<size_t>(text->places()) * layers.size(), missing);
    FATHOM_TRY(runner.run_at(
        *text, {}, [](const PieceStep&) {}, policy));
    FATHOM_TRY(progress.at(double(record.texts.size()) / double(texts.size())));
  }
  return record;
}

}  // namespace fathom
