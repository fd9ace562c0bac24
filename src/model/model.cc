// Model::open: choose the kernels and pack what a ModelFile has read. Next in the flow: engine/session.h, which runs
// it.
#include "fathom/model/model.h"

#include <fmt/format.h>

#include "kernels/abi.h"
#include "src/model/model_file_impl.h"
#include "src/model/weights_loader.h"

namespace fathom {

struct Model::Impl {
  std::shared_ptr<const ModelFile::Impl> file;  // first: outlives everything that points into it
  Weights weights;
  std::vector<Tensor> tensors;
  std::vector<const KernelTable*> tables;
  Numerics numerics = Numerics::fast;
  Fingerprint fingerprint;
};

namespace {

/// The table asked for, then the reference, which serves what it does not.
Result<std::vector<const KernelTable*>> choose_tables(const char* target) {
  int32_t n = 0;
  const KernelTable* const* cpu = kernels::cpu(&n);
  const KernelTable* ref = &kernels::ref();
  std::string names = ref->name;
  if (target != nullptr && std::string_view(target) == ref->name) return std::vector<const KernelTable*>{ref};
  for (int32_t i = 0; i < n; ++i) {
    if (target == nullptr || std::string_view(target) == cpu[i]->name)
      return std::vector<const KernelTable*>{cpu[i], ref};
    names += fmt::format(", {}", cpu[i]->name);
  }
  if (target == nullptr) return std::vector<const KernelTable*>{ref};
  return Error{ErrorCode::argument, fmt::format("target \"{}\": this machine has {}: take one of these, or none for "
                                                "the best",
                                                gguf::printable(target), names)};
}

}  // namespace

Result<Model> Model::open(const ModelFile& file, const OpenOptions& options) {
  auto impl = std::make_shared<Impl>();
  const ModelFile::Impl& read = *file.impl_;
  if (options.quantise && *options.quantise != DType::q8_0) {
    return Error{ErrorCode::argument,
                 fmt::format("OpenOptions::quantise {}: weights are quantised to Q8_0 alone: give that, or a file "
                             "whose weights have the type",
                             info(*options.quantise).name)};
  }
  FATHOM_TRY(impl->tables, choose_tables(options.target));
  impl->file = file.impl_;
  impl->numerics = options.numerics;
  impl->fingerprint = file.fingerprint({options.numerics, options.quantise});
  impl->tensors.reserve(read.file().tensors.size());
  for (const gguf::TensorRecord& record : read.file().tensors) impl->tensors.push_back(record.tensor);
  auto weights = load_weights(read.file(), read.config,
                              {impl->tables,
                               {options.numerics, options.quantise},
                               options.threads,
                               read.mapped,
                               options.packed_folder,
                               read.model_hash,
                               options.screen_head});
  if (!weights) return read.with_path(std::move(weights).error());
  impl->weights = std::move(*weights);
  return Model(std::move(impl));
}

Result<Model> Model::open(const std::string& path, const OpenOptions& options) {
  FATHOM_TRY(const ModelFile file, ModelFile::open(path));
  return open(file, options);
}

Result<Model> Model::from_bytes(std::span<const std::byte> gguf, const OpenOptions& options) {
  FATHOM_TRY(const ModelFile file, ModelFile::from_bytes(gguf));
  return open(file, options);
}

Model::Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

const ModelConfig& Model::config() const noexcept { return impl_->file->config; }
const Weights& Model::weights() const noexcept { return impl_->weights; }
const Tokenizer& Model::tokenizer() const noexcept { return *impl_->file->tokenizer; }
const Fingerprint& Model::fingerprint() const noexcept { return impl_->fingerprint; }
Numerics Model::numerics() const noexcept { return impl_->numerics; }
size_t Model::file_bytes() const noexcept { return impl_->file->bytes; }
std::span<const Tensor> Model::tensors() const noexcept { return impl_->tensors; }
std::span<const KernelTable* const> Model::tables() const noexcept { return impl_->tables; }

}  // namespace fathom
