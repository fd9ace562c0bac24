// A sidecar serves the model that it was made for, and anything else runs at full depth.
#include "fathom/calibrate/adaptation.h"

#include <gtest/gtest.h>

#include <fstream>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sidecar_file.h"
#include "fathom/engine/generate.h"
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
  std::vector<FittedRouter> routers() const {
    return {{.layer = 2, .weights = std::vector<float>(size_t(file.config().d_model), .5f), .spare = {.slope = 1}}};
  }
  std::string put_sidecar(const std::string& policy, Numerics numerics = Numerics::faithful,
                          const std::string& measured = "{}") {
    return put({.policy = policy, .promise = "Nothing changes."}, numerics, measured);
  }
  // Two groups, of which code has its own policy, at two levels.
  std::string put_groups(const std::string& measured = "{}") {
    return put({.policy = "exit_at(layer=3)",
                .groups = {{.name = "prose"}, {.name = "code"}},
                .certificate = ManifestCertificate{.risk = 0.02,
                                                   .confidence = 0.95,
                                                   .certified = true,
                                                   .groups = {{.name = "prose"}, {.name = "code"}},
                                                   .own = {{"exit_at(layer=2)", {.name = "code"}}},
                                                   .levels = {{.risk = 0.05,
                                                               .policy = "exit_at(layer=1)",
                                                               .groups = {},
                                                               .own = {{"exit_at(layer=1, on=all)", {.name = "code"}}}},
                                                              {.risk = 0.001}}}},
               Numerics::faithful, measured);
  }
  std::string put(Manifest m, Numerics numerics, const std::string& measured) {
    m.model = binding_of(model, file, numerics).value().binding;
    const std::string manifest = manifest_json(m);
    const std::vector<std::byte> parts = parts_bytes(exits()), routed = router_bytes(routers());
    const SidecarSection sections[] = {
        {std::string(section::kManifest), std::as_bytes(std::span(manifest.data(), manifest.size()))},
        {std::string(section::kMeasured), std::as_bytes(std::span(measured.data(), measured.size()))},
        {std::string(section::kParts), parts},
        {std::string(section::kRouters), routed}};
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
  EXPECT_EQ(got.routers, place.routers());
  EXPECT_EQ(got.promise, "Nothing changes.");
  Session session = Session::make(Model::open(place.file).value(), {.max_tokens = 8}).value();
  EXPECT_TRUE(got.attach(session).has_value());
  const Row row{.token = 1, .kind = RowKind::generated, .logits = true};
  const Policy routed = route{.utility_below = 1};
  EXPECT_EQ(session.step({&row, 1}, routed.ref()).value().rows[0].depth, session.model().config().n_layers - 1);
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

TEST(Adaptation, WeightsThatWereQuantisedWhileLoadingAreAnotherModelToIt) {
  const Rounding quantised{Numerics::faithful, DType::q8_0};
  Place place;
  EXPECT_EQ(adapt(place.put_sidecar("exit_at(layer=2)"), place.model, place.file, quantised).refused, "")
      << "its weights are Q8_0 in the file";
  place.model = place.put_model("wide.gguf", {.type = DType::f16});
  place.file = ModelFile::open(place.model).value();
  const std::string wide = place.put_sidecar("exit_at(layer=2)");
  EXPECT_EQ(adapt(wide, place.model, place.file, Numerics::faithful).refused, "");
  expect_full_depth(adapt(wide, place.model, place.file, quantised), "weights: q8_0");
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

TEST(Adaptation, AGroupHasItsOwnPolicyWhereMeasurementSaysThatItPays) {
  Place place;
  const auto chosen = [&](const std::string& group, const std::string& measured) {
    Adaptation got = adapt(place.put_groups(measured), place.model, place.file, Numerics::faithful);
    EXPECT_EQ(got.refused, "");
    EXPECT_TRUE(got.choose(group).has_value());
    return got.policy.text() + (got.group.empty() ? "" : " of " + got.group);
  };
  const std::string pays = R"j({"groups":[{"name":"code","policy":"exit_at(layer=2)"}]})j";
  EXPECT_EQ(chosen("code", pays), "exit_at(layer=2) of code");
  EXPECT_EQ(chosen("prose", pays), "exit_at(layer=3)") << "what holds for all holds for it";
  EXPECT_EQ(chosen("", pays), "exit_at(layer=3)");
  EXPECT_EQ(chosen("code", "{}"), "exit_at(layer=3)");
  EXPECT_EQ(chosen("code", R"j({"policy":"full_depth"})j"), "full_depth");
  for (const char* sly : {R"j({"groups":[{"name":"code","policy":"exit_at(layer=1)"}]})j",
                          R"j({"groups":[{"name":"prose","policy":"exit_at(layer=2)"}]})j"}) {
    expect_full_depth(adapt(place.put_groups(sly), place.model, place.file, Numerics::faithful),
                      "neither certified nor lossless");
  }
}

TEST(Adaptation, ALevelOfRiskIsOneOfThoseThatAreCertified) {
  Place place;
  Adaptation got = adapt(place.put_groups(), place.model, place.file, Numerics::faithful);
  ASSERT_TRUE(got.choose("", 0.05).has_value());
  EXPECT_EQ(got.policy.text(), "exit_at(layer=1)");
  ASSERT_TRUE(got.choose("code", 0.05).has_value());
  EXPECT_EQ(got.policy.text(), "exit_at(layer=1, on=all)");
  EXPECT_EQ(got.group, "code");
  ASSERT_TRUE(got.choose("prose", 0.02).has_value());
  EXPECT_EQ(got.policy.text(), "exit_at(layer=3)");
  EXPECT_EQ(got.group, "");
  EXPECT_EQ(got.choose("", 0.03).error().message,
            "risk level 0.03: the sidecar holds policies for 0.02, 0.05: name one of them, or calibrate with this one");
  EXPECT_FALSE(got.choose("", 0.001).has_value()) << "nothing is certified there";
  EXPECT_EQ(got.choose("poetry").error().message, "group 'poetry': the sidecar knows prose, code: name one of them");
}

TEST(Adaptation, ALevelAtWhichNothingIsCertifiedIsRefused) {
  Place place;
  for (const bool certified : {true, false}) {
    const std::string path = place.put(
        {.policy = "exit_at(layer=3)", .certificate = ManifestCertificate{.risk = 0.02, .certified = certified}},
        Numerics::faithful, "{}");
    Adaptation got = adapt(path, place.model, place.file, Numerics::faithful);
    EXPECT_EQ(got.refused, "");
    EXPECT_EQ(got.choose("", 0.02).has_value(), certified);
  }
}

TEST(Adaptation, SidecarsThatAreRefusedAreCounted) {
  Place place;
  const uint64_t before = refused_sidecars();
  adapt(place.put_sidecar("exit_at(layer=2)"), place.model, place.file, Numerics::faithful);
  EXPECT_EQ(refused_sidecars(), before);
  adapt(place.put_sidecar("exit_at(layer=99)"), place.model, place.file, Numerics::faithful);
  EXPECT_EQ(refused_sidecars(), before + 1);
}

// Answers of the group differ from those of all together in what the policy may read of them, and in nothing else.
TEST(Adaptation, ATextIsWrittenForOneGroupAndTheSessionIsAsItWas) {
  Place place;
  const Adaptation got =
      adapt(place.put_sidecar("exit_when(agreement_at_least=0.9)"), place.model, place.file, Numerics::faithful);
  Session session = Session::make(Model::open(place.file).value(), {.max_tokens = 32}).value();
  const std::vector<int32_t> prompt = {1, 2, 3};
  const auto depth_of = [&](const std::string& group) {
    return generate(session, prompt, {.max_new_tokens = 8, .policy = got.policy, .group = group});
  };
  EXPECT_NE(depth_of("code").error().message.find("nothing was fitted for any group"), std::string::npos);
  FittedExits exits = place.exits();
  exits.exits[0].agreement[0].offset = 1e6f;   // of code: always sure
  exits.exits[0].agreement[1].offset = -1e6f;  // of all: never
  session.use(ExitHeads::make(session.model(), exits).value()).value();
  EXPECT_EQ(depth_of("code").value().depths.back(), 2);
  EXPECT_EQ(session.group(), "");
  EXPECT_EQ(depth_of("").value().depths.back(), session.model().config().n_layers);
  session.use_group("code").value();
  EXPECT_EQ(depth_of("").value().depths.back(), 2) << "no group: that of the session";
  EXPECT_EQ(session.group(), "code");
  EXPECT_NE(depth_of("poetry").error().message.find("group 'poetry': calibration knows code"), std::string::npos);
  EXPECT_EQ(session.group(), "code");
}

// What is certified for greedy tokens is not for drawn ones, nor the other way round.
TEST(Adaptation, APromiseIsAboutTokensThatAreChosenAsItSaysAndNoOthers) {
  Place place;
  const auto certified_at = [&](double temperature, const std::string& measured = "{}") {
    const ManifestCertificate certificate{
        .risk = 0.02, .confidence = 0.95, .temperature = temperature, .certified = true, .groups = {{.name = "prose"}}};
    return adapt(place.put({.policy = "exit_at(layer=3)", .groups = {{.name = "prose"}}, .certificate = certificate},
                           Numerics::faithful, measured),
                 place.model, place.file, Numerics::faithful);
  };
  const Adaptation greedy = certified_at(0), drawn = certified_at(0.8);
  EXPECT_EQ(drawn.temperature, 0.8);
  EXPECT_EQ(greedy.uncovered({}), "");
  EXPECT_EQ(greedy.uncovered({.top_k = 5}), "") << "no greedy token hangs on it";
  EXPECT_EQ(
      greedy.uncovered({.temperature = 0.8f}),
      "certified for greedy tokens, which says nothing about tokens drawn at temperature 0.8: give temperature 0, "
      "or calibrate at 0.8");
  EXPECT_NE(greedy.uncovered({.presence_penalty = 1}).find("penalties"), std::string::npos);
  EXPECT_EQ(greedy.uncovered({.presence_penalty = 1, .penalty_last = 0}), "") << "of no token";
  EXPECT_EQ(drawn.uncovered({.temperature = 0.8f, .seed = 9}), "");
  EXPECT_NE(drawn.uncovered({}).find("says nothing about greedy tokens"), std::string::npos);
  EXPECT_NE(drawn.uncovered({.temperature = 1}).find("drawn at temperature 1"), std::string::npos);
  EXPECT_NE(drawn.uncovered({.temperature = 0.8f, .top_k = 5}).find("top_k"), std::string::npos);
  EXPECT_NE(drawn.uncovered({.temperature = 0.8f, .top_p = 0.9f}).find("top_p"), std::string::npos);
  EXPECT_NE(drawn.uncovered({.temperature = 0.8f, .bias = {{3, 1}}}).find("bias"), std::string::npos);
  EXPECT_EQ(certified_at(0.8, R"j({"policy":"exit_at(layer=1) | kv(verify)"})j").uncovered({}), "")
      << "full depth's tokens, however they are chosen";
  EXPECT_EQ(Adaptation().uncovered({.temperature = 1}), "") << "nothing is promised";
}

TEST(Adaptation, AGroupOfASidecarThatIsRefusedIsNoSecondError) {
  Place place;
  Adaptation got = adapt(place.files.path("none.fathom"), place.model, place.file, Numerics::faithful);
  EXPECT_TRUE(got.choose("poetry", 0.5).has_value());
  EXPECT_TRUE(got.policy.is_full_depth());
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
