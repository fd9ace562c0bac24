// What one row does with bounds: thresholds, lists, and the rounding of noise.
#include "src/head/row_screen.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace fathom {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargestReach = 1e30f;  // of noise times T
constexpr int kLanes = 4;               // running maxima of a panel, for the compiler's vector lanes
// Relative rounding of `compared` and of the score times T, with room: a few roundings to f32, 2^-24 each.
constexpr double kScoreRounding = 0x1p-20;

float larger(float a, float b) { return a > b ? a : b; }

/// The largest of 16 numbers, none of them a NaN.
float largest_of(const float* x) {
  float lanes[kLanes];
  std::copy_n(x, kLanes, lanes);
  for (int i = kLanes; i < kPanelTokens; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] = larger(x[i + j], lanes[j]);
  }
  return larger(larger(lanes[0], lanes[1]), larger(lanes[2], lanes[3]));
}

/// The n bounds of a panel that exist, then -infinity; a NaN, which only adjusting makes, becomes infinity.
void load_bounds(const float* bounds, int64_t n, float* dst) {
  std::fill_n(dst, kPanelTokens, -kInfinity);
  for (int64_t i = 0; i < n; ++i) dst[i] = bounds[i] == bounds[i] ? bounds[i] : kInfinity;
}

}  // namespace

FullHead RowScreen::begin(const LogitUse& use, const RowSpace& space) {
  use_ = use;
  space_ = space;
  n_list_ = n_first_ = survivors_ = 0;
  best_score_ = -std::numeric_limits<double>::infinity();
  if (use.options == nullptr) return FullHead::all_logits;
  const SampleOptions& o = *use.options;
  const auto vocab = static_cast<size_t>(space.vocab);
  temperature_ = o.temperature;
  rule_ = o.temperature == 0 ? Rule::greedy : truncates(o, vocab) ? Rule::kept : Rule::noisy;
  if (rule_ == Rule::kept && o.top_p < 1 && !keeps_top_k(o, vocab)) return FullHead::top_p;
  if (rule_ == Rule::noisy && !(kNoiseMax * temperature_ < kLargestReach)) return FullHead::temperature;
  key_ = noise_key(o.seed, use.sequence, use.position);
  adjustments_.collect(o, use.history, space.vocab);
  changed_.resize(adjustments_.tokens().size());
  std::fill_n(space.scored, space.panels, uint8_t{0});
  return FullHead::none;
}

int64_t RowScreen::outputs_of(int64_t panel) const {
  return std::min<int64_t>(kPanelTokens, space_.vocab - panel * kPanelTokens);
}

/// What a bound of a token's logit means for the comparison with the threshold.
float RowScreen::compared(float bound, int64_t token) const {
  if (rule_ != Rule::noisy) return bound;
  return bound + temperature_ * noise_bound(noise_bits(key_, static_cast<int32_t>(token)));
}

void RowScreen::note(int64_t panel, int64_t n, const float* lower, const float* upper) {
  for (int64_t p = panel; p < panel + n; ++p, lower += kPanelTokens, upper += kPanelTokens) {
    const int64_t outputs = outputs_of(p);
    float bounds[kPanelTokens], twice_middle[kPanelTokens];
    if (outputs < kPanelTokens) load_bounds(upper, outputs, bounds);
    const float* x = outputs < kPanelTokens ? bounds : upper;
    for (int i = 0; i < kPanelTokens; ++i) twice_middle[i] = lower[i] + x[i];
    space_.bound[p] = largest_of(x);
    const float middle = largest_of(twice_middle);
    space_.middle[p] = middle == middle ? middle : -kInfinity;  // bounds that prove nothing have no middle
    std::copy_n(upper, outputs, space_.logits + p * kPanelTokens);
  }
}

