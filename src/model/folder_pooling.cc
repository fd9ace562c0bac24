// What sentence-transformers says beside an encoder: how rows become one embedding, and how long texts are.
// Next in the flow: folder_names.cc.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "src/model/folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostModules = 16;
constexpr const char* kModules = "modules.json";
constexpr const char* kLengths = "sentence_bert_config.json";
constexpr std::string_view kModes[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token"};
constexpr int64_t kModeNumbers[] = {1, 2};  // GGUF's

/// A file of the folder whose fields become keys.
template <class Read>
Result<void> read_part(const fs::path& path, const std::string& name, Folder& folder, Read&& read) {
  FATHOM_TRY(const MappedFile mapped, MappedFile::open((path / name).string(), "the file that belongs there"));
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  FATHOM_TRY(const JsonValue document, parse_json(text, name, {.fields = 4096, .remedy = "fetch the folder again"}));
  folder.files.push_back((path / name).string());
  folder.config += text;
  std::optional<Error> error;
  folder.tables.source(name);
  read(JsonField(&document, "", &error));
  if (error) return Error{error->code, fmt::format("{}: {}", name, error->message)};
  return {};
}

void read_mode(const JsonField& config, FolderTables& tables) {
  bool found = false;
  config.each_named(64, [&](const std::string& name, const JsonField& field) {
    if (!name.starts_with("pooling_mode_") || !field.flag()) return;
    const auto* const mode = std::find(std::begin(kModes), std::end(kModes), name);
    if (mode == std::end(kModes) || found) {
      return field.fault(ErrorCode::unsupported,
                         "rows are pooled in another way than mean or first token: take a "
                         "model with one of these");
    }
    tables.integer("pooling_type", kModeNumbers[mode - kModes], name);
    found = true;
  });
  if (!found) {
    config.fault(ErrorCode::unsupported,
                 "names no way to pool by a pooling_mode_ flag: take a model that says mean or "
                 "first token");
  }
}

}  // namespace

Result<void> read_folder_pooling(const fs::path& path, Folder& folder) {
  FolderTables& tables = folder.tables;
  if (fs::exists(path / kLengths)) {
    FATHOM_TRY(read_part(path, kLengths, folder, [&](const JsonField& config) {
      if (config["max_seq_length"]) {
        tables.integer("embedding.usual_tokens", config["max_seq_length"].whole(0, int64_t{1} << 40), "max_seq_length");
      }
    }));
  }
  if (!fs::exists(path / kModules)) {
    tables.source("no modules.json");
    tables.integer("embedding.unit_length", 0, "");
    return {};
  }
  std::string pooling;
  bool pools = false, divides = false;
  FATHOM_TRY(read_part(path, kModules, folder, [&](const JsonField& modules) {
    modules.each(kMostModules, [&](const JsonField& module) {
      const std::string type = module["type"].text();
      const std::string_view name = std::string_view(type).substr(type.rfind('.') + 1);
      if (name == "Pooling") {
        pools = true;
        pooling = module["path"].text();
      } else if (name == "Normalize") {
        divides = true;
      } else if (name != "Transformer") {
        module["type"].fault(ErrorCode::unsupported,
                             fmt::format("{}: a step behind the layers that is none of Pooling, "
                                         "Normalize: take a model without it",
                                         gguf::printable(type)));
      }
    });
    tables.integer("embedding.unit_length", divides ? 1 : 0, "type");
  }));
  if (!pools) return {};
  if (fs::path(pooling).is_absolute() || pooling.find("..") != std::string::npos) {
    return Error{ErrorCode::format, fmt::format("{}: path \"{}\" leads out of the folder: fetch the folder again",
                                                kModules, gguf::printable(pooling))};
  }
  const std::string config = (fs::path(pooling) / "config.json").string();
  return read_part(path, config, folder, [&](const JsonField& fields) { read_mode(fields, tables); });
}

}  // namespace fathom
