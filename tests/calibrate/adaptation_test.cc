// A sidecar serves the model that it was made for, and anything else runs at full depth.
#include "fathom/calibrate/adaptation.h"

#include <gtest/gtest.h>

#include <fstream>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sidecar_file.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

struct Place {
  testing::TextFiles files;
  std::string model = put_model("model.gguf", {.type = DType::q8_0});
  ModelFile file = ModelFile::open(model).value();

  std::string put_model(const std::string& name, const testing::TinyOptions& options) {
    const testing::Bytes bytes = testing::tiny_gguf(options);
    return files.write(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  FittedExits exits() const {
    return {.groups = {"code"},
            .exits = {{.layer = 2, .temperatures = {1, 2}, .agreement = {{.slope = 1}, {.slope = 1}}}}};
  }
  std::string put_sidecar(const std::string& policy, Numerics numerics = Numerics::faithful,
                          const std::string& measured = "{}") {
    const std::string manifest = manifest_json(
        {.policy = policy, .model = binding_of(model, file, numerics).value().binding, .promise = "Nothing changes."});
    const std::vector<std::byte> parts = parts_bytes(exits());
    const SidecarSection sections[] = {
        {std::string(section::kManifest), std::as_bytes(std::span(manifest.data(), manifest.size()))},
        {std::string(section::kMeasured), std::as_bytes(std::span(measured.data(), measured.size()))},
        {std::string(section::kParts), parts}};
    const std::string path = files.path("model.fathom");
    write_sidecar(path, sections).value();
    return path;
  }
};

TEST(Adaptation, ASidecarOfTheModelGivesItsPolicyAndExits) {
  Place place;
  const Adaptation got =
      adapt(place.put_sidecar("exit_when(agreement_at_least=0.9)"), place.model, place.file, Numerics::faithful);
  EXPECT_EQ(got.refused, "");
  EXPECT_EQ(got.policy.text(), "exit_when(agreement_at_least=0.9)");
  EXPECT_EQ(got.exits, place.exits());
  EXPECT_EQ(got.promise, "Nothing changes.");
  Session session = Session::make(Model::open(place.file).value(), {.max_tokens = 8}).value();
  EXPECT_TRUE(got.attach(session).has_value());
  EXPECT_TRUE(got.attach(session, "code").has_value());
  EXPECT_FALSE(got.attach(session, "prose").has_value());
}

void expect_full_depth(const Adaptation& got, const char* why) {
  EXPECT_TRUE(got.policy.is_full_depth());
  EXPECT_TRUE(got.exits.exits.empty());
  EXPECT_NE(got.refused.find(why), std::string::npos) << got.refused;
}

TEST(Adaptation, AnythingElseIsFullDepthAndSaysWhy) {
  Place place;
  const std::string good = place.put_sidecar("exit_at(layer=2)");
  expect_full_depth(adapt(good, place.model, place.file, Numerics::fast), "numeric");
  const std::string other = place.put_model("other.gguf", {.type = DType::q4_0});
  expect_full_depth(adapt(good, other, ModelFile::open(other).value(), Numerics::faithful), "another model");
  expect_full_depth(adapt(place.files.path("none.fathom"), place.model, place.file, Numerics::faithful), "none.fathom");
  expect_full_depth(adapt(place.put_sidecar("exit_at(layer=99)"), place.model, place.file, Numerics::faithful),
                    "layer=99");
  expect_full_depth(adapt(place.put_sidecar("teleport(9)"), place.model, place.file, Numerics::faithful), "teleport");
  expect_full_depth(adapt(place.files.write("text.fathom", "hello"), place.model, place.file, Numerics::faithful),
                    "text.fathom");
}

TEST(Adaptation, MeasurementMayChooseWhatChangesNoTokenAndNothingElse) {
  Place place;
  const auto with = [&](const std::string& measured) {
    return adapt(place.put_sidecar("exit_at(layer=2)", Numerics::faithful, R"({"policy":")" + measured + "\"}"),
                 place.model, place.file, Numerics::faithful);
  };
  EXPECT_EQ(with("exit_at(layer=2)").policy.text(), "exit_at(layer=2)");
  EXPECT_EQ(with("full_depth").policy.text(), "full_depth");
  EXPECT_EQ(with("full_depth").refused, "");
  EXPECT_TRUE(with("draft_ngram | defer_head | kv(verify, max_rows=16)").policy.settings().draft_ngram);
  EXPECT_EQ(with("exit_at(layer=1) | kv(verify)").policy.text(), "exit_at(layer=1) | kv(verify)");
  expect_full_depth(with("exit_at(layer=1)"), "neither certified nor lossless");
  expect_full_depth(with("exit_at(layer=1) | kv(settle_later)"), "neither certified nor lossless");
  expect_full_depth(with("exit_at(layer=1) | kv(fill)"), "neither certified nor lossless");
}

TEST(Adaptation, EveryByteOfASidecarCounts) {
  Place place;
  const std::string path = place.put_sidecar("exit_at(layer=2)");
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  for (size_t i = 0; i < good.size(); i += 13) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 16);
    expect_full_depth(adapt(place.files.write("bad.fathom", bad), place.model, place.file, Numerics::faithful),
                      "bad.fathom");
  }
}

}  // namespace
}  // namespace fathom