void RowScreen::adjust() {
  const auto tokens = adjustments_.tokens();
  if (tokens.empty()) return;
  for (size_t i = 0; i < tokens.size(); ++i) changed_[i] = space_.logits[tokens[i]];
  adjustments_.apply(changed_);
  for (size_t i = 0; i < tokens.size(); ++i) space_.logits[tokens[i]] = changed_[i];
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t p = tokens[i] / kPanelTokens;
    float bounds[kPanelTokens];
    load_bounds(space_.logits + p * kPanelTokens, outputs_of(p), bounds);
    space_.bound[p] = largest_of(bounds);
  }
}

bool RowScreen::choose() {
  int64_t wanted = std::min(kFirstPanels, space_.panels);
  if (rule_ == Rule::kept && keeps_top_k(*use_.options, static_cast<size_t>(space_.vocab)))
    wanted = std::max(wanted, std::min<int64_t>(use_.options->top_k, space_.panels));
  if (wanted > space_.list_size) return false;
  list_largest(space_.middle, wanted);
  return true;
}

void RowScreen::choose_again() { list_largest(space_.bound, std::min(kFirstPanels, space_.list_size - n_first_)); }

/// Whether one of 16 panels from `panel` on could have a number of at least `least`; panels past the end count.
bool RowScreen::any_reaches(const float* of, int64_t panel, float least) const {
  if (panel + kPanelTokens > space_.panels) return true;
  return largest_of(of + panel) >= least;
}

/// Lists the `wanted` panels with the largest numbers that are not multiplied yet, in ascending order.
void RowScreen::list_largest(const float* of, int64_t wanted) {
  const auto more = [of](int32_t a, int32_t b) { return of[a] > of[b]; };
  int32_t* list = space_.list;
  n_list_ = 0;
  for (int32_t first = 0; first < space_.panels; first += kPanelTokens) {
    if (n_list_ == wanted && !any_reaches(of, first, of[list[0]])) continue;
    const auto end = static_cast<int32_t>(std::min<int64_t>(first + kPanelTokens, space_.panels));
    for (int32_t p = first; p < end; ++p) {
      if (space_.scored[p] != 0 || (n_list_ == wanted && !(of[p] > of[list[0]]))) continue;
      if (n_list_ == wanted) std::pop_heap(list, list + n_list_--, more);  // the front is the smallest
      list[n_list_++] = p;
      std::push_heap(list, list + n_list_, more);
    }
  }
  std::sort(list, list + n_list_);
  for (int64_t i = 0; i < n_list_; ++i) {
    const int64_t p = list[i];
    std::copy_n(space_.logits + p * kPanelTokens, outputs_of(p), space_.first_bounds + (n_first_ + i) * kPanelTokens);
    space_.scored[p] = 1;
  }
}

/// The logits found in a panel, adjusted; what is no number becomes -infinity, as it does for the sampler.
void RowScreen::load_values(int64_t panel, float* values) {
  const int64_t first = panel * kPanelTokens, n = outputs_of(panel);
  const auto tokens = adjustments_.tokens();
  std::fill_n(values, kPanelTokens, -kInfinity);
  std::copy_n(space_.logits + first, n, values);
  for (auto at = std::lower_bound(tokens.begin(), tokens.end(), first); at != tokens.end() && *at < first + n; ++at)
    values[*at - first] = changed_[static_cast<size_t>(at - tokens.begin())];
  for (int64_t i = 0; i < n; ++i) values[i] = values[i] == values[i] ? values[i] : -kInfinity;
}

void RowScreen::offer_scores(int64_t panel, const float* values) {
  for (int64_t i = 0; i < outputs_of(panel); ++i) {
    const auto token = static_cast<int32_t>(panel * kPanelTokens + i);
    if (compared(values[i], token) < best_score_ * temperature_ - 1) continue;  // saves logarithms, proves nothing
    best_score_ = std::max(best_score_, values[i] / static_cast<double>(temperature_) + gumbel_noise(key_, token));
  }
}

