// What a folder of an encoder holds where a decoder's holds something else. Next: folder_encoder.cc.
#pragma once

#include <string>

#include "src/model/gguf.h"
#include "tests/support/folder_writer.h"

namespace fathom::testing {

/// The name under which BERT's authors published a tensor of a GGUF file.
std::string published_encoder_name(const std::string& name);

/// Fills in config.json, WordPiece's two files, and those of sentence-transformers.
///   file     the tiny model of these options
void describe_encoder(const TinyOptions& options, const gguf::File& file, FolderWriter& writer);

}  // namespace fathom::testing
