// Options that say how tokens are chosen and when a text ends; generate and chat have them. Next: generate.cc.
#pragma once

#include "src/cli/command.h"
#include "src/cli/run_record.h"

namespace fathom::cli {

void add_sampling_options(CLI::App& verb, RunRecord& run);

}  // namespace fathom::cli
