// make_folders: one mkdir for each slash. Next in the flow: model/packed_file.cc.
#include "src/core/folders.h"

#include <sys/stat.h>

#include <cerrno>

namespace fathom {

bool make_folders(const std::string& folder) {
  for (size_t at = folder.find('/', 1);; at = folder.find('/', at + 1)) {
    if (mkdir(folder.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
    if (at == std::string::npos) return true;
  }
}

}  // namespace fathom
