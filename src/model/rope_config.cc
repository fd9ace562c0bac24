// Rotation from keys, the tensor rope_freqs.weight, and family defaults. Next in the flow: tokenizer_reader.cc.
#include "src/model/rope_config.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <numbers>

namespace fathom {
namespace {

constexpr float kMaxRopeBase = 1e12f;

/// The divisor of every position: 1, or the factor of linear scaling.
Result<float> read_linear_scale(Metadata& keys) {
  if (keys.find("rope.scaling.factor") != nullptr) return keys.number("rope.scaling.factor", 0.0f, 1e4f);
  if (keys.find("rope.scale_linear") != nullptr) return keys.number("rope.scale_linear", 0.0f, 1e4f);
  keys.note("rope.scaling.factor", "1", std::string(kFamilyDefault));
  return 1.0f;
}

/// Llama 3's factors from its four numbers. Source: the Llama 3.1 release, 2024, `apply_scaling`: wavelengths shorter
/// than context / high stay, longer than context / low are divided by `factor`, those between blend.
Result<std::vector<float>> llama3_factors(Metadata& keys, int32_t rope_dim, float base) {
  FATHOM_TRY(const float factor, keys.number("rope.scaling.factor", 0.0f, 1e4f, 8.0f));
  FATHOM_TRY(const float low, keys.number("rope.scaling.low_freq_factor", 0.0f, 1e4f, 1.0f));
  FATHOM_TRY(const float high, keys.number("rope.scaling.high_freq_factor", low, 1e4f, 4.0f));
  FATHOM_TRY(const float context, keys.number("rope.scaling.original_context_length", 0.0f, 1e8f, 8192.0f));
  std::vector<float> factors(static_cast<size_t>(rope_dim / 2));
  for (size_t i = 0; i < factors.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(base, 2.0 * static_cast<double>(i) / rope_dim);
    if (wavelength < context / high) {
      factors[i] = 1.0f;
    } else if (wavelength > context / low) {
      factors[i] = factor;
    } else {
      const double smooth = (context / wavelength - low) / (high - low);
      factors[i] = static_cast<float>(1.0 / ((1.0 - smooth) / factor + smooth));
    }
  }
  return factors;
}

Result<std::vector<float>> tensor_factors(const gguf::TensorRecord& record, int32_t rope_dim) {
  const Tensor& tensor = record.tensor;
  if (tensor.type != DType::f32 || record.n_dims != 1 || tensor.cols != rope_dim / 2) {
    return Error{ErrorCode::shape,
                 fmt::format("tensor {}: {} x {} of type {}, expected {} of F32: convert the model again", tensor.name,
                             tensor.rows, tensor.cols, info(tensor.type).name, rope_dim / 2)};
  }
  std::vector<float> factors(static_cast<size_t>(tensor.cols));
  std::memcpy(factors.data(), tensor.data, tensor.bytes());
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i] > 0.0f) || !std::isfinite(factors[i])) {
      return Error{ErrorCode::format,
                   fmt::format("tensor {}: element {} is {:g}, expected a positive number: fetch the file again",
                               tensor.name, i, factors[i])};
    }
  }
  return factors;
}

}  // namespace

Result<void> read_rope(const gguf::File& file, const Family& family, Metadata& keys, ModelConfig& config) {
  const int32_t head_dim = config.layers[0].head_dim;
  FATHOM_TRY(const int32_t rope_dim, keys.integer("rope.dimension_count", 2, head_dim, head_dim));
  if (rope_dim % 2 != 0) {
    return Error{ErrorCode::shape, fmt::format("key {}: {} is odd, rotation needs pairs: convert the model again",
                                               keys.key("rope.dimension_count"), rope_dim)};
  }
  FATHOM_TRY(const float base, keys.number("rope.freq_base", 0.0f, kMaxRopeBase, family.default_rope_base));
  float local_base = base;
  if (family.windowed) {
    FATHOM_TRY(local_base, keys.number("rope.freq_base_swa", 0.0f, kMaxRopeBase, family.default_local_rope_base));
  }
  FATHOM_TRY(const std::string scaling, keys.text("rope.scaling.type", "linear"));
  float scale = 1.0f;
  if (scaling == "linear") {
    FATHOM_TRY(scale, read_linear_scale(keys));
  } else if (scaling == "llama3") {
    FATHOM_TRY(config.rope_factors, llama3_factors(keys, rope_dim, base));
  } else if (scaling != "none") {
    return Error{ErrorCode::unsupported,
                 fmt::format("key {}: \"{}\" is not one of none, linear, llama3: take a model without it",
                             keys.key("rope.scaling.type"), gguf::printable(scaling))};
  }
  if (const gguf::TensorRecord* record = file.tensor("rope_freqs.weight")) {
    FATHOM_TRY(config.rope_factors, tensor_factors(*record, rope_dim));
    keys.note("rope_factors", fmt::format("{} numbers", rope_dim / 2), "tensor rope_freqs.weight");
  }
  for (LayerSpec& layer : config.layers) {
    const bool local = family.windowed && layer.window != 0;
    layer.rope_dim = rope_dim;
    layer.rope_base = local ? local_base : base;
    layer.rope_scale = local ? 1.0f : scale;
  }
  return {};
}

}  // namespace fathom
