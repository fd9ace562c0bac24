// A manifest comes back as it was written, and what is wrong with one is told by its field. Next: policy_store_test.cc.
#include "fathom/calibrate/manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/support/sidecars.h"

namespace fathom {
namespace {

using nlohmann::json;
using testing::as_bytes;
using testing::small_manifest;

Result<Manifest> read(const std::string& text) {
  const SidecarSection section{std::string(section::kManifest), as_bytes(text)};
  const auto bytes = sidecar_bytes(std::span(&section, 1)).value();
  return read_manifest(SidecarFile::from_bytes(bytes).value());
}

std::string fault_of(const std::string& text) {
  const auto manifest = read(text);
  return manifest ? std::string() : manifest.error().message;
}

json sample() { return json::parse(manifest_json(small_manifest())); }

// The fault of the sample with one value replaced; null takes the place of a missing one.
std::string fault_with(const char* pointer, const json& value) {
  json changed = sample();
  changed[json::json_pointer(pointer)] = value;
  return fault_of(changed.dump());
}

TEST(Manifest, ComesBackAsItWasWritten) {
  Manifest manifest = small_manifest();
  EXPECT_EQ(read(manifest_json(manifest)).value(), manifest);
  manifest.seed = ~uint64_t{0};  // more than a double holds
  manifest.groups[0].thresholds = {0.1, 1e-300, -3.25};
  EXPECT_EQ(read(manifest_json(manifest)).value(), manifest);
  manifest.certificate.reset(), manifest.seed.reset();
  manifest.groups.clear(), manifest.splits.clear(), manifest.promise.clear(), manifest.library.clear();
  EXPECT_EQ(read(manifest_json(manifest)).value(), manifest);
}

TEST(Manifest, FieldsThatAreNotKnownArePassedOver) {
  json more = sample();
  more["later"] = {{"a", 1}};
  more["model"]["colour"] = "red";
  EXPECT_EQ(read(more.dump()).value(), small_manifest());
}

TEST(Manifest, WhatIsMissingOrWrongIsToldByItsField) {
  for (const char* field : {"/format", "/policy", "/model/sha256", "/model/tokenizer", "/model/numerics",
                            "/model/layers", "/model/d_model", "/model/vocab", "/certificate/risk"}) {
    std::string name = field + 1;
    std::replace(name.begin(), name.end(), '/', '.');
    EXPECT_EQ(fault_with(field, nullptr).rfind("sidecar: manifest: " + name + ": null: give a ", 0), 0u)
        << field << ": " << fault_with(field, nullptr);
  }
  EXPECT_EQ(fault_with("/model/layers", 0), "sidecar: manifest: model.layers: 0: give a whole number from 1 to 4096");
  EXPECT_EQ(fault_with("/model/layers", 1e300),
            "sidecar: manifest: model.layers: 1e+300: give a whole number from 1 to 4096");
  EXPECT_EQ(fault_with("/model/sha256", "ABC"), "sidecar: manifest: model.sha256: ABC: give 64 hex digits");
  EXPECT_EQ(fault_with("/groups/1/thresholds/0", "x"),
            "sidecar: manifest: groups[1].thresholds[0]: \"x\": give a number from -1.7976931348623157e+308 to "
            "1.7976931348623157e+308");
  EXPECT_EQ(fault_with("/certificate/groups/0/upper", 1.5),
            "sidecar: manifest: certificate.groups[0].upper: 1.5: give a number from 0 to 1");
  EXPECT_EQ(fault_with("/certificate/own/0/policy", 3),
            "sidecar: manifest: certificate.own[0].policy: 3: give a string");
  EXPECT_EQ(fault_with("/certificate/levels/0/risk", 2),
            "sidecar: manifest: certificate.levels[0].risk: 2: give a number from 0 to 1");
  EXPECT_EQ(fault_with("/seed", -1), "sidecar: manifest: seed: -1: give a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(fault_with("/splits", "none"), "sidecar: manifest: splits: \"none\": give an object");
  EXPECT_EQ(fault_with("/policy", std::string(4097, 'p')),
            "sidecar: manifest: policy: 4097 bytes of at most 4096: leave some out");
  EXPECT_NE(fault_of("[]"), "");
  EXPECT_NE(fault_of("7"), "");
}

TEST(Manifest, ANewerFormatIsToldBeforeItsOtherFields) {
  const auto newer = read(R"({"format":3,"policy":17})");
  ASSERT_FALSE(newer.has_value());
  EXPECT_EQ(newer.error().code, ErrorCode::unsupported);
  EXPECT_NE(newer.error().message.find("newer Fathom (format 3, this one reads 2)"), std::string::npos)
      << newer.error().message;
}

// An older reader, which knows no temperature, would take such a certificate for one of greedy tokens.
TEST(Manifest, ATemperatureIsOfTheSecondFormatAndNoneIsOfTheFirst) {
  EXPECT_EQ(sample()["format"], 1);
  EXPECT_FALSE(sample()["certificate"].contains("temperature"));
  EXPECT_EQ(read(sample().dump()).value().certificate->temperature, 0) << "an old one is of greedy tokens";
  Manifest drawn = small_manifest();
  drawn.certificate->temperature = 0.8;
  EXPECT_EQ(json::parse(manifest_json(drawn))["format"], 2);
  EXPECT_EQ(read(manifest_json(drawn)).value(), drawn);
  const std::vector<ManifestDifference> found = compare(small_manifest(), drawn);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].what + ": " + found[0].a + " -> " + found[0].b, "temperature: 0 -> 0.8");
  EXPECT_NE(fault_with("/certificate/temperature", -0.5).find("certificate.temperature: -0.5"), std::string::npos);
  EXPECT_NE(fault_with("/certificate/temperature", "warm").find("certificate.temperature"), std::string::npos);
}

