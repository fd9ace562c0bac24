// How much a calibration may be asked for: no more than every reader of its sidecar takes, and said before the work.
// Next in the flow: calibrate/pieces.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

inline constexpr size_t kMostGroups = 16;        // of texts
inline constexpr size_t kMostGroupName = 64;     // bytes of UTF-8
inline constexpr size_t kMostLevels = 16;        // of risk
inline constexpr int32_t kMostFittedExits = 8;   // CalibrateOptions::n_exits
inline constexpr int32_t kMostSettings = 64;     // CalibrateOptions::n_settings
inline constexpr double kMostTemperature = 1e6;  // CalibrateOptions::temperature
inline constexpr int32_t kMostLayersSeen = 512;  // of a model that is calibrated
inline constexpr int32_t kMostHeadsSeen = 256;   // of one layer
inline constexpr int32_t kMostStretches = 64;    // of places in a piece that a report tells apart

/// What a group of texts may be called: 1 to kMostGroupName bytes of UTF-8 in which every character can be printed, so
/// that a name is the same in every section of a sidecar, on a terminal and on a page.
///   errors   argument: another name, which is shown with control characters as \xNN
FATHOM_API Result<void> check_group_name(std::string_view name);

}  // namespace fathom
