// Parts: u32 counts, then names, then for each exit its layer, width, translator, bias, temperatures,
// probe and maps; from format 2 on, the shortlist of exit checks behind them; from format 3 on, a translator's rank
// and the numbers of its hidden layer behind the width, and the matrices of these.
#include "fathom/calibrate/parts.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>

#include "kernels/ref/half.h"

namespace fathom {
namespace {

constexpr uint32_t kPartsFormat = 3, kOldestFormat = 1, kShortlistSince = 2, kKindsSince = 3;
constexpr uint32_t kMostGroups = 32, kMostExits = 512, kMostWidth = 1 << 16, kMostName = 256;
constexpr uint32_t kMostListed = 1 << 20;

class Writer {
 public:
  void u32(size_t value) { put(static_cast<uint32_t>(value)); }
  void name(const std::string& text) {
    u32(text.size());
    raw(text.data(), text.size());
  }
  void floats(std::span<const float> values) { raw(values.data(), values.size_bytes()); }
  void tokens(std::span<const int32_t> values) { raw(values.data(), values.size_bytes()); }
  void bf16(std::span<const float> values) {
    for (const float v : values) put(kernels::float_to_bfloat16(v));
  }
  std::vector<std::byte> bytes;

 private:
  template <class T>
  void put(T value) {
    raw(&value, sizeof value);
  }
  void raw(const void* data, size_t n) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + n);
  }
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  Result<uint32_t> u32(const char* what, uint32_t most) {
    uint32_t value = 0;
    FATHOM_TRY(copy(&value, sizeof value));
    if (value <= most) return value;
    return Error{ErrorCode::format, fmt::format("parts: {} {}: at most {}; calibrate again", what, value, most)};
  }
  Result<std::string> name() {
    FATHOM_TRY(const uint32_t n, u32("bytes of a group's name", kMostName));
    std::string text(n, '\0');
    FATHOM_TRY(copy(text.data(), n));
    return text;
  }
  Result<std::vector<float>> floats(size_t n) {
    if (n > left_.size() / sizeof(float)) return cut_off();
    std::vector<float> values(n);
    FATHOM_TRY(copy(values.data(), n * sizeof(float)));
    return values;
  }
  Result<std::vector<int32_t>> tokens(size_t n) {
    if (n > left_.size() / sizeof(int32_t)) return cut_off();
    std::vector<int32_t> values(n);
    FATHOM_TRY(copy(values.data(), n * sizeof(int32_t)));
    return values;
  }
  Result<std::vector<float>> bf16(size_t n) {
    if (n > left_.size() / sizeof(uint16_t)) return cut_off();
    std::vector<uint16_t> bits(n);
    FATHOM_TRY(copy(bits.data(), n * sizeof(uint16_t)));
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = kernels::bfloat16_to_float(bits[i]);
    return values;
  }
  Result<void> end() const {
    if (left_.empty()) return {};
    return Error{ErrorCode::format, fmt::format("parts: {} bytes are left over: the sidecar is damaged", left_.size())};
  }

 private:
  static Error cut_off() { return {ErrorCode::format, "parts: cut off: the sidecar is damaged; calibrate again"}; }
  Result<void> copy(void* dst, size_t n) {
    if (n > left_.size()) return cut_off();
    if (n > 0) std::memcpy(dst, left_.data(), n);
    left_ = left_.subspan(n);
    return {};
  }
  std::span<const std::byte> left_;
};

// A translator: d, then the matrix and bias that every format has, then what makes it another kind.
Result<void> read_translator(Reader& in, uint32_t format, FittedExit& exit) {
  FATHOM_TRY(const uint32_t d, in.u32("width", kMostWidth));
  uint32_t r = 0, h = 0;
  if (format >= kKindsSince) {
    FATHOM_TRY(r, in.u32("rank of a translator", d));
    FATHOM_TRY(h, in.u32("numbers of a hidden layer", kMostWidth));
  }
  FATHOM_TRY(exit.translator, in.bf16(size_t{r > 0 ? r : d} * d));
  FATHOM_TRY(exit.up, in.bf16(size_t{r} * d));
  FATHOM_TRY(exit.bias, in.floats(d));
  FATHOM_TRY(exit.hidden.first, in.bf16(size_t{h} * d));
  FATHOM_TRY(exit.hidden.offset, in.floats(h));
  FATHOM_TRY(exit.hidden.second, in.bf16(size_t{h} * d));
  return {};
}

