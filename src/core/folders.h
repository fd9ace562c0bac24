// make_folders: a folder and those it lies in. Next in the flow: model/packed_file.h and calibrate/sha256.cc use it.
#pragma once

#include <string>

namespace fathom {

/// Makes every folder on the way that is missing; false with errno where one cannot be made.
bool make_folders(const std::string& folder);

}  // namespace fathom
