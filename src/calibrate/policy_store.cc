// PolicyStore: what lies in the folder, what is active, and how that changes. Next in the flow: src/cli/policy.cc.
#include "fathom/calibrate/policy_store.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sha256.h"
#include "fathom/policy/policy.h"
#include "src/calibrate/activation_log.h"
#include "src/text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kEnding = ".fathom";
constexpr size_t kMaxName = 200;  // bytes, so that a temporary name beside it still fits a file system's 255
constexpr size_t kMaxSidecars = 4096;

std::string reason() { return std::generic_category().message(errno); }

bool is_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || name.front() == '.') return false;
  for (size_t at = 0; at < name.size();) {
    const text::Utf8Step step = text::next_step(name.substr(at));
    const auto c = static_cast<unsigned char>(name[at]);
    if (step.kind != text::Utf8Step::Kind::character || c < 0x20 || c == 0x7F || c == '/') return false;
    at += step.bytes;
  }
  return true;
}

/// A name without its ending.
Result<std::string> plain_name(std::string_view name) {
  if (name.ends_with(kEnding)) name.remove_suffix(kEnding.size());
  if (is_name(name)) return std::string(name);
  return Error{ErrorCode::argument, fmt::format("policy \"{}\": no name of a sidecar: give one that fathom policy list "
                                                "shows",
                                                text::printable(name))};
}

struct CloseFolder {
  void operator()(DIR* dir) const { closedir(dir); }
};

