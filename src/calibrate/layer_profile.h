// LayerProfile: what each layer, each half of one and each head is worth, by leaving it out.
// Next in the flow: src/calibrate/skip_trials.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"
#include "src/calibrate/skip_set.h"

namespace fathom {

/// What became of some texts without some parts.
struct Ablation {
  SkipSet set;
  double saved = 0;                        // saved_share()
  std::vector<std::vector<float>> losses;  // [the first texts][PieceText::compared()]
};

/// The parts that are left out one at a time.
inline constexpr int32_t kProfiledParts = 3;  // a layer, its attention, its feed-forward half
inline constexpr const char* kProfiledPartNames[kProfiledParts] = {"layer", "attention", "feed_forward"};

struct LayerProfile {
  size_t n_groups = 0;
  std::vector<const PieceText*> texts;       // one of each group in turn
  std::vector<std::vector<int32_t>> truth;   // [texts] true_tokens()
  std::vector<std::vector<Ablation>> parts;  // [kProfiledParts][layers] on all texts, or the first few
  std::vector<std::vector<Ablation>> heads;  // [layers][heads] on the first few texts; empty: there was too little text
};

/// Runs texts without each part, with the cache that comes of it, and compares them where they are compared. Each is
/// looked at on a quarter of them first: what changes four times the risk there, over all groups, is in no set and
/// needs no more. The number of texts is such that layers take at most about as long as one pass over `n_certified`
/// texts, and heads half as long.
///   returns  the same on every run
///   errors   those of PieceRunner::run(); cancelled
Result<LayerProfile> profile_layers(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                    size_t n_certified, double risk, Progress& progress);

/// Runs the texts of a profile without a set of parts, the first `n_texts` of them.
Result<Ablation> without(PieceRunner& runner, const LayerProfile& profile, const SkipSet& set, size_t n_texts);

/// Places of a profile that are counted, of those that were compared.
struct PlaceFilter {
  int32_t group = -1;                        // -1: of all groups
  int32_t from = 0, to = 1 << 30;            // places of a text, the second not included
  int32_t lead_from = 0, lead_to = 1 << 30;  // tokens in front of the text
};

/// How many texts all of some ablations have.
size_t common_texts(const LayerProfile& profile, std::span<const Ablation* const> ablations);

/// Mean loss over the places, if ablations together lose what they lose apart, and at most 1 (of tokens: where any
/// changes it), over their common texts; NaN where no place is meant.
double changed_share(const LayerProfile& profile, std::span<const Ablation* const> ablations,
                     const PlaceFilter& filter = {});
/// The largest of the groups.
double worst_changed_share(const LayerProfile& profile, std::span<const Ablation* const> ablations);

}  // namespace fathom
