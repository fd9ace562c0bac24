// SidecarBinding: what a sidecar holds for and nothing else. Next in the flow: calibrate/manifest.h, which carries it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fathom/calibrate/sha256.h"
#include "fathom/core/result.h"
#include "fathom/model/model_file.h"

namespace fathom {

/// The fingerprints of a model and how it is run.
struct SidecarBinding {
  std::string name = {};          // of the model, at most 256 bytes, for people; may be empty, and binds to nothing
  std::string sha256 = {};        // of the model file, 64 hex digits
  uint64_t tokenizer = 0;         // Fingerprint::tokenizer
  std::string numeric_path = {};  // Fingerprint::numeric_path
  int32_t n_layers = 0;
  int32_t d_model = 0;
  int32_t vocab = 0;
  friend bool operator==(const SidecarBinding&, const SidecarBinding&) = default;
};

struct BoundModel {
  SidecarBinding binding = {};
  FileSha256 digest = {};  // where the digest came from
};

/// The fingerprints of a model file that is run with this rounding.
///   path     where `file` was opened from
///   errors   those of sha256_of_file(); file: one of another length lies at `path` by now
///   cost     that of sha256_of_file()
FATHOM_API Result<BoundModel> binding_of(const std::string& path, const ModelFile& file, const Rounding& rounding,
                                         const Sha256Options& options = {});

/// What keeps a sidecar from serving a model, one sentence for each fingerprint that differs; empty: nothing.
FATHOM_API std::vector<std::string> compare(const SidecarBinding& sidecar, const SidecarBinding& model);

}  // namespace fathom
