// The section "labels" of a sidecar: its format, names, words, then each head's layer, numbers and map.
#include "fathom/classify/label_heads.h"
#include "src/calibrate/part_bytes.h"

namespace fathom {
namespace {

constexpr uint32_t kLabelsFormat = 1;
constexpr uint32_t kMostName = 1 << 10, kMostHeads = 1 << 10, kMostFeatures = 1 << 20;

}  // namespace

std::vector<std::byte> label_bytes(const FittedLabels& labels) {
  PartWriter out;
  out.u32(kLabelsFormat);
  out.u32(labels.several ? 1 : 0);
  out.u32(labels.labels.size());
  for (const std::string& name : labels.labels) out.name(name);
  out.u32(labels.words.buckets.size());
  out.tokens(labels.words.buckets);
  out.floats(labels.words.rarity);
  out.u32(labels.heads.size());
  for (const FittedLabelHead& head : labels.heads) {
    out.u32(static_cast<size_t>(head.layer));
    out.u32(labels.labels.empty() ? 0 : head.linear.weights.size() / labels.labels.size());
    out.floats(head.linear.weights);
    out.floats(head.linear.bias);
    out.floats({&head.temperature, 1});
    out.map(head.agreement);
  }
  return std::move(out.bytes);
}

Result<FittedLabels> read_labels(std::span<const std::byte> bytes) {
  PartReader in("labels", bytes);
  FATHOM_TRY(in.format(kLabelsFormat));
  FittedLabels out;
  FATHOM_TRY(const uint32_t several, in.u32("several", 1));
  out.several = several != 0;
  FATHOM_TRY(const uint32_t n, in.u32("labels", static_cast<uint32_t>(kMostLabels)));
  for (uint32_t i = 0; i < n; ++i) {
    FATHOM_TRY(std::string name, in.name("bytes of a label", kMostName));
    out.labels.push_back(std::move(name));
  }
  FATHOM_TRY(const uint32_t words, in.u32("words", static_cast<uint32_t>(WordFeatures::kBuckets)));
  FATHOM_TRY(out.words.buckets, in.tokens(words));
  FATHOM_TRY(out.words.rarity, in.floats(words));
  FATHOM_TRY(const uint32_t heads, in.u32("heads", kMostHeads));
  for (uint32_t i = 0; i < heads; ++i) {
    FittedLabelHead& head = out.heads.emplace_back();
    FATHOM_TRY(const uint32_t layer, in.u32("layer", kMostHeads));
    FATHOM_TRY(const uint32_t features, in.u32("features", kMostFeatures));
    head.layer = static_cast<int32_t>(layer);
    head.linear.labels = static_cast<int32_t>(n);
    FATHOM_TRY(head.linear.weights, in.floats(size_t{features} * n));
    FATHOM_TRY(head.linear.bias, in.floats(n));
    FATHOM_TRY(const std::vector<float> temperature, in.floats(1));
    head.temperature = temperature.front();
    FATHOM_TRY(head.agreement, in.map());
  }
  FATHOM_TRY(in.end());
  return out;
}

}  // namespace fathom
