// Parts: u32 counts, then names, then for each exit its layer, width, translator, bias, temperatures,
// probe and maps; from format 2 on, the shortlist of exit checks behind them; from format 3 on, a translator's rank
// and the numbers of its hidden layer behind the width, and the matrices of these; from format 4 on, the KV translators
// of an exit behind its maps.
#include "fathom/calibrate/parts.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "fathom/calibrate/limits.h"
#include "src/calibrate/part_bytes.h"

namespace fathom {
namespace {

constexpr uint32_t kPartsFormat = 4, kOldestFormat = 1, kShortlistSince = 2, kKindsSince = 3, kFillsSince = 4;
constexpr uint32_t kMostExits = 512, kMostWidth = 1 << 16;
constexpr uint32_t kMostListed = 1 << 20;

// A translator: d, then the matrix and bias that every format has, then what makes it another kind.
Result<void> read_translator(PartReader& in, uint32_t format, FittedExit& exit) {
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

Result<FittedFill> read_fill(PartReader& in) {
  FittedFill fill;
  FATHOM_TRY(const uint32_t layer, in.u32("layer of a KV translator", kMostExits));
  fill.layer = static_cast<int32_t>(layer);
  FATHOM_TRY(const uint32_t d, in.u32("width of a KV translator", kMostWidth));
  FATHOM_TRY(const uint32_t r, in.u32("rank of a KV translator", d));
  FATHOM_TRY(fill.down, in.bf16(size_t{r} * d));
  FATHOM_TRY(fill.up, in.bf16(size_t{r} * d));
  FATHOM_TRY(fill.bias, in.floats(d));
  return fill;
}

void write_fill(PartWriter& out, const FittedFill& fill) {
  out.u32(static_cast<size_t>(fill.layer));
  out.u32(fill.bias.size());
  out.u32(fill.bias.empty() ? 0 : fill.up.size() / fill.bias.size());
  out.bf16(fill.down);
  out.bf16(fill.up);
  out.floats(fill.bias);
}

Result<FittedExit> read_exit(PartReader& in, uint32_t format, size_t n_maps) {
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
    FATHOM_TRY(const AgreementMap map, in.map());
    exit.agreement.push_back(map);
  }
  if (format < kFillsSince) return exit;
  FATHOM_TRY(const uint32_t n_fills, in.u32("KV translators", kMostExits));
  for (uint32_t i = 0; i < n_fills; ++i) {
    FATHOM_TRY(FittedFill fill, read_fill(in));
    exit.fills.push_back(std::move(fill));
  }
  return exit;
}

}  // namespace

std::vector<std::byte> parts_bytes(const FittedExits& exits) {
  PartWriter out;
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
    for (const AgreementMap& map : exit.agreement) out.map(map);
    out.u32(exit.fills.size());
    for (const FittedFill& fill : exit.fills) write_fill(out, fill);
  }
  out.u32(exits.shortlist.size());
  out.tokens(exits.shortlist);
  return std::move(out.bytes);
}

Result<FittedExits> read_parts(std::span<const std::byte> bytes) {
  PartReader in("parts", bytes);
  FATHOM_TRY(const uint32_t format, in.u32("format", UINT32_MAX));
  if (format > kPartsFormat || format < kOldestFormat) {
    return Error{ErrorCode::unsupported, fmt::format("parts of format {}, and this Fathom reads {} to {}: update "
                                                     "Fathom or calibrate again",
                                                     format, kOldestFormat, kPartsFormat)};
  }
  FittedExits out;
  FATHOM_TRY(const uint32_t n_groups, in.u32("groups", kMostGroups));
  for (uint32_t g = 0; g < n_groups; ++g) {
    FATHOM_TRY(std::string name, in.name("bytes of a group's name", kMostGroupName));
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
