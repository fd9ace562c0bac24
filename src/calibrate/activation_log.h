// What a store remembers: the file "active" and the lines of "history.jsonl". Next in the flow: policy_store.cc.
//
//   active         one line of JSON: {"format":1,"name":..,"sha256":..,"time":..,"entry":n}; replaced by rename
//   history.jsonl  a line of JSON for each event, only ever appended to:
//                  {"event":"activate","name":..,"sha256":..,"time":..,"before":n}   before: the entry that was active,
//                  0:
//                  {"event":"rollback","name":..,"sha256":..,"time":..,"to":n}       none; to: the entry gone back to
//
// "active" alone decides. A line of the history is on the disk before "active" names it, so that a process cut off
// between the two leaves a line that nothing refers to. Whoever changes the store holds a lock (flock) on
// history.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fathom/calibrate/policy_store.h"
#include "src/calibrate/whole_file.h"

namespace fathom {

/// A line of the history that activated something.
struct HistoryEntry {
  std::string name = {};
  std::string sha256 = {};
  int64_t before = 0;
};

/// "2026-01-31T23:59:59Z"
std::string utc(int64_t seconds);

///   errors   file, format; nothing where there is no such file
Result<std::optional<ActivePolicy>> read_active(const std::string& folder);

/// The store while nobody else may change it; serves one change.
class ActivationLog {
 public:
  /// Waits for others, 10 seconds at most.
  ///   errors   file, capacity
  static Result<ActivationLog> lock(const std::string& folder);

  /// The activation that a line tells of; nothing where it tells of none.
  std::optional<HistoryEntry> entry(int64_t n) const;

  /// Activates: a line of the history, then "active".
  Result<ActivePolicy> activate(const std::string& name, const std::string& sha256, int64_t before);
  /// Goes back to entry `to`.
  Result<ActivePolicy> go_back(const HistoryEntry& entry, int64_t to);

 private:
  ActivationLog(std::string folder, Descriptor file) : folder_(std::move(folder)), file_(std::move(file)) {}
  std::string path() const { return folder_ + "/history.jsonl"; }
  Result<void> load();
  Result<void> append(const std::string& line);
  void take_back();  // what append() wrote
  Result<ActivePolicy> commit(const std::string& line, ActivePolicy active);

  std::string folder_;
  Descriptor file_;
  std::string text_;     // whole lines, as they were when the lock was taken
  int64_t n_lines_ = 0;  // of text_
};

}  // namespace fathom
