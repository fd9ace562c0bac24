// ModelFile::open: map, read, check, fingerprint. Next in the flow: model.cc, which packs.
#include "fathom/model/model_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/model/config_reader.h"
#include "src/model/model_file_impl.h"

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {
namespace {

constexpr std::string_view kNumericNames[kNumerics] = {"fast", "faithful", "exact"};
constexpr std::string_view kNumericPaths[kNumerics] = {"fast: q8", "faithful: q12", "exact: f32"};

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

Result<void> fill(ModelFile::Impl& impl, std::span<const std::byte> bytes) {
  FATHOM_TRY(impl.file, gguf::read(bytes));
  FATHOM_TRY(impl.config, read_config(impl.file));
  FATHOM_TRY(TokenizerTables tables, read_tokenizer_tables(impl.file, impl.config.vocab));
  impl.bytes = bytes.size();
  impl.model_hash = hash_model(bytes, impl.file);
  impl.tokenizer_hash = hash_tokenizer(tables);
  FATHOM_TRY(impl.tokenizer, Tokenizer::make(std::move(tables)));
  if (impl.mapped) impl.mapped->give_back(bytes.data(), bytes.data() + impl.file.data_begin);
  return {};
}

}  // namespace

std::string_view name_of(Numerics numerics) noexcept { return kNumericNames[static_cast<int>(numerics)]; }

std::string_view numeric_path(Numerics numerics) noexcept { return kNumericPaths[static_cast<int>(numerics)]; }

std::optional<Numerics> numerics_named(std::string_view name) noexcept {
  for (int i = 0; i < kNumerics; ++i) {
    if (name == kNumericNames[i]) return static_cast<Numerics>(i);
  }
  return std::nullopt;
}

Result<ModelFile> ModelFile::open(const std::string& path) {
  auto impl = std::make_shared<Impl>();
  FATHOM_TRY(MappedFile mapped, MappedFile::open(path));
  impl->path = path;
  impl->mapped.emplace(std::move(mapped));
  if (auto filled = fill(*impl, impl->mapped->bytes()); !filled) return impl->with_path(std::move(filled).error());
  return ModelFile(std::move(impl));
}

Result<ModelFile> ModelFile::from_bytes(std::span<const std::byte> gguf) {
  if (reinterpret_cast<uintptr_t>(gguf.data()) % 8 != 0) {
    return Error{ErrorCode::argument, fmt::format("the model's bytes start {} past a multiple of 8: align them",
                                                  reinterpret_cast<uintptr_t>(gguf.data()) % 8)};
  }
  auto impl = std::make_shared<Impl>();
  FATHOM_TRY(fill(*impl, gguf));
  return ModelFile(std::move(impl));
}

ModelFile::ModelFile(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

const ModelConfig& ModelFile::config() const noexcept { return impl_->config; }
const Tokenizer& ModelFile::tokenizer() const noexcept { return *impl_->tokenizer; }
size_t ModelFile::bytes() const noexcept { return impl_->bytes; }

Fingerprint ModelFile::fingerprint(Numerics numerics) const {
  return {impl_->model_hash, impl_->tokenizer_hash, std::string(numeric_path(numerics))};
}

Error ModelFile::Impl::with_path(Error error) const {
  const bool named = error.code == ErrorCode::file || error.code == ErrorCode::argument;
  if (!named && !path.empty()) error.message = fmt::format("{}: {}", path, error.message);
  return error;
}

}  // namespace fathom
