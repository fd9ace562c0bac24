// What a report says of layers, heads and skips, one part of its JSON each. Next in the flow:
// src/calibrate/findings.cc.
#pragma once

#include <nlohmann/json.hpp>

#include "src/calibrate/findings.h"

namespace fathom {

using Json = nlohmann::ordered_json;

Json layer_utility(const Findings& findings);
Json head_utility(const Findings& findings);
Json skip_ceiling(const Findings& findings);
/// Why no set of parts is left out; null where one is.
Json skip_nogo(const Findings& findings, const Calibration& calibration);

}  // namespace fathom
