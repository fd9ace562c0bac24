// Running rows through a session in the ways tests ask for.
#include "tests/support/sessions.h"

#include <algorithm>
#include <random>
#include <stdexcept>

namespace fathom::testing {

Outcome run(Session& session, std::span<const int32_t> ids, const RunOptions& options) {
  Outcome out;
  session.truncate(options.sequence, 0).value();
  for (size_t at = 0; at < ids.size(); at += static_cast<size_t>(options.chunk)) {
    std::vector<Row> rows;
    for (size_t i = at; i < std::min(ids.size(), at + static_cast<size_t>(options.chunk)); ++i) {
      rows.push_back({.token = ids[i],
                      .sequence = options.sequence,
                      .position = static_cast<int32_t>(i),
                      .kind = options.kind,
                      .logits = true});
    }
    const StepResult result = session.step(rows, options.policy).value();
    out.logits.insert(out.logits.end(), result.logits.data(), result.logits.data() + result.logits.size());
    out.rows.insert(out.rows.end(), result.rows.begin(), result.rows.end());
    for (const Row& row : rows) {
      if (session.cache().has_hole(row.sequence, row.position)) throw std::logic_error("a hole in the KV cache");
    }
  }
  return out;
}

std::vector<int32_t> random_ids(int32_t n, int32_t vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab));
  return ids;
}

}  // namespace fathom::testing
