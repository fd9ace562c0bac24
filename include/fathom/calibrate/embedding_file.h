// An embedding's sidecar: the certified policy, what it is bound to, and what was found. Next: engine/embed.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fathom/calibrate/embedding.h"
#include "fathom/calibrate/fingerprint.h"
#include "fathom/core/result.h"
#include "fathom/policy/policy.h"

namespace fathom {

/// A sidecar opened for the model at hand.
struct EmbeddingFile {
  Policy policy;             // certified, where that was faster when it was measured; else full depth
  Policy certified;          // the same whatever was measured; full depth where nothing is certified
  int32_t max_tokens = 0;    // that texts are cut at; 0: the sidecar could not be read
  double cosine = 0;         // that is promised
  std::string promise = {};  // one sentence; empty: none
  std::string warning = {};  // why full depth runs in place of the policy; empty: it does not
};

/// How a certificate came to be, for its report.
struct EmbeddingOrigin {
  std::string model_name = {}, command = {}, library = {}, machine = {};
  int32_t max_tokens = 0;  // that texts were cut at
};

/// What was found, as one line of JSON: docs/schema/embed_report.json.
FATHOM_API std::string embedding_report_json(const EmbeddingCertificate& found, const EmbeddingOptions& options,
                                             const EmbeddingOrigin& origin);

/// Writes the sidecar; `path` holds either what it held before or all of the new file.
///   errors   those of write_sidecar(), and of read_manifest() where what was found could not be read again
FATHOM_API Result<void> write_embedding(const std::string& path, const EmbeddingCertificate& found,
                                        const EmbeddingOptions& options, const SidecarBinding& model,
                                        const EmbeddingOrigin& origin);

/// Opens a sidecar for a model file that is run with this rounding. Trouble of any kind (no such file, a damaged one or
/// another kind, another model, tokenizer, numeric path or place where texts are cut) is no error: it ends in full
/// depth, and `warning` names it.
///   max_tokens  where texts will be cut; none: where the sidecar says, which EncoderOptions is to be given
///   cost        that of sha256_of_file(), and reading the sidecar
FATHOM_API EmbeddingFile open_embedding(const std::string& path, const std::string& model_path, const ModelFile& model,
                                        const Rounding& rounding, std::optional<int32_t> max_tokens = {},
                                        const Sha256Options& options = {});

}  // namespace fathom
