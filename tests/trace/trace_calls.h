// Random calls of Trace's engine side, and whether a reader gives them back bit for bit. Next: trace_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "fathom/trace/reader.h"

namespace fathom {

/// Makes the call that an event stands for; an empty one leaves nothing in the file.
inline void write(Trace& trace, const TraceEvent& call) {
  switch (call.kind) {
    case TraceEvent::Kind::rows:
    case TraceEvent::Kind::more_rows:
      return trace.rows(call.rows);
    case TraceEvent::Kind::boundary:
      return trace.boundary(call.computed, call.sequences, call.steps, call.decisions);
    case TraceEvent::Kind::commit:
      return trace.commit(call.commits);
    case TraceEvent::Kind::rollback:
      return trace.rollback(call.rollbacks);
    case TraceEvent::Kind::choice:
      return trace.choice(call.choices);
    case TraceEvent::Kind::fates:
      return trace.fates(call.fates);
  }
}

/// Random steps as an engine would make them, and now and then as it would not: rows out of order, unknown rows.
class RandomCalls {
 public:
  RandomCalls(uint32_t seed, int32_t n_layers, int most_rows)
      : bits_(seed), n_layers_(n_layers), most_rows_(most_rows) {}

  void step() {
    if (below(2)) choices();
    const std::vector<TraceRow> rows = enter();
    for (int32_t layer = 0; layer < n_layers_; ++layer) {
      if (below(3) != 0) boundary(rows, layer);
    }
    if (below(2)) fates(rows);
    commit(rows);
    if (below(2)) rollbacks();
  }

  std::vector<TraceEvent> take() { return std::move(calls_); }

 private:
  int32_t below(uint32_t n) { return static_cast<int32_t>(bits_() % n); }
  float real() { return below(8) == 0 ? std::nanf("") : static_cast<float>(below(1000)) / 7; }
  int32_t count() { return below(2) ? below(4) == 0 ? 0x7fffffff : below(300) : 0; }

  TraceEvent& add(TraceEvent::Kind kind) {
    calls_.emplace_back().kind = kind;
    return calls_.back();
  }

  std::vector<TraceRow> enter() {
    std::vector<TraceRow> rows;
    for (int i = 0, n = 1 + below(static_cast<uint32_t>(most_rows_)); i < n; ++i) {
      rows.push_back({below(3), below(4) == 0 ? below(2000) : i, below(262144),
                      below(2) ? RowKind::generated : RowKind::prompt, static_cast<RowRole>(below(3))});
    }
    return add(TraceEvent::Kind::rows).rows = rows;
  }

  void boundary(const std::vector<TraceRow>& rows, int32_t layer) {
    TraceEvent& call = add(TraceEvent::Kind::boundary);
    for (SignalSet& of_kind : call.computed) of_kind.bits = below(2) ? 0 : static_cast<uint32_t>(below(1 << kSignals));
    for (const TraceRow& row : rows) {
      if (below(4) == 0) continue;
      Step step;
      step.layer = layer;
      step.n_layers = n_layers_;
      step.position = below(20) == 0 ? below(100000) : row.position;
      step.generated = below(5);
      step.kind = row.kind;
      step.work_spent = real(), step.work_rows = real(), step.work_if_exit = real(), step.work_if_run = real();
      for (int i = 0; i < kSignals; ++i) {
        if (call.computed[static_cast<size_t>(row.kind)].has(static_cast<Signal>(i))) step.signals[i] = real();
      }
      call.sequences.push_back(row.sequence);
      call.steps.push_back(step);
      const Verdict verdicts[] = {Verdict::run,        Verdict::skip_attention, Verdict::skip_feed_forward,
                                  Verdict::skip_layer, Verdict::exit,           Verdict::silence_heads,
                                  Verdict::drop,       Verdict::merge};
      call.decisions.push_back({verdicts[below(8)], static_cast<int8_t>(below(4) - 1)});
    }
  }

  void commit(const std::vector<TraceRow>& rows) {
    TraceEvent& call = add(TraceEvent::Kind::commit);
    for (const TraceRow& row : rows) {
      if (below(5) == 0) continue;
      call.commits.push_back({row.sequence, row.position, below(3) ? below(262144) : -1, real(), real(),
                              static_cast<HeadWay>(below(kHeadWays))});
    }
  }

  void fates(const std::vector<TraceRow>& rows) {
    TraceEvent& call = add(TraceEvent::Kind::fates);
    for (const TraceRow& row : rows) {
      if (below(5) == 0) continue;
      TraceFate& fate = call.fates.emplace_back();
      fate = {.sequence = row.sequence, .position = below(9) == 0 ? count() : row.position};
      fate.share = static_cast<float>(below(1000)) / 999;
      if (below(2)) continue;
      fate.removed_at = below(static_cast<uint32_t>(n_layers_) + 1);
      if (below(2)) fate.joined = count();
    }
  }

  void rollbacks() {
    TraceEvent& call = add(TraceEvent::Kind::rollback);
    for (int i = 0, n = 1 + below(static_cast<uint32_t>(most_rows_)); i < n; ++i) {
      call.rollbacks.push_back({below(5) - 1, count()});
    }
  }

