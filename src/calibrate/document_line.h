// One line of a JSONL file as a document. Next: documents.cc.
#pragma once

#include <string>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

struct DocumentLine {
  std::string text;
  std::string id;       // a string or a whole number; empty: none
  bool prompt = false;  // the model continues it
};

/// Reads an object with `text`, a document, or with `prompt`, a document that the model continues. `id` is
/// kept; all other fields are passed over.
///   errors   format: the fault and its remedy; the caller says which line of which file
///   memory   nothing nested is ever built; nesting beyond 64 levels is refused where it begins
Result<DocumentLine> read_document_line(std::string_view line);

}  // namespace fathom
