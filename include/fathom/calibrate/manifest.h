// Manifest: what a sidecar says about itself: the policy, what it is bound to, what is promised.
// Next in the flow: calibrate/policy_store.h, which keeps several.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fathom/calibrate/fingerprint.h"
#include "fathom/calibrate/sidecar_file.h"

namespace fathom {

/// The newest format. 2 has a certificate at a temperature, which a reader of 1 would take for one of greedy tokens;
/// what has none is still written as 1.
inline constexpr int32_t kManifestFormat = 2;

/// What one group of texts is run with.
struct ManifestGroup {
  std::string name = {};
  std::vector<double> thresholds = {};
  std::vector<double> temperatures = {};
  friend bool operator==(const ManifestGroup&, const ManifestGroup&) = default;
};

/// What was bounded for one group.
struct ManifestBound {
  std::string name = {};
  int64_t pieces = 0;  // units that the bound stands on: documents, or pieces of a group with few of them
  double mean = 0;     // loss, as seen
  double upper = 1;    // limit of this group alone, at its sequence's share of 1 - confidence. What holds together with
                       // all else is that the loss is at most the level of risk
  friend bool operator==(const ManifestBound&, const ManifestBound&) = default;
};

/// What one group may be run with in place of the policy for all, at its own temperatures and maps.
struct ManifestOwn {
  std::string policy = {};
  ManifestBound bound = {};  // names the group
  friend bool operator==(const ManifestOwn&, const ManifestOwn&) = default;
};

/// One more level of risk. It holds together with the certificate's own and all others.
struct ManifestLevel {
  double risk = 0;
  std::string policy = {};  // for all groups; empty: none is certified
  std::vector<ManifestBound> groups = {};
  std::vector<ManifestOwn> own = {};
  friend bool operator==(const ManifestLevel&, const ManifestLevel&) = default;
};

struct ManifestCertificate {
  double risk = 0;           // the most that was asked for
  double confidence = 0;     // with which every group, own setting and level loses at most its level of risk, together
  int32_t piece_tokens = 0;  // tokens of the stretches that it is about; 0: it does not say
  double temperature = 0;    // CalibrateOptions::temperature: of which loss all bounds are
  bool certified = false;    // the manifest's policy, at `risk`
  bool lossless = false;     // no policy of the sidecar can change a token
  std::vector<ManifestBound> groups = {};  // of the manifest's policy
  std::vector<ManifestOwn> own = {};       // at `risk`, of the groups that have one
  std::vector<ManifestLevel> levels = {};  // beside `risk`
  friend bool operator==(const ManifestCertificate&, const ManifestCertificate&) = default;
};

struct Manifest {
  std::string library = {};  // the Fathom that wrote it; may be empty
  std::string policy = {};   // text form, as it was written; whether this build can run it is another question
  SidecarBinding model = {};
  std::vector<ManifestGroup> groups = {};
  std::optional<ManifestCertificate> certificate = {};
  std::string promise = {};  // one sentence; may be empty
  std::optional<uint64_t> seed = {};
  std::string splits = {};  // JSON of how texts were divided; may be empty
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

/// Reads the section "manifest". Fields that are not known are passed over.
///   errors   those of SidecarFile::json(); format: a required field is missing (format, policy, and of the model
///            sha256, tokenizer, numerics, layers, d_model, vocab) or a field is not what it should be; both name it;
///            unsupported: a newer format
FATHOM_API Result<Manifest> read_manifest(const SidecarFile& sidecar);

/// The section's text: the same for equal manifests. Numbers that are not finite become null, which nobody reads.
FATHOM_API std::string manifest_json(const Manifest& manifest);

/// One thing that two manifests say differently. An empty side says nothing about it.
struct ManifestDifference {
  std::string what = {};  // "policy stage 2", "thresholds of prose"
  std::string a = {};
  std::string b = {};
};

/// Policy stage by stage, groups, certificate, fingerprints, and where they came from, in this order; empty: equal.
FATHOM_API std::vector<ManifestDifference> compare(const Manifest& a, const Manifest& b);

/// A policy's text cut at its pipes: "exit_at(layer=3) | min_depth(layers=6)" has two stages.
FATHOM_API std::vector<std::string> stages_of(const std::string& policy);

}  // namespace fathom
