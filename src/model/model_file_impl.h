// What a ModelFile holds, shared with the Models opened from it. Next in the flow: model.cc, which packs it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fathom/model/model_file.h"
#include "src/model/folder.h"
#include "src/model/gguf.h"
#include "src/model/mapped_file.h"

namespace fathom {

struct ModelFile::Impl {
  std::string path = {};                // empty: bytes in memory
  std::vector<MappedFile> mapped = {};  // before what points into them; empty: bytes in memory
  std::vector<std::string> files = {};  // what was read
  size_t bytes = 0;                     // of all of them
  FolderTables tables = {};             // of a folder; of a GGUF file its keys and tensors alone
  ModelConfig config = {};
  std::optional<Tokenizer> tokenizer = {};
  uint64_t model_hash = 0, tokenizer_hash = 0;

  const gguf::File& file() const { return tables.file; }

  /// An error of this file's content, with its path in front where it has one.
  Error with_path(Error error) const;
};

}  // namespace fathom
