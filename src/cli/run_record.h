// What a generation was started with, as the trace's run_json keeps it: `replay --check` starts it again.
// Next: run_record.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fathom/engine/generate.h"
#include "src/cli/command.h"

namespace fathom::cli {

/// In place of one in traces of embed, whose texts are not kept.
inline constexpr std::string_view kEmbedRun = R"({"verb":"embed"})";

struct RunRecord {
  std::vector<int32_t> prompt = {};  // ids
  int32_t max_new_tokens = 0;
  int32_t ctx = 0;  // positions of the session
  std::string kv = "f16";
  Rounding rounding = {};
  int64_t sequence = 0;
  bool special = false;
  SampleOptions sample = {};
  std::vector<std::string> stop = {};
};

std::string to_json(const RunRecord& run);

/// Reads what to_json() wrote, from a trace that anyone may have written.
///   errors   format: which field is missing or wrong
Result<RunRecord> read_run(const std::string& json);

Result<Session> make_session(const Model& model, const RunRecord& run, int threads);
GenerateOptions options_of(const RunRecord& run, const Policy& policy);

/// A trace's header for this run.
TraceHeader header_of(const ModelFile& file, const RunRecord& run, const Policy& policy);

}  // namespace fathom::cli
