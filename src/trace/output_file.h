// open_output: a file to be written anew that costs nobody another file. Next in the flow: trace.cc.
#pragma once

#include <string>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

/// How an output names itself in errors, and knows its own earlier files.
struct OutputKind {
  std::string_view name;     // "trace"
  std::string_view first;    // the bytes that each of its files begins with
  std::string_view foreign;  // what is wrong with any other file: "exists and is no trace"
};

/// A descriptor of an emptied file: one that is new, empty or of this kind. A device is opened as it is.
///   errors   file: cannot be opened or emptied; a pipe, a folder, or a file of another kind, which stays as it was
FATHOM_API Result<int> open_output(const std::string& path, const OutputKind& kind);

}  // namespace fathom
