// What a report says of exits, one part of its JSON each. Next in the flow: src/calibrate/findings.cc.
#pragma once

#include <nlohmann/json.hpp>

#include "src/calibrate/findings.h"

namespace fathom {

using Json = nlohmann::ordered_json;

Json exit_signals(const Findings& findings, const Calibration& calibration);
Json exit_translators(const Findings& findings);
Json exit_reliabilities(const Findings& findings);
Json exit_depths(const Findings& findings);
Json exit_passages(const Findings& findings, const Calibration& calibration);

}  // namespace fathom
