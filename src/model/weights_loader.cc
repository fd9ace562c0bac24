// Binding tensors to their places, then copying vectors and packing matrices. Next in the flow: model.cc.
#include "src/model/weights_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_set>

#include "kernels/ref/dequant.h"
#include "src/model/packed_file.h"
#include "src/ops/quantise_weights.h"

namespace fathom {
namespace {

struct MatrixSlot {
  const Tensor* tensor;
  Linear* dst;
};

/// Numbers that are copied as f32: a vector, or a table that is read by rows.
struct VectorSlot {
  const Tensor* tensor;
  const float** dst;
  int64_t size() const { return tensor->rows * tensor->cols; }
};

std::string dims_text(const gguf::TensorRecord& record) {
  return fmt::format("{}", fmt::join(record.dims, record.dims + record.n_dims, " x "));
}

/// Finds each tensor of a model, checks its shape, and remembers where it goes.
class Binder {
 public:
  explicit Binder(const gguf::File& file) : file_(file) {}

  const gguf::TensorRecord* find(const std::string& name) {
    const gguf::TensorRecord* record = file_.tensor(name);
    if (record != nullptr) used_.insert(record);
    return record;
  }

  Result<const Tensor*> matrix(const std::string& name, int64_t rows, int64_t cols) {
    const gguf::TensorRecord* record = find(name);
    if (record == nullptr) return missing(name);
    if (record->n_dims != 2 || record->tensor.cols != cols || record->tensor.rows != rows) {
      return Error{ErrorCode::shape,
                   fmt::format("tensor {}: found {}, expected {} x {} from the file's keys: convert the model again",
                               name, dims_text(*record), cols, rows)};
    }
    return &record->tensor;
  }

  Result<void> vector(const std::string& name, int64_t length, const float** dst) {
    const gguf::TensorRecord* record = find(name);
    if (record == nullptr) return missing(name);
    const Tensor& tensor = record->tensor;
    if (record->n_dims != 1 || tensor.cols != length) {
      return Error{ErrorCode::shape,
                   fmt::format("tensor {}: found {}, expected {} from the file's keys: convert the model again", name,
                               dims_text(*record), length)};
    }
    return copied(tensor, dst);
  }

  /// A matrix of which rows are added, not multiplied.
  Result<void> table(const std::string& name, int64_t rows, int64_t cols, const float** dst) {
    FATHOM_TRY(const Tensor* tensor, matrix(name, rows, cols));
    return copied(*tensor, dst);
  }

  /// A matrix `name.weight` and its bias `name.bias`, which only some models have.
  Result<void> linear(const std::string& name, int64_t rows, int64_t cols, Linear* dst, bool needs_bias = false) {
    FATHOM_TRY(const Tensor* tensor, matrix(name + ".weight", rows, cols));
    matrices_.push_back({tensor, dst});
    if (needs_bias || file_.tensor(name + ".bias") != nullptr) return vector(name + ".bias", rows, &dst->bias);
    return {};
  }

  /// A tensor that nothing reads would silently change the model.
  Result<void> check_all_used() const {
    for (const gguf::TensorRecord& record : file_.tensors) {
      if (used_.count(&record) != 0) continue;
      return Error{ErrorCode::unsupported,
                   fmt::format("tensor {}: is not part of this family's layers: convert the model again, "
                               "or take one without it",
                               record.tensor.name)};
    }
    return {};
  }

  std::span<const MatrixSlot> matrices() const { return matrices_; }
  std::span<const VectorSlot> vectors() const { return vectors_; }

 private:
  Result<void> copied(const Tensor& tensor, const float** dst) {
    if (tensor.type != DType::f32 && tensor.type != DType::f16 && tensor.type != DType::bf16) {
      return Error{ErrorCode::unsupported,
                   fmt::format("tensor {}: a vector of type {}, expected F32, F16 or BF16: convert the model again",
                               tensor.name, info(tensor.type).name)};
    }
    vectors_.push_back({&tensor, dst});
    return {};
  }

  static Error missing(const std::string& name) {
    return {ErrorCode::format, fmt::format("tensor {}: is missing: fetch or convert the model again", name)};
  }

