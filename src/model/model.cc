// Model::open: map, read, check, pack, fingerprint. Next in the flow: engine/session.h, which runs it.
#include "fathom/model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "kernels/abi.h"
#include "src/model/config_reader.h"
#include "src/model/gguf.h"
#include "src/model/mapped_file.h"
#include "src/model/weights_loader.h"

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {

struct Model::Impl {
  std::optional<MappedFile> mapped;  // first: outlives everything that points into it
  size_t file_bytes = 0;
  ModelConfig config;
  Weights weights;
  std::vector<Tensor> tensors;
  std::vector<const KernelTable*> tables;
  Numerics numerics = Numerics::fast;
  Fingerprint fingerprint;
  std::optional<Tokenizer> tokenizer;
};

namespace {

constexpr const char* kNumericNames[kNumerics] = {"fast", "faithful", "exact"};

class Hash {
 public:
  Hash() { XXH3_64bits_reset(&state_); }
  void add(const void* data, size_t bytes) { XXH3_64bits_update(&state_, data, bytes); }
  template <class T>
  void add_value(const T& value) {
    add(&value, sizeof(value));
  }
  void add_text(std::string_view text) {
    add_value(text.size());
    add(text.data(), text.size());
  }
  uint64_t digest() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

/// Metadata, tensor records, and the first, middle and last bytes of every tensor: a few pages of each.
uint64_t hash_model(std::span<const std::byte> bytes, const gguf::File& file) {
  constexpr size_t kSample = 256;
  Hash hash;
  hash.add_value(bytes.size());
  hash.add(bytes.data(), std::min<uint64_t>(file.data_begin, bytes.size()));
  for (const gguf::TensorRecord& record : file.tensors) {
    const Tensor& tensor = record.tensor;
    const size_t size = tensor.bytes(), sample = std::min(size, kSample);
    for (const size_t begin : {size_t{0}, (size - sample) / 2, size - sample}) hash.add(tensor.data + begin, sample);
  }
  return hash.digest();
}

uint64_t hash_tokenizer(const TokenizerTables& tables) {
  Hash hash;
  hash.add_text(tables.model);
  hash.add_text(tables.pre);
  hash.add_value(tables.tokens.size());
  for (const std::string& token : tables.tokens) hash.add_text(token);
  hash.add(tables.scores.data(), tables.scores.size() * sizeof(float));
  hash.add(tables.kinds.data(), tables.kinds.size() * sizeof(TokenKind));
  for (const std::string& merge : tables.merges) hash.add_text(merge);
  for (const int32_t id : {tables.bos, tables.eos, tables.unknown, tables.padding, tables.eot}) hash.add_value(id);
  for (const bool flag : {tables.add_bos, tables.add_eos, tables.add_space_prefix}) hash.add_value(flag);
  return hash.digest();
}

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
  return Error{ErrorCode::argument,
               fmt::format("OpenOptions::target \"{}\": this machine has {}: take one of these, or null for "
                           "the best",
                           gguf::printable(target), names)};
}

Result<void> fill(Model::Impl& model, std::span<const std::byte> bytes, const OpenOptions& options) {
  FATHOM_TRY(model.tables, choose_tables(options.target));
  FATHOM_TRY(const gguf::File file, gguf::read(bytes));
  FATHOM_TRY(model.config, read_config(file));
  FATHOM_TRY(TokenizerTables tables, read_tokenizer_tables(file, model.config.vocab));
  model.file_bytes = bytes.size();
  model.numerics = options.numerics;
  model.fingerprint = {hash_model(bytes, file), hash_tokenizer(tables), name_of(options.numerics)};
  FATHOM_TRY(model.tokenizer, Tokenizer::make(std::move(tables)));
  model.tensors.reserve(file.tensors.size());
  for (const gguf::TensorRecord& record : file.tensors) model.tensors.push_back(record.tensor);
  const MappedFile* mapped = model.mapped ? &*model.mapped : nullptr;
  if (mapped != nullptr) mapped->give_back(bytes.data(), bytes.data() + file.data_begin);
  FATHOM_TRY(model.weights,
             load_weights(file, model.config, {model.tables, options.numerics, options.threads, mapped}));
  return {};
}

Error with_path(Error error, const std::string& path) {
  if (error.code != ErrorCode::file && error.code != ErrorCode::argument)
    error.message = fmt::format("{}: {}", path, error.message);
  return error;
}

}  // namespace

const char* name_of(Numerics numerics) noexcept { return kNumericNames[static_cast<int>(numerics)]; }

std::optional<Numerics> numerics_named(std::string_view name) noexcept {
  for (int i = 0; i < kNumerics; ++i) {
    if (name == kNumericNames[i]) return static_cast<Numerics>(i);
  }
  return std::nullopt;
}

Result<Model> Model::open(const std::string& path, const OpenOptions& options) {
  auto impl = std::make_shared<Impl>();
  FATHOM_TRY(MappedFile mapped, MappedFile::open(path));
  impl->mapped.emplace(std::move(mapped));
  if (auto filled = fill(*impl, impl->mapped->bytes(), options); !filled)
    return with_path(std::move(filled).error(), path);
  return Model(std::move(impl));
}

Result<Model> Model::from_bytes(std::span<const std::byte> gguf, const OpenOptions& options) {
  if (reinterpret_cast<uintptr_t>(gguf.data()) % 8 != 0) {
    return Error{ErrorCode::argument,
                 fmt::format("Model::from_bytes: the bytes start {} past a multiple of 8: align them",
                             reinterpret_cast<uintptr_t>(gguf.data()) % 8)};
  }
  auto impl = std::make_shared<Impl>();
  FATHOM_TRY(fill(*impl, gguf, options));
  return Model(std::move(impl));
}

Model::Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

const ModelConfig& Model::config() const noexcept { return impl_->config; }
const Weights& Model::weights() const noexcept { return impl_->weights; }
const Tokenizer& Model::tokenizer() const noexcept { return *impl_->tokenizer; }
const Fingerprint& Model::fingerprint() const noexcept { return impl_->fingerprint; }
Numerics Model::numerics() const noexcept { return impl_->numerics; }
size_t Model::file_bytes() const noexcept { return impl_->file_bytes; }
std::span<const Tensor> Model::tensors() const noexcept { return impl_->tensors; }
std::span<const KernelTable* const> Model::tables() const noexcept { return impl_->tables; }

}  // namespace fathom
