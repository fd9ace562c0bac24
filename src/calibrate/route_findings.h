// What a report says of routers, one part of its JSON each. Next in the flow: src/calibrate/findings.cc.
#pragma once

#include <nlohmann/json.hpp>

#include "src/calibrate/findings.h"

namespace fathom {

using Json = nlohmann::ordered_json;

/// AUC of `utility` by layer, for "full depth's answer is there", as elements of "signals".
Json route_signals(const Findings& findings);
/// An element of "ceilings".
Json route_ceiling(const Findings& findings);
/// Why no route is used; null where one is.
Json route_nogo(const Findings& findings, const Calibration& calibration);

}  // namespace fathom