  const gguf::File& file_;
  std::unordered_set<const gguf::TensorRecord*> used_;
  std::vector<MatrixSlot> matrices_;
  std::vector<VectorSlot> vectors_;
};

Result<void> bind_layer(Binder& binder, const LayerSpec& spec, int64_t d, size_t l, LayerWeights& dst) {
  const auto name = [l](std::string_view part) { return fmt::format("blk.{}.{}", l, part); };
  const int64_t q_width = int64_t{spec.heads} * spec.head_dim, kv_width = int64_t{spec.kv_heads} * spec.head_dim;
  if (spec.norm_sum) {
    FATHOM_TRY(binder.vector(name("attn_output_norm.weight"), d, &dst.attention_after_norm));
    FATHOM_TRY(binder.vector(name("attn_output_norm.bias"), d, &dst.attention_after_bias));
    FATHOM_TRY(binder.vector(name("layer_output_norm.weight"), d, &dst.feed_forward_after_norm));
    FATHOM_TRY(binder.vector(name("layer_output_norm.bias"), d, &dst.feed_forward_after_bias));
  } else {
    FATHOM_TRY(binder.vector(name("attn_norm.weight"), d, &dst.attention_norm));
    FATHOM_TRY(binder.vector(name("ffn_norm.weight"), d, &dst.feed_forward_norm));
  }
  FATHOM_TRY(binder.linear(name("attn_q"), q_width, d, &dst.q, spec.qkv_bias));
  FATHOM_TRY(binder.linear(name("attn_k"), kv_width, d, &dst.k, spec.qkv_bias));
  FATHOM_TRY(binder.linear(name("attn_v"), kv_width, d, &dst.v, spec.qkv_bias));
  FATHOM_TRY(binder.linear(name("attn_output"), d, q_width, &dst.o));
  if (spec.qk_norm) {
    FATHOM_TRY(binder.vector(name("attn_q_norm.weight"), spec.head_dim, &dst.q_norm));
    FATHOM_TRY(binder.vector(name("attn_k_norm.weight"), spec.head_dim, &dst.k_norm));
  }
  if (spec.gated) FATHOM_TRY(binder.linear(name("ffn_gate"), spec.feed_forward, d, &dst.gate));
  FATHOM_TRY(binder.linear(name("ffn_up"), spec.feed_forward, d, &dst.up));
  FATHOM_TRY(binder.linear(name("ffn_down"), d, spec.feed_forward, &dst.down));
  if (spec.norm_after) {
    FATHOM_TRY(binder.vector(name("post_attention_norm.weight"), d, &dst.attention_after_norm));
    FATHOM_TRY(binder.vector(name("post_ffw_norm.weight"), d, &dst.feed_forward_after_norm));
  }
  return {};
}

Result<void> bind_positions(Binder& binder, const ModelConfig& config, Weights& dst) {
  const int64_t d = config.d_model;
  FATHOM_TRY(binder.table("position_embd.weight", config.context, d, &dst.positions));
  if (const gguf::TensorRecord* const segments = binder.find("token_types.weight")) {
    FATHOM_TRY(binder.table("token_types.weight", segments->tensor.rows, d, &dst.segments));
  }
  FATHOM_TRY(binder.vector("token_embd_norm.weight", d, &dst.embedding_norm));
  return binder.vector("token_embd_norm.bias", d, &dst.embedding_bias);
}

Result<void> bind_head(Binder& binder, const ModelConfig& config, Weights& dst) {
  const int64_t d = config.d_model;
  FATHOM_TRY(binder.vector("output_norm.weight", d, &dst.final_norm));
  const char* head = config.tied_head ? "token_embd" : "output";
  FATHOM_TRY(binder.linear(head, config.vocab, d, &dst.head));
  FATHOM_TRY(const Tensor* head_rows, binder.matrix(fmt::format("{}.weight", head), config.vocab, d));
  dst.head_rows = *head_rows;
  return {};
}

Result<void> bind_model(Binder& binder, const ModelConfig& config, Weights& dst) {
  const int64_t d = config.d_model;
  dst.layers.resize(config.layers.size());
  FATHOM_TRY(const Tensor* table, binder.matrix("token_embd.weight", config.vocab, d));
  dst.embedding = *table;
  if (config.learned_positions) FATHOM_TRY(bind_positions(binder, config, dst));
  if (!config.encodes()) FATHOM_TRY(bind_head(binder, config, dst));
  binder.find("rope_freqs.weight");  // in config.rope_factors already
  for (size_t l = 0; l < dst.layers.size(); ++l) FATHOM_TRY(bind_layer(binder, config.layers[l], d, l, dst.layers[l]));
  return binder.check_all_used();
}

/// Copies every vector, as f32, into one buffer.
Result<void> copy_vectors(std::span<const VectorSlot> slots, Weights& dst) {
  constexpr int64_t kAlign = 16;  // floats of a cache line
  const auto padded = [](int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; };
  int64_t total = 0;
  for (const VectorSlot& slot : slots) total += padded(slot.size());
  Buffer buffer(static_cast<size_t>(total) * sizeof(float));
  if (buffer.data() == nullptr) {
    return Error{ErrorCode::capacity,
                 fmt::format("memory for norms and biases: {} bytes refused: free memory", buffer.size())};
  }
  auto* at = buffer.as<float>();
  for (const VectorSlot& slot : slots) {
    const Tensor& tensor = *slot.tensor;
    kernels::dequantize_row(tensor.type, tensor.data, at, slot.size());
    for (int64_t i = 0; i < slot.size(); ++i) {
      if (std::isfinite(at[i])) continue;
      return Error{ErrorCode::format,
                   fmt::format("tensor {}: element {} is {:g}, expected a finite number: fetch the file again",
                               tensor.name, i, at[i])};
    }
    *slot.dst = at;
    at += padded(slot.size());
  }
  dst.vectors = std::move(buffer);
  return {};
}

/// Gives the pages of rows that are packed back to the system.
struct PageReturn {
  const MappedFile* mapped;  // that the tensor lies in; null: plain memory
  const Tensor* tensor;
  int64_t returned = 0;  // rows

