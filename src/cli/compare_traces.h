// Whether two traces hold the same events, bit for bit. Next: compare_traces.cc.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/result.h"
#include "fathom/trace/reader.h"

namespace fathom::cli {

struct TraceComparison {
  int64_t events = 0;
  int64_t rows = 0;
  int64_t decisions = 0;
  std::string difference = {};  // the first one in words; empty: none
  bool truncated = false;       // `recorded` ends inside a record; it was compared up to there
};

Result<TraceComparison> compare_traces(TraceReader& recorded, TraceReader& again);

}  // namespace fathom::cli
