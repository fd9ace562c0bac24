// Real models, where `./dev model NAME` has put them.
#include "tests/support/real_model.h"

#include <cstdlib>
#include <filesystem>
#include <map>

namespace fathom::testing {

std::string real_model_path(const std::string& name) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = cache != nullptr && *cache != '\0'
                                         ? std::filesystem::path(cache)
                                         : std::filesystem::path(home == nullptr ? "" : home) / ".cache";
  const std::filesystem::path folder = base / "fathom" / "models" / name, file = folder / (name + ".gguf");
  if (std::filesystem::exists(folder / "config.json")) return folder.string();
  return std::filesystem::exists(file) ? file.string() : std::string();
}

std::optional<Model> real_model(const std::string& name, const OpenOptions& options) {
  static std::map<std::string, Model> opened;
  const std::string path = real_model_path(name);
  if (path.empty()) return std::nullopt;
  const std::string key = name + "/" + std::to_string(static_cast<int>(options.numerics)) + "/" +
                          (options.quantise ? "quantised/" : "/") + (options.target == nullptr ? "" : options.target);
  auto found = opened.find(key);
  if (found == opened.end()) found = opened.emplace(key, Model::open(path, options).value()).first;
  return found->second;
}

}  // namespace fathom::testing