  static void rows_done(void* context, int64_t rows) {
    auto& self = *static_cast<PageReturn*>(context);
    if (self.mapped == nullptr) return;
    const size_t row = row_bytes(self.tensor->type, static_cast<size_t>(self.tensor->cols));
    // From the page that holds the first row not yet given back: its earlier rows are done too.
    const std::byte* begin = self.tensor->data + static_cast<size_t>(self.returned) * row;
    self.mapped->give_back(begin - std::min<size_t>(4095, static_cast<size_t>(begin - self.tensor->data)),
                           self.tensor->data + static_cast<size_t>(rows) * row);
    self.returned = rows;
  }
};

Result<void> check_unchanged(std::span<const MappedFile> mapped) {
  for (const MappedFile& file : mapped) FATHOM_TRY(file.check_unchanged());
  return {};
}

const MappedFile* holder_of(std::span<const MappedFile> mapped, const Tensor& tensor) {
  const auto holds = [&](const MappedFile& file) {
    const std::span<const std::byte> bytes = file.bytes();
    return std::less_equal<>()(bytes.data(), tensor.data) && std::less<>()(tensor.data, bytes.data() + bytes.size());
  };
  const auto found = std::find_if(mapped.begin(), mapped.end(), holds);
  return found != mapped.end() ? &*found : nullptr;
}

/// The tensor as it is packed: quantised on the way, where that was asked for and makes it narrower. It has no data
/// then.
Result<Tensor> as_packed(const Tensor& tensor, std::optional<DType> quantise) {
  if (!quantise || !is_wide(tensor.type)) return tensor;
  const auto block = static_cast<int64_t>(info(*quantise).block_elements);
  if (tensor.cols % block != 0) {
    return Error{ErrorCode::shape,
                 fmt::format("tensor {}: {} columns are not whole blocks of {} for {}: leave its type as it is",
                             tensor.name, tensor.cols, block, info(*quantise).name)};
  }
  return Tensor{tensor.name, *quantise, tensor.rows, tensor.cols, nullptr};
}

/// Plans every matrix and gives each its place in one piece of memory.
Result<void> place_matrices(std::span<const MatrixSlot> slots, const LoadOptions& options, Weights& dst) {
  constexpr size_t kAlign = 64;
  const auto padded = [](size_t n) { return (n + kAlign - 1) / kAlign * kAlign; };
  size_t total = 0;
  for (const MatrixSlot& slot : slots) {
    const float* bias = slot.dst->bias;
    FATHOM_TRY(const Tensor packed, as_packed(*slot.tensor, options.rounding.quantise));
    FATHOM_TRY(*slot.dst, plan_linear(packed, options.tables, options.rounding.numerics));
    if (options.screen_head && slot.dst == &dst.head) {
      if (const auto head = plan_head(packed, options.tables, options.rounding.numerics)) {
        dst.head = head->product;
        dst.head_kernel = head->kernel;
      }
    }
    slot.dst->bias = bias;
    total += padded(slot.dst->packed_bytes);
  }
  dst.packed = Buffer(total);
  if (dst.packed.data() == nullptr) {
    return Error{
        ErrorCode::capacity,
        fmt::format("{} bytes for packed weights: the system refused; use a smaller model or free memory", total)};
  }
  std::byte* at = dst.packed.data();
  for (const MatrixSlot& slot : slots) {
    slot.dst->packed = at;
    at += padded(slot.dst->packed_bytes);
  }
  return {};
}

/// Quantises a tensor, then packs it: its blocks wait in memory of their own.
Result<void> pack_quantised(Linear& linear, const Tensor& tensor, std::byte* place, ThreadPool& pool,
                            PackProgress progress) {
  FATHOM_TRY(Tensor narrow, as_packed(tensor, linear.matrix.type));
  const Buffer blocks(narrow.bytes());
  if (blocks.data() == nullptr) {
    return Error{
        ErrorCode::capacity,
        fmt::format("tensor {}: {} bytes to quantise it: the system refused; free memory, or convert the model "
                    "to {} beforehand",
                    tensor.name, narrow.bytes(), info(narrow.type).name)};
  }
  narrow.data = blocks.data();
  const size_t from = row_bytes(tensor.type, static_cast<size_t>(tensor.cols));
  const size_t to = row_bytes(narrow.type, static_cast<size_t>(tensor.cols));
  pool.run(tensor.rows, [&](int64_t r) {
    const auto row = static_cast<size_t>(r);
    quantise_row(tensor.type, tensor.data + row * from, tensor.cols, blocks.data() + row * to);
  });
  progress.rows_done(progress.context, tensor.rows);
  pack_linear(linear, narrow, place, pool);
  return {};
}

Result<void> pack_matrices(std::span<const MatrixSlot> slots, const LoadOptions& options, Weights& dst,
                           ThreadPool& pool) {
  for (const MatrixSlot& slot : slots) {
    PageReturn pages{holder_of(options.mapped, *slot.tensor), slot.tensor};
    FATHOM_TRY(check_unchanged(options.mapped));
    std::byte* place = dst.packed.data() + (slot.dst->packed - dst.packed.data());
    const PackProgress progress{&PageReturn::rows_done, &pages};
    if (slot.dst->matrix.type != slot.tensor->type) {
      FATHOM_TRY(pack_quantised(*slot.dst, *slot.tensor, place, pool, progress));
    } else {
      pack_linear(*slot.dst, *slot.tensor, place, pool, progress);
    }
  }
  return {};
}

/// Fills the places of all matrices from the folder of packed ones, or packs them and leaves them there.
Result<void> fill_matrices(std::span<const MatrixSlot> slots, const LoadOptions& options, Weights& dst) {
  FATHOM_TRY(ThreadPool pool, ThreadPool::make(options.threads));
  if (options.mapped.empty() || options.packed_folder.empty()) return pack_matrices(slots, options, dst, pool);
  std::vector<const Linear*> matrices;
  for (const MatrixSlot& slot : slots) matrices.push_back(slot.dst);
  PackedKey key{.model = options.model_hash, .file_bytes = 0, .changed_ns = 0, .layout = hash_layout(matrices)};
  for (const MappedFile& mapped : options.mapped) {
    key.file_bytes += mapped.bytes().size();
    key.changed_ns = std::max(key.changed_ns, mapped.changed_ns());
  }
  const PackedFile kept(options.packed_folder, key);
  const std::span<std::byte> memory(dst.packed.data(), dst.packed.size());
  if (kept.read(memory, pool)) {
    dst.packed_source = PackedSource::read;
    return {};
  }
  FATHOM_TRY(pack_matrices(slots, options, dst, pool));
  FATHOM_TRY(check_unchanged(options.mapped));
  const auto written = kept.write(memory, pool);
  dst.packed_source = written ? PackedSource::written : PackedSource::refused;
  if (!written) dst.packed_error = written.error().message;
  return {};
}

}  // namespace

Result<Weights> load_weights(const gguf::File& file, const ModelConfig& config, const LoadOptions& options) {
  Weights weights;
  Binder binder(file);
  FATHOM_TRY(bind_model(binder, config, weights));
  FATHOM_TRY(copy_vectors(binder.vectors(), weights));
  FATHOM_TRY(place_matrices(binder.matrices(), options, weights));
  FATHOM_TRY(fill_matrices(binder.matrices(), options, weights));
  FATHOM_TRY(check_unchanged(options.mapped));
  return weights;
}

}  // namespace fathom
