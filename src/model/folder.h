// Folder: a Hugging Face model folder put into GGUF's words, so that one reader of configurations, one loader of
// weights and one tokenizer serve both. Next in the flow: model/config_reader.h.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/text/tokenizer.h"
#include "src/model/gguf.h"
#include "src/model/mapped_file.h"
#include "src/text/json_fields.h"

namespace fathom {

/// Keys and tensors under GGUF's names, some of which point into memory that the folder has no bytes of.
class FolderTables {
 public:
  FolderTables() = default;
  FolderTables(FolderTables&&) = default;
  FolderTables& operator=(FolderTables&&) = default;

  /// The file that the coming keys are read from; config.json until it is said.
  void source(std::string_view file) { source_ = file; }
  // A key under the model's family, where a field of that file says it.
  void integer(std::string_view name, int64_t value, std::string_view field);
  void number(std::string_view name, double value, std::string_view field);
  void text(std::string_view name, std::string_view value, std::string_view field);
  void booleans(std::string_view name, const std::vector<bool>& values, std::string_view field);
  void family(std::string_view name);

  /// A tensor under another name; data that is not aligned is copied, and so is a norm whose 1 the folder leaves out.
  void tensor(gguf::TensorRecord record, std::string name, bool add_one);

  gguf::File file;

 private:
  void key(std::string_view name, gguf::Value value, std::string_view field);
  template <class T>
  gguf::Value scalar(gguf::Kind kind, T value);
  std::span<std::byte> made(size_t bytes);

  std::string family_, source_ = "config.json";
  std::deque<std::string> names_;  // moving a deque keeps its elements where they are
  std::deque<std::vector<std::byte>> made_;
};

struct Folder {
  std::vector<MappedFile> shards;  // before what points into them
  FolderTables tables;
  std::vector<std::string> files;  // paths of what is read of it, the tokenizer's included
  std::string config;              // the text of config.json, and of what an encoder has beside it
};

/// Whether a path is such a folder.
bool is_folder(const std::string& path);

/// Maps the shards of a folder and reads config.json and every header.
///   errors   file: config.json or weights that are not there; format, capacity: those of safetensors::read(), JSON
///   that
///            is none or not of this form, an index that names files or tensors which are not there; unsupported: an
///            architecture, quantised weights, or a feature that no LayerSpec can say. Each names the file
Result<Folder> read_folder(const std::string& path);

/// The tokenizer of a folder, filled up to `vocab` tokens as the rows of the token table are.
///   errors   file: no tokenizer.json; format: not of this form, more tokens than rows; unsupported: a kind of
///   tokenizer
///            or a way to cut text into words that Fathom has not
Result<TokenizerTables> read_folder_tokenizer(const std::string& path, int32_t vocab);

// folder_config.cc
/// config.json as keys.
void read_folder_config(const JsonField& config, FolderTables& tables);

// folder_pooling.cc
/// What sentence-transformers' files say of an encoder, as keys; the folder gets their paths and text.
///   errors   format: a file not of its form; unsupported: a way to pool, or a step behind the layers, that Fathom has
///            not; each names the file
Result<void> read_folder_pooling(const std::filesystem::path& path, Folder& folder);

// folder_names.cc
/// GGUF's name for a tensor of a family; empty: nothing that a run needs. `add_one`: a norm that is stored less 1.
struct FolderName {
  std::string name;
  bool known = false;
  bool add_one = false;
};
FolderName folder_name(std::string_view family, std::string_view tensor);

/// A file of the folder as JSON.
///   errors   file: it is not there or cannot be read; those of parse_json()
Result<JsonValue> read_folder_json(const std::string& path, const JsonLimits& limits = {});

}  // namespace fathom
