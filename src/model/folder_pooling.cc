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
Result<void> read_part(const fs::path& folder, const std::string& name, FolderTables& tables, Read&& read) {
  FATHOM_TRY(const JsonValue document,
             read_folder_json((folder / name).string(), {.fields = 4096, .remedy = "fetch the folder again"}));
  std::optional<Error> error;
  tables.source(name);
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
}

}  // namespace

Result<void> read_folder_pooling(const std::string& path, FolderTables& tables, std::vector<std::string>& files) {
  const fs::path folder(path);
  if (fs::exists(folder / kLengths)) {
    files.push_back((folder / kLengths).string());
    FATHOM_TRY(read_part(folder, kLengths, tables, [&](const JsonField& config) {
      if (config["max_seq_length"]) {
        tables.integer("embedding.usual_tokens", config["max_seq_length"].whole(0, int64_t{1} << 40), "max_seq_length");
      }
    }));
  }
  if (!fs::exists(folder / kModules)) {
    tables.source("no modules.json");
    tables.integer("embedding.unit_length", 0, "");
    return {};
  }
  files.push_back((folder / kModules).string());
  std::string pooling;
  bool pools = false, divides = false;
  FATHOM_TRY(read_part(folder, kModules, tables, [&](const JsonField& modules) {
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
  files.push_back((folder / config).string());
  return read_part(folder, config, tables, [&](const JsonField& fields) { read_mode(fields, tables); });
}

}  // namespace fathom
