// The chooser by goodput in a simulated world: texts are bits (the guess at a place is right or not), passes have
// times. Next in the flow: src/engine/pass_times.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fathom/engine/draft.h"

namespace fathom {
namespace {

// Seconds of a pass by rows; between the knots linear.
struct Machine {
  const char* name;
  std::vector<std::pair<double, double>> knots;
  double own = 1, settle = 1;  // a drafted row and a settling pass, in full passes
  double seconds(int32_t rows) const {
    size_t i = 1;
    while (i + 1 < knots.size() && rows > knots[i].first) ++i;
    const auto [x0, y0] = knots[i - 1];
    const auto [x1, y1] = knots[i];
    return 0.01 * (y0 + (y1 - y0) * (rows - x0) / (x1 - x0));
  }
};

const Machine kGood{"good", {{1, 1}, {2, 1.03}, {4, 1.1}, {8, 1.5}, {16, 2.6}}};
const Machine kAvx2{"avx2", {{1, 1}, {4, 1.8}, {8, 3.3}, {16, 6.6}}};
const Machine kDear{"dear", {{1, 1}, {2, 1.9}, {16, 15}}};

struct Text {
  std::vector<bool> source;  // [places] the source's guess is right where those before were
  std::vector<bool> own;     // the same for rows under savings
  std::vector<int32_t> classes;
};

std::vector<bool> bits(size_t n, double rate, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<bool> bits(n);
  for (size_t i = 0; i < n; ++i) bits[i] = static_cast<double>(random()) < rate * 4294967296.0;
  return bits;
}

void append(std::vector<bool>& to, const std::vector<bool>& what) { to.insert(to.end(), what.begin(), what.end()); }

struct World {
  const Machine* machine;
  int32_t max_rows = 16;
  int32_t other_rows = 0;
  bool saves = false;
  double jitter = 0.03;                // times vary by so much
  double outliers = 0;                 // share of passes that take ten times as long
  int32_t slow_from = 0, slow_to = 0;  // passes that take so many times as long
  double slow_by = 1;
  uint32_t seed = 1;
};

struct Ride {
  double clean = 0;  // seconds without outliers and jitter
  int32_t tokens = 0, passes = 0, switches = 0;
  int32_t last_draft = -1;  // the last place where something was drafted
  std::vector<DraftChoice> choices;
  std::vector<int32_t> classes;
  double goodput() const { return tokens / clean; }
};

int32_t hits(const std::vector<bool>& bits, size_t from, int32_t most) {
  int32_t n = 0;
  while (n < most && from + static_cast<size_t>(n) < bits.size() && bits[from + static_cast<size_t>(n)]) ++n;
  return n;
}

// A text from its beginning to its end; a null chooser drafts `fixed` always.
Ride run(const World& world, const Text& text, DraftChooser* chooser, DraftChoice fixed = {}) {
  std::mt19937 random(world.seed);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
  Ride run;
  bool drafting = false;
  for (size_t at = 0; at + 32 < text.source.size();) {
    DraftOutcome o;
    o.offer = {.max_rows = world.max_rows,
               .saves = world.saves,
               .proposed = world.max_rows - 1,
               .confidence = text.classes.empty() ? 0 : text.classes[at],
               .other_rows = world.other_rows,
               .context = static_cast<int32_t>(at)};
    o.choice = chooser != nullptr ? chooser->choose(o.offer) : fixed;
    EXPECT_LE(o.choice.source, o.offer.max_rows - 1);
    EXPECT_LE(o.choice.own, o.offer.max_rows);
    EXPECT_TRUE(o.choice.own == 0 || o.choice.source == 0);
    EXPECT_NE(o.choice.own, 1);
    o.drafted = o.choice.own > 0 ? o.choice.own - 1 : o.choice.source;
    o.accepted = hits(o.choice.own > 0 ? text.own : text.source, at, o.drafted);
    o.would_match = text.source[at];
    o.rows = world.other_rows + (o.choice.own > 0 ? o.choice.own : 1 + o.choice.source);
    const double own = o.choice.own * 0.01 * world.machine->own;
    const double pass = world.machine->seconds(o.rows) * (o.choice.own > 0 ? world.machine->settle : 1);
    const double slow = (1 + world.jitter * (2 * uniform() - 1)) * (uniform() < world.outliers ? 10 : 1) *
                        (run.passes >= world.slow_from && run.passes < world.slow_to ? world.slow_by : 1);
    o.own_seconds = own * slow;
    o.seconds = pass * slow;
    if (chooser != nullptr) chooser->learn(o);
    run.clean += own + pass;
    run.tokens += 1 + o.accepted;
    ++run.passes;
    run.choices.push_back(o.choice);
    run.classes.push_back(o.offer.confidence);
    const bool drafts = o.choice != DraftChoice{};
    if (drafts) run.last_draft = static_cast<int32_t>(at);
    run.switches += drafts != drafting;
    drafting = drafts;
    at += static_cast<size_t>(1 + o.accepted);
  }
  return run;
}

double best_fixed(const World& world, const Text& text) {
  double best = 0;
  for (int32_t n = 0; n < world.max_rows; ++n) {
    for (const DraftChoice choice : {DraftChoice{.source = n}, DraftChoice{.own = world.saves && n > 0 ? n + 1 : 0}}) {
      best = std::max(best, run(world, text, nullptr, choice).goodput());
    }
  }
  return best;
}

Ride ride(const World& world, const Text& text) { return run(world, text, goodput_chooser().get()); }

std::string scene(const World& world, double rate) {
  return fmt::format("{} machine, rate {}, {} outliers, seed {}", world.machine->name, rate, world.outliers,
                     world.seed);
}

constexpr double kRates[] = {0, .1, .3, .5, .8, .95};
const Machine* const kMachines[] = {&kGood, &kAvx2};

TEST(Goodput, EndsNearTheBestFixedChoice) {
  for (const Machine* machine : {&kGood, &kAvx2, &kDear}) {
    for (const double rate : kRates) {
      for (uint32_t seed = 1; seed <= 4; ++seed) {
        const World world{.machine = machine, .seed = seed};
        const Text text{.source = bits(4000, rate, seed)};
        EXPECT_GE(ride(world, text).goodput(), 0.95 * best_fixed(world, text)) << scene(world, rate);
      }
    }
  }
}

TEST(Goodput, PassesThatTakeTenTimesAsLongAreNotTheMachinesSpeed) {
  for (const Machine* machine : kMachines) {
    for (const double rate : kRates) {
      for (uint32_t seed = 1; seed <= 4; ++seed) {
        const World world{.machine = machine, .outliers = 0.02, .seed = seed};
        const Text text{.source = bits(4000, rate, seed)};
        EXPECT_GE(ride(world, text).goodput(), 0.95 * best_fixed(world, text)) << scene(world, rate);
      }
    }
  }
}

// Each of the first passes in turn, where little is known yet, and a while in which everything takes thrice as long.
TEST(Goodput, NoSlowPassSwitchesDraftingOffForLong) {
  for (const Machine* machine : kMachines) {
    const Text text{.source = bits(1000, 0.8, 7)};
    const World world{.machine = machine};
    const double best = best_fixed(world, text);
    for (int32_t slow = 0; slow < 40; ++slow) {
      World slowed = world;
      slowed.slow_from = slow, slowed.slow_to = slow + 1, slowed.slow_by = 10;
      EXPECT_GE(ride(slowed, text).goodput(), 0.9 * best) << machine->name << ", pass " << slow;
    }
    World busy = world;
    busy.slow_from = 60, busy.slow_to = 100, busy.slow_by = 3;
    EXPECT_GE(ride(busy, text).goodput(), 0.93 * best) << machine->name;
  }
}

TEST(Goodput, WhatLosesIsOffWithin16Tokens) {
  for (const Machine* machine : kMachines) {
    for (const double rate : {0., .3, .5, .8, .95}) {
      for (uint32_t seed = 1; seed <= 8; ++seed) {
        const World world{.machine = machine, .seed = seed};
        Text text{.source = rate > 0 ? bits(600, rate, seed) : std::vector<bool>()};
        const int32_t change = static_cast<int32_t>(text.source.size());
        append(text.source, bits(300, 0, seed));
        EXPECT_LE(ride(world, text).last_draft, change + 15) << scene(world, rate);
      }
    }
  }
}

// Sixteen classes, one after another or mixed, as a source has them; drafting may lose as well.
TEST(Goodput, HopelessTextsLoseLessThanTwoPercentOfAThousandTokens) {
  std::mt19937 random(3);
  for (const Machine* machine : {&kGood, &kAvx2, &kDear}) {
    for (const double rate : {0., .02}) {
      for (const bool saves : {false, true}) {
        if (saves && machine == &kDear) continue;  // two mechanisms that lose, where everything is dear
        for (uint32_t seed = 1; seed <= 6; ++seed) {
          const World world{.machine = machine, .saves = saves, .seed = seed};
          Text text{.source = bits(1032, rate, seed), .own = bits(1032, rate, seed + 100)};
          for (int i = 0; i < 1032; ++i) {
            text.classes.push_back(seed % 2 == 0 ? i / 65 : static_cast<int32_t>(random() % kDraftClasses));
          }
          const Ride never = run(world, text, nullptr);
          const double least = saves ? 0.975 : 0.98;  // two mechanisms on trial, or one
          EXPECT_GE(ride(world, text).goodput(), least * never.goodput()) << scene(world, rate) << " saves " << saves;
        }
      }
    }
  }
}

TEST(Goodput, ATextThatChangesIsFollowed) {
  for (const Machine* machine : kMachines) {
    for (uint32_t seed = 1; seed <= 4; ++seed) {
      const World world{.machine = machine, .seed = seed};
      Text whole;
      double best_seconds = 0;
      for (const double rate : {.95, 0., .8, .1, .95, .3}) {
        const std::vector<bool> part = bits(600, rate, seed);
        append(whole.source, part);
        Text alone{.source = part};
        append(alone.source, std::vector<bool>(32, false));
        best_seconds += 600 / best_fixed(world, alone);
      }
      const Ride r = ride(world, whole);
      EXPECT_GE(r.goodput(), 0.93 * 3600 / best_seconds) << scene(world, -1);
    }
  }
}

TEST(Goodput, ClassesAreJudgedEachForItself) {
  for (const Machine* machine : kMachines) {
    const World world{.machine = machine};
    Text text{.source = bits(4000, 0.02, 1)};
    const std::vector<bool> sure = bits(4000, 0.95, 2);
    for (size_t i = 0; i < 4000; ++i) {  // stretches of 40 in turn
      text.classes.push_back(i / 40 % 2 == 0 ? 3 : 9);
      if (i / 40 % 2 != 0) text.source[i] = sure[i];
    }
    const Ride r = ride(world, text);
    int32_t drafted[2] = {0, 0};
    for (size_t i = r.choices.size() / 4; i < r.choices.size(); ++i)
      drafted[r.classes[i] == 9] += r.choices[i].source > 1;
    EXPECT_LE(drafted[0], r.passes / 50) << machine->name;
    EXPECT_GE(r.goodput(), 1.02 * best_fixed(world, text)) << machine->name;
  }
}

// Two switches belong to each pass without drafts by which their gain is measured again.
TEST(Goodput, DoesNotOscillate) {
  for (const Machine* machine : kMachines) {
    for (const double rate : kRates) {
      for (const double outliers : {0., .02}) {
        const World world{.machine = machine, .outliers = outliers};
        const Text text{.source = bits(4000, rate, 5)};
        const Ride r = ride(world, text);
        const double gain = best_fixed(world, text) / run(world, text, nullptr).goodput();
        const bool clear = gain > 1.15 || rate < 0.05;
        EXPECT_LE(r.switches, r.passes / (clear ? 24 : 10) + 4) << scene(world, rate);
      }
    }
  }
}

TEST(Goodput, DraftsUnderSavingsWhereThatIsBest) {
  struct Savings {
    const char* what;
    double own, settle, own_rate, source_rate;
  };
  for (const Savings& c :
       {Savings{"a deferred head", .28, .72, .84, 0}, Savings{"an early exit", .5, .55, .9, 0},
        Savings{"a deferred head on a copy", .28, .72, .84, .9}, Savings{"hopeless savings", 1, 1, 0, 0},
        Savings{"hopeless savings on a copy", 1, 1, 0, .8}, Savings{"savings that lose a little", .6, .6, .5, 0}}) {
    for (const Machine* base : kMachines) {
      for (const double outliers : {0., .02}) {
        Machine machine = *base;
        machine.own = c.own, machine.settle = c.settle;
        const World world{.machine = &machine, .saves = true, .outliers = outliers};
        const Text text{.source = bits(4000, c.source_rate, 1), .own = bits(4000, c.own_rate, 2)};
        EXPECT_GE(ride(world, text).goodput(), 0.95 * best_fixed(world, text))
            << c.what << ", " << base->name << ", outliers " << outliers;
      }
    }
  }
}

// A shortlist is watched for nothing: where it was measured that a row under it costs nearly a pass, none is tried
// before its guesses are known to be good.
TEST(Goodput, SavingsThatWereMeasuredAreNotTriedInVain) {
  const PassCosts costs{
      .confirm = {1, 1.1, 1.5, 2.5, 5}, .settle = {.2, .22, .3, .5, 1}, .own = .82, .own_measured = true};
  for (const double rate : {.3, .6, .99}) {
    const auto chooser = goodput_chooser();
    std::mt19937 random(5);
    int32_t tried = 0;
    for (int i = 0; i < 200; ++i) {
      DraftOutcome o;
      o.offer = {.max_rows = 16, .saves = true, .costs = &costs};
      o.choice = chooser->choose(o.offer);
      const auto right = [&] { return static_cast<double>(random()) < rate * 4294967296.0; };
      tried += o.choice.own > 0;
      o.rows = std::max(1, o.choice.own);
      o.drafted = std::max(0, o.choice.own - 1);
      while (o.accepted < o.drafted && right()) ++o.accepted;
      o.own_would_match = o.choice.own > 0 ? -1 : right();
      o.own_seconds = 0.01 * costs.own * o.choice.own;
      o.seconds = 0.01 * PassCosts::at(o.choice.own > 0 ? costs.settle : costs.confirm, o.rows);
      chooser->learn(o);
    }
    if (rate < .9) {
      EXPECT_LE(tried, 4) << "rate " << rate;  // a run of right guesses may be luck
    } else {
      EXPECT_GE(tried, 20) << "rate " << rate;
    }
  }
}

TEST(Goodput, RowsOfOtherSequencesMakeDraftsDearer) {
  for (const Machine* machine : kMachines) {
    for (const int32_t others : {1, 3, 7}) {
      for (const double rate : {0., .3, .8, .95}) {
        const World world{.machine = machine, .other_rows = others};
        const Text text{.source = bits(4000, rate, 3)};
        const auto goodput = [&](const Ride& r) { return (r.tokens + others * r.passes) / r.clean; };
        double best = 0;
        for (int32_t n = 0; n < 16; ++n) best = std::max(best, goodput(run(world, text, nullptr, {.source = n})));
        EXPECT_GE(goodput(ride(world, text)), 0.95 * best) << machine->name << ", others " << others << ", " << rate;
      }
    }
  }
}

TEST(Goodput, TheSameInputsGiveTheSameChoices) {
  const World world{.machine = &kAvx2, .saves = true, .outliers = 0.02};
  const Text text{.source = bits(1000, .6, 1), .own = bits(1000, .6, 2)};
  EXPECT_EQ(ride(world, text).choices, ride(world, text).choices);
}

TEST(Goodput, OffersAreNeverExceededAndNonsenseIsNotLearned) {
  std::mt19937 random(1);
  const auto chooser = goodput_chooser();
  const double seconds[] = {0.01, 0, -1, NAN, INFINITY, 1e-300, 1e300};
  for (int i = 0; i < 20000; ++i) {
    const auto any = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
    DraftOutcome o;
    o.offer = {.max_rows = any(70) - 1,
               .saves = any(2) == 0,
               .proposed = any(70) - 1,
               .confidence = any(40) - 10,
               .other_rows = any(100),
               .context = any(1000)};
    o.choice = chooser->choose(o.offer);
    ASSERT_GE(o.choice.source, 0);
    ASSERT_LE(o.choice.source, std::max(0, std::min(o.offer.proposed, o.offer.max_rows - 1)));
    ASSERT_TRUE(o.choice.own == 0 || (o.offer.saves && o.choice.own >= 2 && o.choice.own <= o.offer.max_rows));
    ASSERT_TRUE(o.choice.own == 0 || o.choice.source == 0);
    o.drafted = any(20) - 1, o.accepted = any(20) - 1, o.would_match = any(4) - 2, o.rows = any(200) - 1;
    o.own_seconds = seconds[any(7)], o.seconds = seconds[any(7)];
    chooser->learn(o);
  }
}

}  // namespace
}  // namespace fathom
