// The section "routers" of a sidecar: its format, how many there are, then for each its layer, width, weights, bias and
// map.
#include "fathom/calibrate/parts.h"
#include "src/calibrate/part_bytes.h"

namespace fathom {
namespace {

constexpr uint32_t kRoutersFormat = 1;
constexpr uint32_t kMostRouters = 512, kMostWidth = 1 << 16;

}  // namespace

std::vector<std::byte> router_bytes(std::span<const FittedRouter> routers) {
  PartWriter out;
  out.u32(kRoutersFormat);
  out.u32(routers.size());
  for (const FittedRouter& router : routers) {
    out.u32(static_cast<size_t>(router.layer));
    out.u32(router.weights.size());
    out.floats(router.weights);
    out.floats({&router.bias, 1});
    out.map(router.spare);
  }
  return std::move(out.bytes);
}

Result<std::vector<FittedRouter>> read_routers(std::span<const std::byte> bytes) {
  PartReader in("routers", bytes);
  FATHOM_TRY(in.format(kRoutersFormat));
  FATHOM_TRY(const uint32_t n, in.u32("routers", kMostRouters));
  std::vector<FittedRouter> out;
  for (uint32_t i = 0; i < n; ++i) {
    FittedRouter& router = out.emplace_back();
    FATHOM_TRY(const uint32_t layer, in.u32("layer", kMostRouters));
    FATHOM_TRY(const uint32_t d, in.u32("width", kMostWidth));
    router.layer = static_cast<int32_t>(layer);
    FATHOM_TRY(router.weights, in.floats(d));
    FATHOM_TRY(const std::vector<float> bias, in.floats(1));
    router.bias = bias.front();
    FATHOM_TRY(router.spare, in.map());
  }
  FATHOM_TRY(in.end());
  return out;
}

}  // namespace fathom
