// FolderWriter: a tiny model as a Hugging Face folder, whole and, on purpose, broken. Next: tests/model/folder_test.cc.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/tiny_model.h"

namespace fathom::testing {

/// Every field is public, so that a test can break exactly one thing before write().
struct FolderWriter {
  struct TensorEntry {
    std::string name;
    std::string dtype;
    std::vector<uint64_t> shape;  // outermost first
    Bytes data;
  };

  nlohmann::ordered_json config, tokenizer, tokenizer_config;
  std::map<std::string, nlohmann::ordered_json> beside;  // further files by their paths in the folder
  std::vector<TensorEntry> tensors;

  TensorEntry& tensor(std::string_view name);
  void remove(std::string_view name);

  /// The bytes of one file that holds tensors [first, last).
  Bytes safetensors(size_t first, size_t last) const;

  /// Writes the folder; with several shards, and their index.
  void write(const std::string& folder, size_t shards = 1) const;
};

/// The tiny model of these options, of type f32, f16 or bf16, as its family's authors would have published it.
FolderWriter tiny_folder(const TinyOptions& options = {});

/// A file with these bytes.
void write_file(const std::string& path, std::string_view bytes);

}  // namespace fathom::testing
