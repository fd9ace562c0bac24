// Model: a model file opened and packed; immutable, cheap to copy, shared between sessions and threads.
// Next in the flow: engine/session.h.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "fathom/model/model_file.h"
#include "fathom/model/weights.h"
#include "fathom/text/tokenizer.h"

namespace fathom {

struct OpenOptions {
  Numerics numerics = Numerics::faithful;  // docs/decisions/0003-faithful-by-default.md
  /// Q8_0: matrices of f32, f16 and bf16 are rounded to it while they are packed (embedded rows are not); none: they
  /// stay as they are.
  std::optional<DType> quantise = {};
  int threads = 1;               // used while packing only; 1 starts none
  bool screen_head = false;      // packs the head in two parts, which screen_head needs and others pay for
  const char* target = nullptr;  // a kernel table by name ("cpu/avx2", "ref"); null: the machine's best
  /// A folder of the user's own where packed matrices are kept and read again, as large as the model file; empty: none.
  /// A file there is used only if model, time of change, kernels, shapes and the hashes of its data all match; trouble
  /// with the folder never fails an open (Weights::packed_source tells).
  std::string packed_folder = {};
};

class FATHOM_API Model {
 public:
  /// Maps a GGUF file, checks every bound, packs its matrices for this machine.
  ///   errors   file, format, shape, unsupported, capacity; each names the file, the key or tensor, and the remedy
  ///   cost     reads the file once; memory: the packed matrices plus what of the token table is touched
  static Result<Model> open(const std::string& path, const OpenOptions& options = {});

  /// The same of a file that is mapped already: what was read of it is not read again.
  static Result<Model> open(const ModelFile& file, const OpenOptions& options = {});

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