Result<FittedExit> read_exit(Reader& in, uint32_t format, size_t n_maps) {
  FittedExit exit;
  FATHOM_TRY(const uint32_t layer, in.u32("layer", kMostExits));
  exit.layer = static_cast<int32_t>(layer);
  FATHOM_TRY(read_translator(in, format, exit));
  FATHOM_TRY(exit.temperatures, in.floats(n_maps));
  FATHOM_TRY(const uint32_t n_state, in.u32("numbers of a probe", kMostWidth));
  FATHOM_TRY(exit.probe.state, in.floats(n_state));
  FATHOM_TRY(const std::vector<float> weights, in.floats(4));
  exit.probe.confidence = weights[0], exit.probe.margin = weights[1];
  exit.probe.entropy = weights[2], exit.probe.offset = weights[3];
  for (size_t i = 0; i < n_maps; ++i) {
    FATHOM_TRY(const uint32_t n, in.u32("numbers of a map", 3 + 2 * AgreementMap::kMaxKnots));
    FATHOM_TRY(const std::vector<float> numbers, in.floats(n));
    FATHOM_TRY(const AgreementMap map, AgreementMap::from_floats(numbers));
    exit.agreement.push_back(map);
  }
  return exit;
}

}  // namespace

std::vector<std::byte> parts_bytes(const FittedExits& exits) {
  Writer out;
  out.u32(kPartsFormat);
  out.u32(exits.groups.size());
  for (const std::string& group : exits.groups) out.name(group);
  out.u32(exits.exits.size());
  for (const FittedExit& exit : exits.exits) {
    out.u32(static_cast<size_t>(exit.layer));
    const HiddenLayer& hidden = exit.hidden;
    out.u32(exit.bias.size());
    out.u32(exit.up.empty() ? 0 : exit.up.size() / exit.bias.size());
    out.u32(hidden.offset.size());
    out.bf16(exit.translator);
    out.bf16(exit.up);
    out.floats(exit.bias);
    out.bf16(hidden.first);
    out.floats(hidden.offset);
    out.bf16(hidden.second);
    out.floats(exit.temperatures);
    const AgreementProbe& p = exit.probe;
    out.u32(p.state.size());
    out.floats(p.state);
    out.floats(std::array{p.confidence, p.margin, p.entropy, p.offset});
    for (const AgreementMap& map : exit.agreement) {
      const std::vector<float> numbers = map.to_floats();
      out.u32(numbers.size());
      out.floats(numbers);
    }
  }
  out.u32(exits.shortlist.size());
  out.tokens(exits.shortlist);
  return std::move(out.bytes);
}

Result<FittedExits> read_parts(std::span<const std::byte> bytes) {
  Reader in(bytes);
  FATHOM_TRY(const uint32_t format, in.u32("format", UINT32_MAX));
  if (format > kPartsFormat || format < kOldestFormat) {
    return Error{ErrorCode::unsupported, fmt::format("parts of format {}, and this Fathom reads {} to {}: update "
                                                     "Fathom or calibrate again",
                                                     format, kOldestFormat, kPartsFormat)};
  }
  FittedExits out;
  FATHOM_TRY(const uint32_t n_groups, in.u32("groups", kMostGroups));
  for (uint32_t g = 0; g < n_groups; ++g) {
    FATHOM_TRY(std::string name, in.name());
    out.groups.push_back(std::move(name));
  }
  FATHOM_TRY(const uint32_t n_exits, in.u32("exits", kMostExits));
  for (uint32_t e = 0; e < n_exits; ++e) {
    FATHOM_TRY(FittedExit exit, read_exit(in, format, size_t{n_groups} + 1));
    out.exits.push_back(std::move(exit));
  }
  if (format >= kShortlistSince) {
    FATHOM_TRY(const uint32_t n_listed, in.u32("tokens of a shortlist", kMostListed));
    FATHOM_TRY(out.shortlist, in.tokens(n_listed));
  }
  FATHOM_TRY(in.end());
  return out;
}

}  // namespace fathom
