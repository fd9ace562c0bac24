// ModelFile::open: map, read, check, fingerprint. Next in the flow: model.cc, which packs.
#include "fathom/model/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "src/model/config_reader.h"
#include "src/model/model_file_impl.h"
#include "src/ops/quantise_weights.h"

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {
namespace {

constexpr std::string_view kNumericNames[kNumerics] = {"fast", "faithful", "exact", "bf16"};
constexpr std::string_view kNumericPaths[kNumerics] = {"fast: q8", "faithful: q12", "exact: f32", "bf16"};

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

/// What stands in front of the tensors, and the first, middle and last bytes of every tensor: a few pages of each.
uint64_t hash_model(std::span<const std::byte> front, size_t bytes, const gguf::File& file) {
  constexpr size_t kSample = 256;
  Hash hash;
  hash.add_value(bytes);
  hash.add(front.data(), front.size());
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

/// Whether some matrix that is multiplied is of a wide type.
bool multiplies_wide(const gguf::File& file, const ModelConfig& config) {
  return std::any_of(file.tensors.begin(), file.tensors.end(), [&](const gguf::TensorRecord& record) {
    const std::string_view name = record.tensor.name;
    const bool head = name == "output.weight" || (config.tied_head && name == "token_embd.weight");
    return record.n_dims == 2 && is_wide(record.tensor.type) && (head || name.substr(0, 4) == "blk.");
  });
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return result;
}

// 0 where there is none by now, which reading it would have said.
size_t size_of(const std::string& file) {
  std::error_code failed;
  const uintmax_t bytes = std::filesystem::file_size(file, failed);
  return failed ? 0 : static_cast<size_t>(bytes);
}

Result<void> take_tokenizer(ModelFile::Impl& impl, TokenizerTables tables) {
  impl.tokenizer_hash = hash_tokenizer(tables);
  FATHOM_TRY(impl.tokenizer, Tokenizer::make(std::move(tables)));
  return {};
}

Result<void> fill(ModelFile::Impl& impl, std::span<const std::byte> bytes) {
  FATHOM_TRY(impl.tables.file, gguf::read(bytes));
  FATHOM_TRY(impl.config, read_config(impl.file()));
  FATHOM_TRY(TokenizerTables tables, read_tokenizer_tables(impl.file(), impl.config.vocab));
  const std::span<const std::byte> front = bytes.first(std::min<uint64_t>(impl.file().data_begin, bytes.size()));
  impl.bytes = bytes.size();
  impl.model_hash = hash_model(front, bytes.size(), impl.file());
  FATHOM_TRY(take_tokenizer(impl, std::move(tables)));
  for (const MappedFile& mapped : impl.mapped) mapped.give_back(front.data(), front.data() + front.size());
  return {};
}

Result<void> fill_from_folder(ModelFile::Impl& impl) {
  FATHOM_TRY(Folder folder, read_folder(impl.path));
  impl.tables = std::move(folder.tables);
  impl.mapped = std::move(folder.shards);
  impl.files = std::move(folder.files);
  for (const std::string& file : impl.files) impl.bytes += size_of(file);
  FATHOM_TRY(impl.config, read_config(impl.file()));
  FATHOM_TRY(TokenizerTables tables, read_folder_tokenizer(impl.path, impl.config.vocab));
  impl.model_hash = hash_model(std::as_bytes(std::span(folder.config)), impl.bytes, impl.file());
  return take_tokenizer(impl, std::move(tables));
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
  impl->path = path;
  if (is_folder(path)) {
    if (auto filled = fill_from_folder(*impl); !filled) return impl->with_path(std::move(filled).error());
    return ModelFile(std::move(impl));
  }
  FATHOM_TRY(MappedFile mapped,
             MappedFile::open(path, "a whole .gguf file, or a folder with config.json and safetensors"));
  impl->mapped.push_back(std::move(mapped));
  impl->files.push_back(path);
  if (auto filled = fill(*impl, impl->mapped.front().bytes()); !filled)
    return impl->with_path(std::move(filled).error());
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
std::span<const std::string> ModelFile::files() const noexcept { return impl_->files; }

Fingerprint ModelFile::fingerprint(const Rounding& rounding) const {
  std::string path(numeric_path(rounding.numerics));
  if (rounding.quantise && multiplies_wide(impl_->file(), impl_->config)) {
    path += fmt::format(", weights: {}", lower(info(*rounding.quantise).name));
  }
  return {impl_->model_hash, impl_->tokenizer_hash, std::move(path)};
}

Error ModelFile::Impl::with_path(Error error) const {
  const bool named = error.code == ErrorCode::file || error.code == ErrorCode::argument;
  if (!named && !path.empty()) error.message = fmt::format("{}: {}", path, error.message);
  return error;
}

}  // namespace fathom
