// ModelFile: a model file that is mapped and read, but not packed: what a run can be checked against before it costs
// anything. Next in the flow: model/model.h, which packs it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "fathom/ops/kernel_table.h"
#include "fathom/text/tokenizer.h"

namespace fathom {

/// "fast", "faithful", "exact" or "bf16"; and back, nothing for another word.
FATHOM_API std::string_view name_of(Numerics numerics) noexcept;
FATHOM_API std::optional<Numerics> numerics_named(std::string_view name) noexcept;

/// What a path rounds, as fingerprints carry it: "fast: q8", "faithful: q12", "exact: f32", "bf16".
FATHOM_API std::string_view numeric_path(Numerics numerics) noexcept;

/// How a model's products are rounded, activations and weights.
struct Rounding {
  Numerics numerics = Numerics::faithful;
  std::optional<DType> quantise = {};  ///< what matrices of f32, f16 and bf16 become; none: they stay as they are

  Rounding() = default;
  Rounding(Numerics path, std::optional<DType> weights = {}) : numerics(path), quantise(weights) {}
};

/// What ties sidecars and traces to what was run.
struct Fingerprint {
  uint64_t model = 0;        // XXH3 of metadata, tensor records and samples of every tensor's data
  uint64_t tokenizer = 0;    // XXH3 of the tokenizer's tables
  std::string numeric_path;  // numeric_path(), and where weights were quantised ", weights: q8_0"
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

class FATHOM_API ModelFile {
 public:
  /// Maps a GGUF file, or the safetensors of a Hugging Face folder, and reads its metadata and tensor records.
  ///   path     a .gguf file, or a folder of config.json, tokenizer.json and model.safetensors (or its shards)
  ///   errors   file, format, shape, unsupported; each names the file, the key or tensor, and the remedy
  ///   cost     linear in the metadata (the vocabulary, mostly), and a few pages of every tensor for the fingerprint
  static Result<ModelFile> open(const std::string& path);

  /// The same from bytes in memory, which must outlive it and every Model opened from it.
  static Result<ModelFile> from_bytes(std::span<const std::byte> gguf);

  const ModelConfig& config() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  /// That of a Model opened from it with this rounding.
  Fingerprint fingerprint(const Rounding& rounding) const;
  size_t bytes() const noexcept;  // of all its files
  /// What it was read from: the .gguf file, or what a folder has of it; empty: bytes in memory.
  std::span<const std::string> files() const noexcept;

  struct Impl;

 private:
  friend class Model;
  explicit ModelFile(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fathom
