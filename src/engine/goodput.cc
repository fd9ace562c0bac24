// The chooser of drafts by goodput: expected tokens over expected time, from what passes cost and guesses are worth.
// Next in the flow: src/engine/generate.cc.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>

#include "fathom/engine/draft.h"
#include "src/engine/guess_rate.h"
#include "src/engine/pass_times.h"

namespace fathom {
namespace {

constexpr double kEnter = 1.04;        // gain over no drafting from which drafting begins
constexpr double kLeave = 1.01;        // gain below which it ends
constexpr double kChange = 1.03;       // gain over the present way of drafting for the other one
constexpr double kHopeful = 0.5;       // rate of guesses of which nothing is known
constexpr double kPrior = 3;           // guesses that what is known of other classes is worth
constexpr double kOwnHopeful = 0.8;    // the same for rows under savings, most of which are seen only where they are
constexpr double kOwnPrior = 3;        // drafted, so that one failure must not end them
constexpr int32_t kFirstPasses = 3;    // passes without drafts at first: one slow pass is not the machine's speed
constexpr int32_t kOwnTries = 2;       // of drafting under savings of which nothing is known, at the start
constexpr double kProbeShare = 0.003;  // of the tokens that trying it again may cost,
constexpr double kCheapest = 0.1;      // which is thought to be so many at least
constexpr int32_t kRefresh = 128;      // passes with drafts after which one is run without

enum class Mode : uint8_t { plain, source, own };

struct Plan {
  int32_t rows = 0;
  double time = 0;     // in passes of one row
  double goodput = 0;  // expected tokens by time
};

class Goodput final : public DraftChooser {
 public:
  DraftChoice choose(const DraftOffer& offer) override;
  void learn(const DraftOutcome& outcome) override;

 private:
  // The same for a first guess and for those behind a right one: a repetition that is real goes on.
  struct Rates {
    GuessRate first, rest;
    void learn(int32_t tested, int32_t right) {
      first.learn(std::min(right, 1), right == 0);
      if (right == 0) return;
      tested > 1 ? rest.learn(right - 1, right < tested) : rest.forget();
    }
  };

  Plan plan_plain(const DraftOffer& offer) const;
  Plan plan_source(const DraftOffer& offer) const;
  Plan plan_own(const DraftOffer& offer) const;
  bool probes_own(const Plan& own, double present) const;
  double others(const DraftOffer& offer) const { return offer.other_rows * yield_; }