TEST(Manifest, AnObjectOfManyFieldsIsRefusedBeforeItIsBuilt) {
  std::string text = "{";
  // Minutes, where each looks at all before it.
  for (int i = 0; i < 500000; ++i) text.append("\"").append(std::to_string(i)).append("\":0,");
  text += "\"format\":1}";
  EXPECT_NE(fault_of(text).find("an object of more than 1024 fields at byte "), std::string::npos);
}

TEST(Manifest, DifferencesAreToldStageByStageAndGroupByGroup) {
  const auto told = [](const Manifest& a, const Manifest& b) {
    std::vector<std::string> lines;
    for (const ManifestDifference& d : compare(a, b)) lines.push_back(d.what + ": " + d.a + " -> " + d.b);
    return lines;
  };
  using Lines = std::vector<std::string>;
  const Manifest a = small_manifest();
  EXPECT_EQ(told(a, a), Lines{});
  Manifest b =
      small_manifest("skip_when(similarity_above=0.99) | exit_when(confidence_at_least=0.8)|min_depth(layers=6)");
  EXPECT_EQ(told(a, b), (Lines{"policy stage 1:  -> skip_when(similarity_above=0.99)",
                               "policy stage 2: exit_when(confidence_at_least=0.9) -> "
                               "exit_when(confidence_at_least=0.8)"}));
  b = a;
  b.groups.pop_back();
  b.groups[0].thresholds = {0.5};
  b.certificate->risk = 0.05;
  b.model.vocab = 301;
  EXPECT_EQ(told(a, b),
            (Lines{"thresholds of prose: 0.9 0.85 -> 0.5", "group code: there -> ", "thresholds of code: 0.8 -> ",
                   "temperatures of code: 1 -> ", "risk: 0.02 -> 0.05", "vocabulary: 300 -> 301"}));
}

TEST(Manifest, LevelsAndOwnPoliciesAreComparedToo) {
  const Manifest a = small_manifest();
  Manifest b = a;
  b.certificate->own[0].policy = "exit_at(layer=3)";
  b.certificate->levels[0].groups[0].upper = 0.045;
  b.certificate->levels.push_back({.risk = 0.1, .policy = "exit_at(layer=2)"});
  const std::vector<ManifestDifference> found = compare(a, b);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].what, "own policy of code");
  EXPECT_EQ(found[0].b, "exit_at(layer=3): mean 0.01, at most 0.02, 150 pieces");
  EXPECT_EQ(found[1].what, "bound of prose, level 2");
  EXPECT_EQ(found[2].what + ": " + found[2].a + " -> " + found[2].b, "level 3:  -> 0.1: exit_at(layer=2)");
}

TEST(SidecarBinding, EveryFingerprintThatDiffersIsASentence) {
  const SidecarBinding bound = small_manifest().model;
  SidecarBinding here = bound;
  here.name = "another name";
  EXPECT_EQ(compare(bound, here), std::vector<std::string>{}) << "names bind to nothing";
  here = bound;
  here.sha256.back() = 'b';
  ASSERT_EQ(compare(bound, here).size(), 1u);
  EXPECT_EQ(compare(bound, here)[0], "model file: calibrated for another one, of the same name and first digits");
  here.sha256.front() = 'b', here.tokenizer = 1, here.numeric_path = "fast: q8", here.n_layers = 13;
  here.d_model = 65, here.vocab = 299;
  const std::vector<std::string> found = compare(bound, here);
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[2], "numeric path: calibrated for faithful: q12, here it is fast: q8");
}

}  // namespace
}  // namespace fathom
