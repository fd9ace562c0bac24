// Running rows through a session in the ways tests ask for. Next: the tests of engine/.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/session.h"

namespace fathom::testing {

/// Logits of every position of `ids`, run in steps of `chunk` rows: [ids, vocab].
struct RunOptions {
  int32_t chunk = 1;
  int32_t sequence = 0;
  RowKind kind = RowKind::prompt;
  PolicyRef policy = {};
};

struct Outcome {
  std::vector<float> logits;    // [ids, vocab]
  std::vector<RowResult> rows;  // [ids]
};

Outcome run(Session& session, std::span<const int32_t> ids, const RunOptions& options = {});

/// Seeded ids below `vocab`.
std::vector<int32_t> random_ids(int32_t n, int32_t vocab, uint64_t seed);

}  // namespace fathom::testing