  std::optional<PassCosts> costs_;  // of the first offer
  PassTimes times_;
  Rates all_;
  std::array<Rates, kDraftClasses> classes_;
  GuessRate own_;
  std::array<Mode, kDraftClasses + 1> modes_{};  // [class], the last where nothing is proposed
  double yield_ = 1;                             // tokens of a row, of sequences in passes
  int32_t own_tries_ = 0;
  double since_own_ = 0;     // tokens since savings drafted last
  int32_t since_plain_ = 0;  // passes since one without drafts
};

size_t class_of(const DraftOffer& offer) {
  return static_cast<size_t>(std::clamp(offer.confidence, 0, kDraftClasses - 1));
}

Plan Goodput::plan_plain(const DraftOffer& offer) const {
  const double time = times_.confirm(offer.other_rows + 1);
  return {0, time, (others(offer) + 1) / time};
}

Plan Goodput::plan_source(const DraftOffer& offer) const {
  const Rates& rates = classes_[class_of(offer)];
  const double first = rates.first.value(all_.first.value(kHopeful, kPrior), kPrior);
  const double rest = rates.rest.value(all_.rest.value(std::max(first, kHopeful), kPrior), kPrior);
  Plan best;
  double tokens = others(offer) + 1, reached = first;
  for (int32_t n = 1; n <= std::min(offer.proposed, offer.max_rows - 1); ++n) {
    tokens += reached;
    reached *= rest;
    const double time = times_.confirm(offer.other_rows + 1 + n);
    if (tokens / time > best.goodput) best = {n, time, tokens / time};
  }
  return best;
}

Plan Goodput::plan_own(const DraftOffer& offer) const {
  Plan best;
  if (!offer.saves) return best;
  const double rate = own_.value(kOwnHopeful, kOwnPrior);
  double tokens = others(offer) + 1, reached = rate;
  for (int32_t n = 2; n <= offer.max_rows; ++n) {
    tokens += reached;
    reached *= rate;
    const double time = n * times_.own() + times_.settle(offer.other_rows + n);
    if (tokens / time > best.goodput) best = {n, time, tokens / time};
  }
  return best;
}

// What savings are worth is seen only by drafting under them: again and again, as rarely as that is thought to be dear.
bool Goodput::probes_own(const Plan& own, double present) const {
  return own.rows > 0 && kProbeShare * since_own_ > std::max(own.time * (present - own.goodput), kCheapest);
}

DraftChoice Goodput::choose(const DraftOffer& offer) {
  if (!costs_) {
    costs_ = offer.costs != nullptr ? *offer.costs : PassCosts{};
    times_ = PassTimes(*costs_);
  }
  if (offer.max_rows < 2 || times_.confirmed() < kFirstPasses) return {};
  if (offer.saves && own_tries_ < kOwnTries && !costs_->own_measured) return {.own = 2};
  const Plan plain = plan_plain(offer), source = plan_source(offer), own = plan_own(offer);
  Mode& mode = modes_[source.rows > 0 ? class_of(offer) : kDraftClasses];
  const double by_source = source.goodput / (mode == Mode::source ? kLeave : mode == Mode::own ? kChange : kEnter);
  const double by_own = own.goodput / (mode == Mode::own ? kLeave : mode == Mode::source ? kChange : kEnter);
  mode = std::max(by_source, by_own) < plain.goodput ? Mode::plain : by_source >= by_own ? Mode::source : Mode::own;
  if (mode == Mode::own || probes_own(own, std::max(plain.goodput, source.goodput))) {
    return since_plain_ < kRefresh ? DraftChoice{.own = own.rows} : DraftChoice{};
  }
  return mode == Mode::source && since_plain_ < kRefresh ? DraftChoice{.source = source.rows} : DraftChoice{};
}

void Goodput::learn(const DraftOutcome& outcome) {
  const DraftChoice& choice = outcome.choice;
  const int32_t right = std::clamp(outcome.accepted, 0, std::max(outcome.drafted, 0));
  const double tokens = 1 + right;
  if (choice.own > 0) {
    own_.learn(right, right < outcome.drafted || outcome.drafted == 0);  // rows that saved nothing are worth nothing
    times_.learn_own(outcome.own_seconds / choice.own);
    if (outcome.rows > 0) times_.learn_settle(outcome.rows, outcome.seconds);
    own_tries_ = std::min(own_tries_ + 1, kOwnTries);
    since_own_ = 0;
  } else {
    times_.learn_confirm(outcome.rows, outcome.seconds);
    if (outcome.own_would_match >= 0) own_.learn(outcome.own_would_match, outcome.own_would_match == 0);
    since_own_ += tokens;
  }
  since_plain_ = choice == DraftChoice{} ? 0 : since_plain_ + 1;
  yield_ += (tokens / (1 + std::max(choice.own - 1, choice.source)) - yield_) / 16;
  Rates& rates = classes_[class_of(outcome.offer)];
  if (choice.source > 0 && outcome.drafted > 0) {
    rates.learn(outcome.drafted, right);
    all_.learn(outcome.drafted, right);
  } else if (outcome.would_match >= 0) {
    rates.learn(1, outcome.would_match);
    all_.learn(1, outcome.would_match);
  }
}

}  // namespace

std::unique_ptr<DraftChooser> goodput_chooser() { return std::make_unique<Goodput>(); }

}  // namespace fathom
