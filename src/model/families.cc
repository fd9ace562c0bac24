// The families Fathom knows, as data. Next in the flow: config_reader.cc, which fills a ModelConfig from a row of it.
#include "src/model/families.h"

namespace fathom {
namespace {

// Sources: the families' published configurations (BERT, Devlin et al. 2018; Gemma 3 report, 2025; Llama 2 and 3, 2023
// and 2024; Qwen 2.5 and 3, 2024 and 2025). Of Gemma 3 only the 27B, 62 layers deep, scales scores by its query width
// (168) and not head_dim (128).
constexpr Family kFamilies[] = {
    {
        .name = "bert",
        .gate = Gate::gelu,
        .gated = false,
        .pairing = Pairing::halves,
        .qk_norm = false,
        .qkv_bias = true,
        .norm_after = false,
        .encoder = true,
        .scaled_embedding = false,
        .default_rope_base = 0.0f,
        .default_local_rope_base = 0.0f,
        .windowed = false,
        .default_window_pattern = 0,
        .wide_scale_layers = 0,
    },
    {
        .name = "gemma3",
        .gate = Gate::gelu_tanh,
        .pairing = Pairing::halves,
        .qk_norm = true,
        .qkv_bias = false,
        .norm_after = true,
        .scaled_embedding = true,
        .default_rope_base = 1e6f,
        .default_local_rope_base = 10000.0f,
        .windowed = true,
        .default_window_pattern = 6,
        .wide_scale_layers = 62,
    },
    {
        .name = "llama",
        .gate = Gate::silu,
        .pairing = Pairing::adjacent,
        .qk_norm = false,
        .qkv_bias = false,
        .norm_after = false,
        .scaled_embedding = false,
        .default_rope_base = 10000.0f,
        .default_local_rope_base = 0.0f,
        .windowed = false,
        .default_window_pattern = 0,
        .wide_scale_layers = 0,
    },
    {
        .name = "qwen2",
        .gate = Gate::silu,
        .pairing = Pairing::halves,
        .qk_norm = false,
        .qkv_bias = true,
        .norm_after = false,
        .scaled_embedding = false,
        .default_rope_base = 10000.0f,
        .default_local_rope_base = 0.0f,
        .windowed = false,
        .default_window_pattern = 0,
        .wide_scale_layers = 0,
    },
    {
        .name = "qwen3",
        .gate = Gate::silu,
        .pairing = Pairing::halves,
        .qk_norm = true,
        .qkv_bias = false,
        .norm_after = false,
        .scaled_embedding = false,
        .default_rope_base = 10000.0f,
        .default_local_rope_base = 0.0f,
        .windowed = false,
        .default_window_pattern = 0,
        .wide_scale_layers = 0,
    },
};

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family* find_family(std::string_view name) {
  for (const Family& family : kFamilies) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

std::string known_families() {
  std::string names;
  for (const Family& family : kFamilies) {
    if (!names.empty()) names += ", ";
    names += family.name;
  }
  return names;
}

}  // namespace fathom
