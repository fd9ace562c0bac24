// What a report says of KV translators, one part of its JSON each. Next in the flow: src/calibrate/findings.cc.
#pragma once

#include <nlohmann/json.hpp>

#include "src/calibrate/findings.h"

namespace fathom {

using Json = nlohmann::ordered_json;

/// The object "kv_translators", where they were tried.
Json fill_report(const Findings& findings);
/// Why none is used; null where they are, or where none was fitted.
Json fill_nogo(const Findings& findings);

}  // namespace fathom
