// Sidecars with a manifest, and parts that hold nothing.
#include "tests/support/sidecars.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "fathom/calibrate/parts.h"

namespace fathom::testing {

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::string& path, std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }

Manifest small_manifest(const std::string& policy) {
  return {.library = "0.1.0",
          .policy = policy,
          .model = {.name = "tiny",
                    .sha256 = std::string(64, 'a'),
                    .tokenizer = 0x0123456789abcdef,
                    .numeric_path = "faithful: q12",
                    .n_layers = 12,
                    .d_model = 64,
                    .vocab = 300},
          .groups = {{.name = "prose", .thresholds = {0.9, 0.85}, .temperatures = {1.25}},
                     {.name = "code", .thresholds = {0.8}, .temperatures = {1}}},
          .certificate = ManifestCertificate{.risk = 0.02,
                                             .confidence = 0.95,
                                             .certified = true,
                                             .lossless = false,
                                             .groups = {{"prose", 200, 0.008, 0.019}, {"code", 150, 0.004, 0.0175}},
                                             .own = {{"exit_when(confidence_at_least=0.8)", {"code", 150, 0.01, 0.02}}},
                                             .levels = {{.risk = 0.05,
                                                         .policy = "exit_when(confidence_at_least=0.7)",
                                                         .groups = {{"prose", 200, 0.03, 0.049}},
                                                         .own = {}}}},
          .promise = "At most 2 of 100 tokens differ from full depth, with 95 % confidence.",
          .seed = 7,
          .splits = R"({"choose":0.3,"fit":0.4,"report":0.3})"};
}

void put_sidecar(const std::string& folder, const std::string& name, const Manifest& manifest) {
  const std::string json = manifest_json(manifest);
  const std::vector<std::byte> parts = parts_bytes({});
  const SidecarSection sections[] = {{std::string(section::kManifest), as_bytes(json)},
                                     {std::string(section::kParts), parts}};
  const auto written = write_sidecar(folder + "/" + name + ".fathom", sections);
  EXPECT_TRUE(written.has_value()) << (written ? "" : written.error().message);
}

}  // namespace fathom::testing
