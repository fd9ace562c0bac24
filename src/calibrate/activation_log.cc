// ActivationLog: append, then rename, under a lock. Next in the flow: policy_store.cc.
#include "src/calibrate/activation_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <system_error>
#include <thread>

#include "src/calibrate/hex.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

constexpr size_t kMaxHistoryBytes = size_t{64} << 20;
constexpr JsonLimits kLimits = {.bytes = 4096, .depth = 2};
constexpr int32_t kActiveFormat = 1;
constexpr int64_t kMaxEntry = int64_t{1} << 53;

Error cannot(const std::string& path, std::string_view what) {
  return {ErrorCode::file, fmt::format("policy store {}: {}: {}: give a folder that can be written", path, what,
                                       std::generic_category().message(errno))};
}

std::string line_of(const JsonValue& json) {
  return json.dump(-1, ' ', false, JsonValue::error_handler_t::replace) + "\n";
}

/// False where another has it for 10 seconds.
bool take_lock(int fd) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR && errno != EWOULDBLOCK) return false;
    if (std::chrono::steady_clock::now() > end) return errno = EWOULDBLOCK, false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string now() { return utc(static_cast<int64_t>(std::time(nullptr))); }

}  // namespace

std::string utc(int64_t seconds) {
  const auto t = static_cast<std::time_t>(seconds);
  std::tm parts{};
  if (gmtime_r(&t, &parts) == nullptr) return {};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

Result<std::optional<ActivePolicy>> read_active(const std::string& folder) {
  const std::string path = folder + "/active";
  struct stat s {};
  if (lstat(path.c_str(), &s) != 0 && errno == ENOENT) return std::optional<ActivePolicy>();
  FATHOM_TRY(const std::string text, read_small_file(path, "policy store", kLimits.bytes));
  const Error mangled{
      ErrorCode::format,
      fmt::format("policy store {}: is not what fathom policy activate writes: activate a policy by name", path)};
  const auto json = parse_json(text, path, kLimits);
  if (!json) return mangled;
  std::optional<Error> error;
  const JsonField in(&*json, "", &error);
  const int64_t format = in["format"].whole(1, kMaxEntry);
  if (!error && format > kActiveFormat) {
    return Error{ErrorCode::unsupported, fmt::format("policy store {}: written by a newer Fathom (format {}, this one "
                                                     "reads {}): update Fathom",
                                                     path, format, kActiveFormat)};
  }
  ActivePolicy active{.name = in["name"].text(),
                      .sha256 = in["sha256"].text(),
                      .time = in["time"].text(),
                      .entry = in["entry"].whole(1, kMaxEntry)};
  if (error || !is_hex(active.sha256, kSha256Digits)) return mangled;
  return std::optional<ActivePolicy>(std::move(active));
}

Result<ActivationLog> ActivationLog::lock(const std::string& folder) {
  const std::string path = folder + "/history.jsonl";
  for (;;) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644));
    if (!file.open()) return cannot(path, "cannot be opened");
    struct stat locked {
    }, there{};
    if (fstat(file.get(), &locked) != 0 || !S_ISREG(locked.st_mode)) {
      return Error{ErrorCode::file, fmt::format("policy store {}: is not a regular file: take it away", path)};
    }
    if (!take_lock(file.get())) {
      if (errno != EWOULDBLOCK) return cannot(path, "cannot be locked");
      return Error{ErrorCode::file,
                   fmt::format("policy store {}: locked by another process for 10 seconds: try again", path)};
    }
    // Moved away while we waited: the lock that counts is the new file's.
    if (stat(path.c_str(), &there) != 0 || there.st_ino != locked.st_ino || there.st_dev != locked.st_dev) continue;
    ActivationLog log(folder, std::move(file));
    FATHOM_TRY(log.load());
    return log;
  }
}

Result<void> ActivationLog::load() {
  FATHOM_TRY(text_, read_small_file(path(), "policy store", kMaxHistoryBytes));
  // A line without its end is what a writer that was cut off left; nothing refers to it.
  const size_t whole = text_.rfind('\n') == std::string::npos ? 0 : text_.rfind('\n') + 1;
  if (whole != text_.size() && ftruncate(file_.get(), static_cast<off_t>(whole)) != 0) {
    return cannot(path(), "cannot be written");
  }
  text_.resize(whole);
  n_lines_ = std::count(text_.begin(), text_.end(), '\n');
  return {};
}

std::optional<HistoryEntry> ActivationLog::entry(int64_t n) const {
  if (n < 1 || n > n_lines_) return std::nullopt;
  std::string_view line = text_;
  for (int64_t i = 1; i < n; ++i) line.remove_prefix(line.find('\n') + 1);
  const auto json = parse_json(line.substr(0, line.find('\n')), path(), kLimits);
  if (!json) return std::nullopt;
  std::optional<Error> error;
  const JsonField in(&*json, "", &error);
  if (in["event"].text() != "activate") return std::nullopt;
  // An entry leads to an earlier one only, so that nobody goes round in circles.
  HistoryEntry entry{in["name"].text(), in["sha256"].text(), in["before"].whole(0, n - 1)};
  if (error || !is_hex(entry.sha256, kSha256Digits)) return std::nullopt;
  return entry;
}

Result<void> ActivationLog::append(const std::string& line) {
  if (text_.size() + line.size() > kMaxHistoryBytes) {
    return Error{ErrorCode::capacity, fmt::format("policy store {}: would be longer than {} bytes: move it elsewhere",
                                                  path(), kMaxHistoryBytes)};
  }
  if (write_all(file_.get(), std::as_bytes(std::span(line.data(), line.size()))) && fsync(file_.get()) == 0) return {};
  const Error error = cannot(path(), "cannot be written");
  take_back();
  return error;
}

void ActivationLog::take_back() { (void)!ftruncate(file_.get(), static_cast<off_t>(text_.size())); }

Result<ActivePolicy> ActivationLog::commit(const std::string& line, ActivePolicy active) {
  FATHOM_TRY(append(line));
  const OutputKind kind = {.name = "policy store", .first = {}, .foreign = {}};
  const auto put = write_whole_file(folder_ + "/active", kind,
                                    line_of({{"format", kActiveFormat},
                                             {"name", active.name},
                                             {"sha256", active.sha256},
                                             {"time", active.time},
                                             {"entry", active.entry}}));
  if (put) return active;
  take_back();
  return put.error();
}

Result<ActivePolicy> ActivationLog::activate(const std::string& name, const std::string& sha256, int64_t before) {
  const std::string time = now();
  const std::string line =
      line_of({{"event", "activate"}, {"name", name}, {"sha256", sha256}, {"time", time}, {"before", before}});
  return commit(line, {.name = name, .sha256 = sha256, .time = time, .entry = n_lines_ + 1});
}

Result<ActivePolicy> ActivationLog::go_back(const HistoryEntry& entry, int64_t to) {
  const std::string time = now();
  const std::string line =
      line_of({{"event", "rollback"}, {"name", entry.name}, {"sha256", entry.sha256}, {"time", time}, {"to", to}});
  return commit(line, {.name = entry.name, .sha256 = entry.sha256, .time = time, .entry = to});
}

}  // namespace fathom