  void choices() {
    TraceEvent& call = add(TraceEvent::Kind::choice);
    for (int i = 0, n = 1 + below(static_cast<uint32_t>(most_rows_)); i < n; ++i) {
      call.choices.push_back({below(5) - 1, count(), count(), count(), count(), count()});
    }
  }

  std::mt19937 bits_;
  int32_t n_layers_;
  int most_rows_;
  std::vector<TraceEvent> calls_;
};

inline std::vector<TraceEvent> random_calls(uint32_t seed, int steps, int32_t n_layers, int most_rows) {
  RandomCalls calls(seed, n_layers, most_rows);
  for (int s = 0; s < steps; ++s) calls.step();
  return calls.take();
}

inline size_t size_of(const TraceEvent& e) {
  return e.rows.size() + e.steps.size() + e.commits.size() + e.rollbacks.size() + e.choices.size() + e.fates.size();
}

inline bool same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

inline void expect_same(const Step& a, const Step& b) {
  ASSERT_EQ(a.layer, b.layer);
  ASSERT_EQ(a.n_layers, b.n_layers);
  ASSERT_EQ(a.position, b.position);
  ASSERT_EQ(a.generated, b.generated);
  ASSERT_EQ(a.kind, b.kind);
  ASSERT_TRUE(same(a.work_spent, b.work_spent)) << a.work_spent << " and " << b.work_spent;
  ASSERT_TRUE(same(a.work_rows, b.work_rows)) << a.work_rows << " and " << b.work_rows;
  ASSERT_TRUE(same(a.work_if_exit, b.work_if_exit)) << a.work_if_exit << " and " << b.work_if_exit;
  ASSERT_TRUE(same(a.work_if_run, b.work_if_run)) << a.work_if_run << " and " << b.work_if_run;
  for (int s = 0; s < kSignals; ++s) ASSERT_TRUE(same(a.signals[s], b.signals[s])) << kSignalNames[s];
}

inline void expect_same(const TraceRow& a, const TraceRow& b) {
  EXPECT_EQ(std::tie(a.sequence, a.position, a.token, a.kind, a.role),
            std::tie(b.sequence, b.position, b.token, b.kind, b.role));
}

inline void expect_same(const TraceCommit& a, const TraceCommit& b) {
  EXPECT_EQ(std::tie(a.sequence, a.position, a.token), std::tie(b.sequence, b.position, b.token));
  EXPECT_TRUE(same(a.depth, b.depth) && same(a.work, b.work));
  EXPECT_EQ(a.head, b.head);
}

inline void expect_same(const TraceRollback& a, const TraceRollback& b) {
  EXPECT_EQ(std::tie(a.sequence, a.length), std::tie(b.sequence, b.length));
}

inline void expect_same(const TraceChoice& a, const TraceChoice& b) {
  EXPECT_EQ(std::tie(a.sequence, a.position, a.own, a.source, a.proposed, a.confidence),
            std::tie(b.sequence, b.position, b.own, b.source, b.proposed, b.confidence));
}

inline void expect_same(const TraceFate& a, const TraceFate& b) {
  EXPECT_EQ(std::tie(a.sequence, a.position, a.removed_at, a.joined),
            std::tie(b.sequence, b.position, b.removed_at, b.joined));
  EXPECT_TRUE(same(a.share, b.share));
}

// The items of `part` are those of `call` from `at` on.
template <class T>
void expect_part(const std::vector<T>& part, const std::vector<T>& call, size_t at) {
  ASSERT_LE(part.size(), part.empty() ? 0 : call.size() - at);
  for (size_t i = 0; i < part.size(); ++i) expect_same(part[i], call[at + i]);
}

// `part` is what comes of `call` from its item `at` on.
inline void expect_part(const TraceEvent& part, const TraceEvent& call, size_t at) {
  const bool more_rows = call.kind == TraceEvent::Kind::rows && at > 0;
  ASSERT_EQ(part.kind, more_rows ? TraceEvent::Kind::more_rows : call.kind);
  ASSERT_LE(at + size_of(part), size_of(call));
  expect_part(part.rows, call.rows, at);
  expect_part(part.steps, call.steps, at);
  expect_part(part.commits, call.commits, at);
  expect_part(part.rollbacks, call.rollbacks, at);
  expect_part(part.choices, call.choices, at);
  expect_part(part.fates, call.fates, at);
  for (size_t i = 0; i < part.steps.size(); ++i) {
    EXPECT_EQ(part.sequences[i], call.sequences[at + i]);
    EXPECT_EQ(part.decisions[i], call.decisions[at + i]);
  }
  EXPECT_TRUE(part.steps.empty() || part.computed == call.computed);
}

/// Reads the calls in order, long ones in parts, up to the file's end or an error; nothing may differ.
///   returns  how many calls were read whole
inline size_t expect_prefix(TraceReader& reader, const std::vector<TraceEvent>& calls) {
  TraceEvent event;
  for (size_t c = 0; c < calls.size(); ++c) {
    for (size_t at = 0; at < size_of(calls[c]); at += size_of(event)) {
      const auto more = reader.next(event);
      if (!more || !*more) return c;
      expect_part(event, calls[c], at);
      if (testing::Test::HasFailure()) return c;
    }
  }
  return calls.size();
}

}  // namespace fathom
