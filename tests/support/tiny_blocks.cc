// Random blocks: quantised values and scales are drawn, not fitted. Next: tests/support/tiny_writer.cc.
#include "tests/support/tiny_blocks.h"

#include "kernels/ref/half.h"

namespace fathom::testing {
namespace {

template <class T>
void append(Bytes& out, T value) {
  const Bytes bytes = GgufWriter::payload_of(value);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_random(Bytes& out, int n, Random& random) {
  for (int i = 0; i < n; ++i) out.push_back(static_cast<std::byte>(random.below(256)));
}

/// `typical` times 0.5 to 1.5 in steps of 1/64, as f16 bits.
uint16_t scale(float typical, Random& random) {
  return kernels::float_to_half(typical * (static_cast<float>(32 + random.below(65)) / 64.0f));
}

/// Eight 6-bit scales (1 to 8) and minima (7 or 15 times the scale, so that values centre on 0) in q4_k's 12 bytes.
void append_k_scales(Bytes& out, Random& random) {
  uint8_t scales[8], mins[8];
  for (int j = 0; j < 8; ++j) {
    scales[j] = static_cast<uint8_t>(1 + random.below(8));
    mins[j] = static_cast<uint8_t>(7 * scales[j] + random.below(8));
  }
  for (int j = 0; j < 4; ++j) append(out, static_cast<uint8_t>(scales[j] | (scales[j + 4] >> 4) << 6));
  for (int j = 0; j < 4; ++j) append(out, static_cast<uint8_t>(mins[j] | (mins[j + 4] >> 4) << 6));
  for (int j = 0; j < 4; ++j) append(out, static_cast<uint8_t>((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4));
}

void append_block(Bytes& out, DType type, float deviation, Random& random) {
  // Deviations of uniform q: 4 bits 4.6, 5 bits 9.2, 8 bits 74, 6 bits 18.5; K scales average 4.5, q6_k's 10.
  switch (type) {
    case DType::f32:
      return append(out, deviation * random.normal());
    case DType::f16:
      return append(out, kernels::float_to_half(deviation * random.normal()));
    case DType::bf16: {
      const float value = deviation * random.normal();
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      return append(out, static_cast<uint16_t>(bits >> 16));
    }
    case DType::q4_0:
      append(out, scale(deviation / 4.6f, random));
      return append_random(out, 16, random);
    case DType::q5_0:
      append(out, scale(deviation / 9.2f, random));
      return append_random(out, 4 + 16, random);
    case DType::q8_0:
      append(out, scale(deviation / 74.0f, random));
      return append_random(out, 32, random);
    case DType::q4_k:
    case DType::q5_k: {
      const bool five = type == DType::q5_k;
      const float step = deviation / (five ? 9.2f * 4.5f : 4.6f * 4.5f);
      const uint16_t d = scale(step, random);
      append(out, d);
      append(out, kernels::float_to_half(kernels::half_to_float(d) * (five ? 2.0f : 1.0f)));
      append_k_scales(out, random);
      return append_random(out, (five ? 32 : 0) + 128, random);
    }
    case DType::q6_k:
      append_random(out, 128 + 64, random);
      for (int j = 0; j < 16; ++j)
        append(out, static_cast<int8_t>((random.below(2) == 0 ? -1 : 1) * (4 + random.below(13))));
      return append(out, scale(deviation / (18.5f * 10.0f), random));
  }
}

}  // namespace

Random::Random(uint64_t seed, std::string_view name) : state_(seed) {
  for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;  // FNV-1a
}

uint64_t Random::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

float Random::normal() {
  const uint64_t bits = next();
  int32_t sum = -2 * 65535;
  for (int i = 0; i < 4; ++i) sum += static_cast<int32_t>((bits >> (16 * i)) & 0xffff);
  return static_cast<float>(sum) * (1.7320508f / 65536.0f);
}

Bytes random_blocks(DType type, int64_t n, float deviation, Random& random) {
  Bytes out;
  const DTypeInfo& geometry = info(type);
  out.reserve(static_cast<size_t>(n) / geometry.block_elements * geometry.block_bytes);
  for (int64_t i = 0; i < n; i += geometry.block_elements) append_block(out, type, deviation, random);
  return out;
}

}  // namespace fathom::testing
