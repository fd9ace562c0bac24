// Reading a folder: the configuration, the list of shards, each shard's tensors under their other names.
// Next in the flow: folder_config.cc.
#include "src/model/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "kernels/ref/dequant.h"
#include "src/model/families.h"
#include "src/model/safetensors.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRemedy = "fetch the folder again";
constexpr const char* kConfig = "config.json";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kMaxJsonBytes = size_t{8} << 20;
constexpr size_t kMaxShards = 512;

// The folder's own path is put in front by who opened it.
Error in_file(std::string_view name, Error error) {
  if (error.code != ErrorCode::file) error.message = fmt::format("{}: {}", name, error.message);
  return error;
}

Error format_error(std::string message) { return {ErrorCode::format, std::move(message)}; }

/// The shards of a folder, and of an index which of them holds which tensor.
struct Shards {
  std::vector<std::string> names;
  std::map<std::string, std::string, std::less<>> holder;  // tensor to shard; empty: there is no index
};

// A name out of the index must not lead out of the folder.
bool is_plain(const std::string& name) {
  return !name.empty() && name.find('/') == std::string::npos && name != "." && name != ".." && name.size() <= 255 &&
         name.find('\0') == std::string::npos;
}

Result<Shards> read_index(const std::string& path) {
  FATHOM_TRY(const JsonValue document,
             read_folder_json(path, {.bytes = kMaxJsonBytes, .fields = safetensors::kMaxTensors, .remedy = kRemedy}));
  std::optional<Error> error;
  Shards shards;
  std::set<std::string> names;
  JsonField(&document, "", &error)["weight_map"].each_named(
      safetensors::kMaxTensors, [&](const std::string& tensor, const JsonField& field) {
        const std::string name = field.text();
        if (!is_plain(name)) return field.fault(ErrorCode::format, "give the name of a file in the same folder");
        names.insert(name);
        shards.holder.emplace(gguf::printable(tensor), name);
      });
  if (!error && (names.empty() || names.size() > kMaxShards)) {
    error = format_error(
        fmt::format("weight_map: names {} files, 1 to {} are read: {}", names.size(), kMaxShards, kRemedy));
  }
  if (error) return in_file(kIndex, *std::move(error));
  shards.names.assign(names.begin(), names.end());
  return shards;
}

Result<Shards> find_shards(const fs::path& folder) {
  const fs::path index = folder / kIndex;
  if (fs::exists(index)) return read_index(index.string());
  if (fs::exists(folder / "model.safetensors")) return Shards{{"model.safetensors"}, {}};
  const bool pickled = fs::exists(folder / "pytorch_model.bin") || fs::exists(folder / "pytorch_model.bin.index.json");
  return Error{ErrorCode::file,
               fmt::format("folder {}: has no model.safetensors{}", folder.string(),
                           pickled ? ", only pytorch_model.bin: save the model with safe_serialization=True"
                                   : ": give a model folder with its weights")};
}

/// Every tensor is where the index says, and the index knows it.
Result<void> check_holder(const Shards& shards, const std::string& shard, const std::string& tensor) {
  if (shards.holder.empty()) return {};
  const auto found = shards.holder.find(tensor);
  if (found != shards.holder.end() && found->second == shard) return {};
  return format_error(fmt::format("tensor {}: the index says {}: {}", tensor,
                                  found == shards.holder.end() ? "nothing of it" : "it lies in " + found->second,
                                  kRemedy));
}

Result<void> read_shard(Folder& folder, const Shards& shards, const std::string& name, std::string_view family,
                        bool tied, size_t* n_read) {
  FATHOM_TRY(const safetensors::File file, safetensors::read(folder.shards.back().bytes()));
  for (const safetensors::ForeignTensor& foreign : file.foreign) {
    FATHOM_TRY(check_holder(shards, name, foreign.name));
    ++*n_read;
    const FolderName other = folder_name(family, foreign.name);
    if (other.known && other.name.empty()) continue;
    return Error{ErrorCode::unsupported, fmt::format("tensor {}: type {} is not one of F32, F16, BF16: save the model "
                                                     "in one of these",
                                                     foreign.name, foreign.type)};
  }
  for (const gguf::TensorRecord& record : file.tensors) {
    FATHOM_TRY(check_holder(shards, name, record.tensor.name));
    ++*n_read;
    FolderName other = folder_name(family, record.tensor.name);
    if (!other.known) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("tensor {}: is not part of this family's layers: take a model without it", record.tensor.name)};
    }
    // A tied head may be written a second time: it is the token table all the same.
    if (other.name.empty() || (tied && other.name == "output.weight")) continue;
    folder.tables.tensor(record, std::move(other.name), other.add_one);
  }
  return {};
}

}  // namespace

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

Result<JsonValue> read_folder_json(const std::string& path, const JsonLimits& limits) {
  FATHOM_TRY(const MappedFile file, MappedFile::open(path, "the file that belongs there"));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  return parse_json(text, fs::path(path).filename().string(), limits);
}

