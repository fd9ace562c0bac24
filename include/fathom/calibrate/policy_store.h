// PolicyStore: a folder of sidecars, one of which is active; activations can be taken back.
// Next in the flow: src/cli/policy.cc, which shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"

namespace fathom {

/// What a store's file "active" says.
struct ActivePolicy {
  std::string name = {};    // of the sidecar, without ".fathom"
  std::string sha256 = {};  // of the sidecar when it was activated, 64 hex digits
  std::string time = {};    // UTC, "2026-01-31T23:59:59Z"
  int64_t entry = 0;        // the line of history.jsonl that activated it, from 1
  friend bool operator==(const ActivePolicy&, const ActivePolicy&) = default;
};

/// A sidecar of a store.
struct StoredPolicy {
  std::string name = {};
  std::string path = {};
  uint64_t bytes = 0;                     // of the file
  std::string time = {};                  // of its last change, UTC
  std::optional<Manifest> manifest = {};  // nothing: see fault
  std::string fault = {};                 // why it cannot be used here; empty: nothing is wrong
  bool active = false;
};

/// A folder. Nothing is kept in memory: every call looks at the disk. Any number of processes may share one.
class FATHOM_API PolicyStore {
 public:
  ///   errors   file: no such folder
  static Result<PolicyStore> open(const std::string& folder);

  /// Every NAME.fathom of the folder, by name; those that are damaged too.
  ///   errors   file: the folder cannot be read; capacity: more than 4096 of them
  ///   cost     reads each sidecar once
  Result<std::vector<StoredPolicy>> list() const;

  /// A sidecar of the folder, checked; `name` with or without ".fathom".
  ///   errors   argument: not a name; file: there is none; and those of SidecarFile::open()
  Result<SidecarFile> sidecar(std::string_view name) const;

  /// What is active; nothing: nobody.
  ///   errors   file, format: "active" cannot be read
  Result<std::optional<ActivePolicy>> active() const;

  /// The sidecar that is active, the very bytes that were activated. Whoever runs a policy opens it by this.
  ///   errors   file: none is active, or the active one was removed or changed since; those of active() and sidecar()
  Result<SidecarFile> open_active() const;

  /// Makes a sidecar the active one. Of the activation before, nothing is lost: rollback() goes back to it. One that is
  /// active already stays so, and nothing is written.
  ///   errors   those of sidecar(), read_manifest() and Policy::parse(): what cannot be run is not activated; file: the
  ///            store cannot be written, or another activation has not ended for 10 seconds. After any error the
  ///            store is as it was.
  Result<ActivePolicy> activate(std::string_view name) const;

  /// Goes back to the activation before the active one, however many times.
  ///   errors   file: there is none before, or its sidecar was removed or changed since; those of activate()
  Result<ActivePolicy> rollback() const;

  const std::string& folder() const noexcept { return folder_; }

 private:
  explicit PolicyStore(std::string folder) : folder_(std::move(folder)) {}
  std::string folder_;
};

}  // namespace fathom
