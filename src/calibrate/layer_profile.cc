// Profiling: single ablations on few texts, one policy each.
#include "src/calibrate/layer_profile.h"

#include <algorithm>
#include <limits>

#include "src/calibrate/settings.h"

namespace fathom {
namespace {

constexpr size_t kMostTexts = 32;  // of a group, for each part
// Of the texts, on which each part is looked at first; and times the risk, that what changes more is never left out.
constexpr size_t kFirstLook = 4;
constexpr double kHopeless = 4;

// The first texts of each group in turn.
std::vector<const PieceText*> in_turn(std::span<const PieceText* const> texts, size_t n_groups, size_t most) {
  std::vector<std::vector<const PieceText*>> by_group(n_groups);
  for (const PieceText* text : texts) by_group[size_t(text->group)].push_back(text);
  std::vector<const PieceText*> out;
  for (size_t i = 0; i < texts.size() && out.size() < most; ++i) {
    for (const auto& group : by_group) {
      if (i < group.size() && out.size() < most) out.push_back(group[i]);
    }
  }
  return out;
}

SkipSet part_of(int32_t part, int32_t layer) {
  SkipSet set;
  if (part != 2) set.attention.add(layer);
  if (part != 1) set.feed_forward.add(layer);
  return set;
}

// Runs the texts that an ablation lacks of the first `n_texts`.
Result<void> go_on(PieceRunner& runner, const LayerProfile& profile, size_t n_texts, Ablation& ablation) {
  FATHOM_TRY(const Policy policy, Policy::parse(ablation.set.text()));
  Reference reference(runner);
  for (size_t t = ablation.losses.size(); t < std::min(n_texts, profile.texts.size()); ++t) {
    std::vector<float>& all = ablation.losses.emplace_back();
    const std::vector<int32_t> compared = profile.texts[t]->compared();
    const auto add = [&](const PieceStep& step) -> Result<void> {
      FATHOM_TRY(const std::span<const float> losses, reference.losses(step));
      all.insert(all.end(), losses.begin(), losses.end());
      return {};
    };
    FATHOM_TRY(reference.begin(*profile.texts[t], compared, profile.truth[t]));
    FATHOM_TRY(runner.run_at(*profile.texts[t], compared, add, policy));
  }
  return {};
}

}  // namespace

size_t common_texts(const LayerProfile& profile, std::span<const Ablation* const> ablations) {
  size_t n = profile.texts.size();
  for (const Ablation* a : ablations) n = std::min(n, a->losses.size());
  return n;
}

Result<Ablation> without(PieceRunner& runner, const LayerProfile& profile, const SkipSet& set, size_t n_texts) {
  Ablation out{.set = set, .saved = saved_share(runner.session().model(), set), .losses = {}};
  FATHOM_TRY(go_on(runner, profile, n_texts, out));
  return out;
}

Result<LayerProfile> profile_layers(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                    size_t n_certified, double risk, Progress& progress) {
  const ModelConfig& config = runner.session().model().config();
  const auto n_layers = static_cast<size_t>(config.n_layers);
  size_t n_heads = 0;
  for (const LayerSpec& spec : config.layers) n_heads += static_cast<size_t>(spec.heads);
  const size_t each = std::clamp(n_certified / (kProfiledParts * n_layers), n_groups, kMostTexts * n_groups);
  const bool enough = 4 * n_certified >= n_heads * n_groups;
  const size_t of_heads = enough ? std::clamp(n_certified / (2 * n_heads), n_groups, each) : 0;

  LayerProfile profile{.n_groups = n_groups, .texts = in_turn(texts, n_groups, each), .truth = {}, .parts = {}};
  const size_t first_look = std::max(profile.texts.size() / kFirstLook, n_groups);
  progress.begin("profiling layers", 0.04);
  FATHOM_TRY(profile.truth, true_tokens(runner, profile.texts, progress));
  const double all = double(kProfiledParts * n_layers * profile.texts.size() + n_heads * of_heads);
  double done = 0;
  progress.begin("profiling layers", 0.06);
  const auto leave_out = [&](const SkipSet& set, size_t n_texts) -> Result<Ablation> {
    FATHOM_TRY(Ablation ablation, without(runner, profile, set, std::min(first_look, n_texts)));
    const Ablation* const one[] = {&ablation};
    if (changed_share(profile, one) <= kHopeless * risk) FATHOM_TRY(go_on(runner, profile, n_texts, ablation));
    done += double(n_texts);
    FATHOM_TRY(progress.at(std::min(1.0, done / all)));
    return ablation;
  };
  for (int32_t part = 0; part < kProfiledParts; ++part) {
    std::vector<Ablation>& of = profile.parts.emplace_back();
    for (int32_t layer = 1; layer <= config.n_layers; ++layer) {
      FATHOM_TRY(of.emplace_back(), leave_out(part_of(part, layer), profile.texts.size()));
    }
  }
  for (int32_t layer = 1; layer <= config.n_layers && of_heads > 0; ++layer) {
    std::vector<Ablation>& of = profile.heads.emplace_back();
    for (int32_t head = 1; head <= config.layers[size_t(layer) - 1].heads; ++head) {
      SkipSet set;
      set.heads.add(layer, head);
      FATHOM_TRY(of.emplace_back(), leave_out(set, of_heads));
    }
  }
  return profile;
}

double changed_share(const LayerProfile& profile, std::span<const Ablation* const> ablations,
                     const PlaceFilter& filter) {
  const size_t n_texts = common_texts(profile, ablations);
  int64_t n = 0;
  double lost = 0;
  for (size_t t = 0; t < n_texts; ++t) {
    const PieceText& text = *profile.texts[t];
    const auto lead = static_cast<int32_t>(text.lead.size());
    if (filter.group >= 0 && text.group != filter.group) continue;
    if (lead < filter.lead_from || lead >= filter.lead_to) continue;
    const std::vector<int32_t> compared = text.compared();
    for (size_t i = 0; i < compared.size(); ++i) {
      if (compared[i] < filter.from || compared[i] >= filter.to) continue;
      ++n;
      float here = 0;
      for (const Ablation* a : ablations) here += a->losses[t][i];
      lost += std::min(1.0f, here);
    }
  }
  return n > 0 ? lost / double(n) : std::numeric_limits<double>::quiet_NaN();
}

double worst_changed_share(const LayerProfile& profile, std::span<const Ablation* const> ablations) {
  double worst = 0;
  for (size_t g = 0; g < profile.n_groups; ++g) {
    const double share = changed_share(profile, ablations, {.group = int32_t(g)});
    worst = share > worst ? share : worst;
  }
  return worst;
}

}  // namespace fathom