/// Names of the folder's sidecars, sorted.
Result<std::vector<std::string>> names_in(const std::string& folder) {
  const std::unique_ptr<DIR, CloseFolder> dir(opendir(folder.c_str()));
  if (dir == nullptr) {
    return Error{ErrorCode::file, fmt::format("policy store {}: {}: give a folder", folder, reason())};
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (!name.ends_with(kEnding)) continue;
    name.remove_suffix(kEnding.size());
    if (!is_name(name)) continue;
    if (names.size() == kMaxSidecars) {
      return Error{ErrorCode::capacity,
                   fmt::format("policy store {}: more than {} sidecars: move some elsewhere", folder, kMaxSidecars)};
    }
    names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// What is run must be readable by this build and fit the model it is bound to.
Result<void> check_runnable(const SidecarFile& sidecar, const Manifest& manifest) {
  const auto wrong = [&](const char* what, const Error& error) {
    return Error{ErrorCode::unsupported, fmt::format("sidecar {}: its {}: {}", sidecar.path(), what, error.message)};
  };
  const auto policy = Policy::parse(manifest.policy);
  const Result<void> checked = policy ? policy->check(manifest.model.n_layers) : Result<void>(policy.error());
  if (!checked) return wrong("policy", checked.error());
  if (sidecar.find(section::kParts) != nullptr) {
    FATHOM_TRY(const auto bytes, sidecar.section(section::kParts));
    if (const auto read = read_parts(bytes); !read) return wrong("exits", read.error());
  }
  if (sidecar.find(section::kRouters) != nullptr) {
    FATHOM_TRY(const auto bytes, sidecar.section(section::kRouters));
    if (const auto read = read_routers(bytes); !read) return wrong("routers", read.error());
  }
  return {};
}

Result<void> check_runnable(const SidecarFile& sidecar) {
  FATHOM_TRY(const Manifest manifest, read_manifest(sidecar));
  return check_runnable(sidecar, manifest);
}

/// The error of a sidecar that should be the one that was activated; nothing: it is.
std::optional<Error> changed_since(const SidecarFile& sidecar, const std::string& name, const std::string& sha256) {
  if (sha256_of(sidecar.bytes()) == sha256) return std::nullopt;
  return Error{ErrorCode::file, fmt::format("policy {}: {} changed since it was activated: put the old file back, or "
                                            "activate it again if it is meant",
                                            name, sidecar.path())};
}

}  // namespace

Result<PolicyStore> PolicyStore::open(const std::string& folder) {
  struct stat s {};
  if (stat(folder.c_str(), &s) != 0) {
    return Error{ErrorCode::file, fmt::format("policy store {}: {}: give a folder of sidecars", folder, reason())};
  }
  if (!S_ISDIR(s.st_mode)) {
    return Error{ErrorCode::file, fmt::format("policy store {}: is not a folder: give a folder of sidecars", folder)};
  }
  return PolicyStore(folder);
}

Result<std::vector<StoredPolicy>> PolicyStore::list() const {
  FATHOM_TRY(const std::vector<std::string> names, names_in(folder_));
  const auto active = this->active();
  std::vector<StoredPolicy> list;
  for (const std::string& name : names) {
    StoredPolicy stored{.name = name, .path = fmt::format("{}/{}{}", folder_, name, kEnding)};
    struct stat s {};
    if (stat(stored.path.c_str(), &s) != 0 && errno == ENOENT) continue;  // gone meanwhile
    stored.bytes = static_cast<uint64_t>(s.st_size);
    stored.time = utc(s.st_mtim.tv_sec);
    stored.active = active && *active && (*active)->name == name;
    const auto file = SidecarFile::open(stored.path);
    if (!file) {
      stored.fault = file.error().message;
    } else if (auto manifest = read_manifest(*file)) {
      stored.manifest = *std::move(manifest);
      if (const auto checked = check_runnable(*file, *stored.manifest); !checked)
        stored.fault = checked.error().message;
    } else {
      stored.fault = manifest.error().message;
    }
    list.push_back(std::move(stored));
  }
  return list;
}

Result<SidecarFile> PolicyStore::sidecar(std::string_view name) const {
  FATHOM_TRY(const std::string plain, plain_name(name));
  const std::string path = fmt::format("{}/{}{}", folder_, plain, kEnding);
  struct stat s {};
  if (stat(path.c_str(), &s) != 0 && errno == ENOENT) {
    return Error{ErrorCode::file,
                 fmt::format("policy {}: there is no {}: give one that fathom policy list shows", plain, path)};
  }
  return SidecarFile::open(path);
}

Result<std::optional<ActivePolicy>> PolicyStore::active() const { return read_active(folder_); }

Result<SidecarFile> PolicyStore::open_active() const {
  FATHOM_TRY(const std::optional<ActivePolicy> active, this->active());
  if (!active) {
    return Error{ErrorCode::file,
                 fmt::format("policy store {}: nothing is active: activate a policy by name", folder_)};
  }
  auto file = sidecar(active->name);
  if (!file) {
    return Error{file.error().code, fmt::format("policy {} is active, but {}", active->name, file.error().message)};
  }
  if (auto changed = changed_since(*file, active->name, active->sha256)) return *std::move(changed);
  return file;
}

Result<ActivePolicy> PolicyStore::activate(std::string_view name) const {
  FATHOM_TRY(const std::string plain, plain_name(name));
  FATHOM_TRY(const SidecarFile checked, sidecar(plain));  // before the store is touched
  FATHOM_TRY(check_runnable(checked));
  FATHOM_TRY(ActivationLog log, ActivationLog::lock(folder_));
  FATHOM_TRY(const SidecarFile file, sidecar(plain));  // again: it may have been replaced while others held the lock
  FATHOM_TRY(check_runnable(file));
  const std::string sha256 = sha256_of(file.bytes());
  const auto active = this->active();
  if (!active && active.error().code == ErrorCode::unsupported) return active.error();  // one that is mangled is mended
  int64_t before = 0;
  if (active && *active) {
    if ((*active)->name == plain && (*active)->sha256 == sha256) return **active;
    const auto entry = log.entry((*active)->entry);  // a history that was taken away begins anew
    if (entry && entry->name == (*active)->name && entry->sha256 == (*active)->sha256) before = (*active)->entry;
  }
  return log.activate(plain, sha256, before);
}

Result<ActivePolicy> PolicyStore::rollback() const {
  const Error nothing{ErrorCode::file,
                      fmt::format("policy store {}: nothing is active: activate a policy by name", folder_)};
  FATHOM_TRY(const std::optional<ActivePolicy> seen, this->active());
  if (!seen) return nothing;  // before the store is touched
  FATHOM_TRY(ActivationLog log, ActivationLog::lock(folder_));
  FATHOM_TRY(const std::optional<ActivePolicy> active, this->active());
  if (!active) return nothing;
  const auto entry = log.entry(active->entry);
  if (!entry || entry->name != active->name || entry->sha256 != active->sha256) {
    return Error{ErrorCode::file, fmt::format("policy store {}: history.jsonl does not tell of the activation of {}: "
                                              "activate a policy by name",
                                              folder_, active->name)};
  }
  if (entry->before == 0) {
    return Error{
        ErrorCode::file,
        fmt::format("policy store {}: nothing was active before {}: activate a policy by name", folder_, active->name)};
  }
  const auto target = log.entry(entry->before);
  if (!target) {
    return Error{ErrorCode::file, fmt::format("policy store {}: line {} of history.jsonl, which was active before {}, "
                                              "cannot be read: activate a policy by name",
                                              folder_, entry->before, active->name)};
  }
  FATHOM_TRY(const SidecarFile file, sidecar(target->name));
  if (auto changed = changed_since(file, target->name, target->sha256)) return *std::move(changed);
  FATHOM_TRY(check_runnable(file));
  return log.go_back(*target, entry->before);
}

}  // namespace fathom
