// Model: an opened model file; immutable, cheap to copy, shared between sessions and threads.
// Next in the flow: engine/session.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "fathom/model/weights.h"
#include "fathom/text/tokenizer.h"

namespace fathom {

/// "fast", "faithful" or "exact"; and back, nothing for another word.
FATHOM_API const char* name_of(Numerics numerics) noexcept;
FATHOM_API std::optional<Numerics> numerics_named(std::string_view name) noexcept;

struct OpenOptions {
  Numerics numerics = Numerics::fast;
  int threads = 1;               // used while packing only; 1 starts none
  const char* target = nullptr;  // a kernel table by name ("cpu/avx2", "ref"); null: the machine's best
};

/// What ties sidecars and traces to what was run.
struct Fingerprint {
  uint64_t model = 0;        // XXH3 of metadata, tensor records and samples of every tensor's data
  uint64_t tokenizer = 0;    // XXH3 of the tokenizer's tables
  std::string numeric_path;  // "fast" or "exact": independent of the instruction set
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

class FATHOM_API Model {
 public:
  /// Maps a GGUF file, checks every bound, packs its matrices for this machine.
  ///   errors   file, format, shape, unsupported, capacity; each names the file, the key or tensor, and the remedy
  ///   cost     reads the file once; memory: the packed matrices plus what of the token table is touched
  static Result<Model> open(const std::string& path, const OpenOptions& options = {});

  /// The same from bytes in memory, which must outlive the Model. For tests and embedded models.
  static Result<Model> from_bytes(std::span<const std::byte> gguf, const OpenOptions& options = {});

  const ModelConfig& config() const noexcept;
  const Weights& weights() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  const Fingerprint& fingerprint() const noexcept;
  Numerics numerics() const noexcept;
  size_t file_bytes() const noexcept;

  /// The tensors of the file in its order, for `fathom info`.
  std::span<const Tensor> tensors() const noexcept;

  /// The tables operations are taken from, best first, the reference last.
  std::span<const KernelTable* const> tables() const noexcept;

  struct Impl;

 private:
  explicit Model(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fathom