Result<Folder> read_folder(const std::string& path) {
  const fs::path at(path);
  Folder folder;
  {
    FATHOM_TRY(const MappedFile config, MappedFile::open((at / kConfig).string(), "the model's configuration"));
    folder.config.assign(reinterpret_cast<const char*>(config.bytes().data()), config.bytes().size());
  }
  FATHOM_TRY(const JsonValue document, parse_json(folder.config, kConfig, {.bytes = kMaxJsonBytes, .remedy = kRemedy}));
  std::optional<Error> error;
  const JsonField config(&document, "", &error);
  read_folder_config(config, folder.tables);
  if (error) return in_file(kConfig, *std::move(error));
  const bool tied = config["tie_word_embeddings"].given() ? config["tie_word_embeddings"].flag()
                                                          : config["model_type"].text_or("") == "gemma3_text";

  for (const char* name : {kConfig, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    if (fs::exists(at / name)) folder.files.push_back((at / name).string());
  }
  const std::string family(gguf::StringCursor(folder.tables.file.keys.front().value).next());
  if (find_family(family)->encoder) FATHOM_TRY(read_folder_pooling(at, folder));
  FATHOM_TRY(const Shards shards, find_shards(at));
  size_t n_read = 0;
  for (const std::string& name : shards.names) {
    const std::string shard = (at / name).string();
    FATHOM_TRY(MappedFile mapped, MappedFile::open(shard, "the weights that the index names"));
    folder.files.push_back(shard);
    folder.shards.push_back(std::move(mapped));
    if (auto read = read_shard(folder, shards, name, family, tied, &n_read); !read) {
      return in_file(name, std::move(read).error());
    }
  }
  if (!shards.holder.empty() && n_read != shards.holder.size()) {
    return format_error(
        fmt::format("{}: names {} tensors, the files hold {}: {}", kIndex, shards.holder.size(), n_read, kRemedy));
  }
  FATHOM_TRY(folder.tables.file.index());
  return folder;
}

std::span<std::byte> FolderTables::made(size_t bytes) { return made_.emplace_back(bytes); }

void FolderTables::key(std::string_view name, gguf::Value value, std::string_view field) {
  const std::string& whole =
      names_.emplace_back(name == "general.architecture" ? std::string(name) : fmt::format("{}.{}", family_, name));
  const std::string& origin = names_.emplace_back(fmt::format("{}{}{}", source_, field.empty() ? "" : " ", field));
  file.keys.push_back({.name = whole, .value = value, .origin = origin});
}

template <class T>
gguf::Value FolderTables::scalar(gguf::Kind kind, T value) {
  const std::span<std::byte> bytes = made(sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
  return {.kind = kind, .element = kind, .count = 1, .data = bytes};
}

void FolderTables::integer(std::string_view name, int64_t value, std::string_view field) {
  key(name, scalar(gguf::Kind::i64, value), field);
}

void FolderTables::number(std::string_view name, double value, std::string_view field) {
  key(name, scalar(gguf::Kind::f64, value), field);
}

void FolderTables::text(std::string_view name, std::string_view value, std::string_view field) {
  const std::span<std::byte> bytes = made(sizeof(uint64_t) + value.size());
  const uint64_t length = value.size();
  std::memcpy(bytes.data(), &length, sizeof(length));
  std::memcpy(bytes.data() + sizeof(length), value.data(), value.size());
  key(name, {.kind = gguf::Kind::string, .element = gguf::Kind::string, .count = 1, .data = bytes}, field);
}

void FolderTables::booleans(std::string_view name, const std::vector<bool>& values, std::string_view field) {
  const std::span<std::byte> bytes = made(values.size());
  std::transform(values.begin(), values.end(), bytes.begin(), [](bool b) { return std::byte{b}; });
  key(name, {.kind = gguf::Kind::array, .element = gguf::Kind::boolean, .count = values.size(), .data = bytes}, field);
}

void FolderTables::family(std::string_view name) {
  family_ = name;
  text("general.architecture", name, "architectures");
}

void FolderTables::tensor(gguf::TensorRecord record, std::string name, bool add_one) {
  Tensor& tensor = record.tensor;
  tensor.name = std::move(name);
  if (add_one) {
    const std::span<std::byte> bytes = made(size_t(tensor.rows * tensor.cols) * sizeof(float));
    std::vector<float> row(size_t(tensor.cols));
    for (int64_t r = 0; r < tensor.rows; ++r) {
      const size_t stored = row_bytes(tensor.type, size_t(tensor.cols)), made_row = row.size() * sizeof(float);
      kernels::dequantize_row(tensor.type, tensor.data + size_t(r) * stored, row.data(), tensor.cols);
      for (float& x : row) x += 1;
      std::memcpy(bytes.data() + size_t(r) * made_row, row.data(), made_row);
    }
    tensor.type = DType::f32;
    tensor.data = bytes.data();
  } else if (reinterpret_cast<uintptr_t>(tensor.data) % sizeof(float) != 0) {
    const std::span<std::byte> bytes = made(tensor.bytes());
    std::memcpy(bytes.data(), tensor.data, bytes.size());
    tensor.data = bytes.data();
  }
  file.tensors.push_back(std::move(record));
}

}  // namespace fathom