void RowScreen::find_threshold() {
  const SampleOptions& o = *use_.options;
  float* values = space_.values;
  const int64_t n_values = n_first_ * kPanelTokens;
  const float best = *std::max_element(values, values + n_values);
  threshold_ = best;
  if (rule_ == Rule::noisy) threshold_ = best == kInfinity ? kInfinity : best_score_ * temperature_;
  if (rule_ != Rule::kept) return;
  threshold_ = -kInfinity;
  const bool top_k = keeps_top_k(o, static_cast<size_t>(space_.vocab));
  if (top_k && o.top_k <= n_values) {
    std::nth_element(values, values + (o.top_k - 1), values + n_values, std::greater<float>());
    threshold_ = values[o.top_k - 1];
  }
  // Beside top_p the k best must all be there: their masses are added up.
  if (o.min_p > 0 && o.top_p >= 1) threshold_ = std::max<double>(threshold_, lowest_kept(best, o));
}

/// Whether a token or a panel with this largest comparison could matter.
bool RowScreen::survives(float compared) const {
  if (rule_ != Rule::noisy || compared == -kInfinity) return !(compared < threshold_);
  const double size = std::abs(static_cast<double>(compared)) + std::abs(threshold_) + 4 * kNoiseMax * temperature_;
  return !(compared < threshold_ - kScoreRounding * size);
}

int64_t RowScreen::count_survivors(const float* bounds, int64_t panel) const {
  int64_t n = 0;
  for (int64_t i = 0; i < outputs_of(panel); ++i) n += survives(compared(bounds[i], panel * kPanelTokens + i));
  return n;
}

void RowScreen::raise() {
  const auto tokens = adjustments_.tokens();
  for (size_t i = 0; i < tokens.size(); ++i) changed_[i] = space_.logits[tokens[i]];  // logits where panels are scored
  adjustments_.apply(changed_);
  for (int64_t i = 0; i < n_list_; ++i) {
    float* values = space_.values + (n_first_ + i) * kPanelTokens;
    load_values(space_.list[i], values);
    if (rule_ == Rule::noisy) offer_scores(space_.list[i], values);
  }
  n_first_ += n_list_;
  find_threshold();
  for (int64_t i = n_first_ - n_list_; i < n_first_; ++i)
    survivors_ += count_survivors(space_.first_bounds + i * kPanelTokens, space_.list[i - n_first_ + n_list_]);
  n_list_ = 0;
}

void RowScreen::sift(int64_t begin, int64_t end) {
  const auto most = static_cast<float>(kNoiseMax * temperature_);
  for (int64_t p = begin; p < end; ++p) {
    if (space_.scored[p] != 0) continue;
    if (!survives(space_.bound[p] + most)) {
      space_.bound[p] = -kInfinity;
      continue;
    }
    float bounds[kPanelTokens];
    load_bounds(space_.logits + p * kPanelTokens, outputs_of(p), bounds);
    for (int i = 0; i < kPanelTokens; ++i) bounds[i] = compared(bounds[i], p * kPanelTokens + i);
    space_.bound[p] = largest_of(bounds);
  }
}

bool RowScreen::finish(ScreenReport& report) {
  report.survivors = survivors_;
  for (int64_t first = 0; first < space_.panels; first += kPanelTokens) {
    if (first + kPanelTokens <= space_.panels && !survives(largest_of(space_.bound + first))) continue;
    for (int64_t p = first; p < std::min(first + kPanelTokens, space_.panels); ++p) {
      if (space_.scored[p] != 0 || !survives(space_.bound[p])) continue;
      if (n_first_ + n_list_ >= space_.list_size) return false;
      report.survivors += count_survivors(space_.logits + p * kPanelTokens, p);
      space_.list[n_list_++] = static_cast<int32_t>(p);
      space_.scored[p] = 1;
    }
  }
  report.panels = n_first_ + n_list_;
  return true;
}

void RowScreen::clear_rest(int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p) {
    if (space_.scored[p] == 0) std::fill_n(space_.logits + p * kPanelTokens, outputs_of(p), -kInfinity);
  }
}

}  // namespace fathom
