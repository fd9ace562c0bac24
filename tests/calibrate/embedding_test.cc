// Certified embeddings: the promise over repeated draws, the order of what is tested, what is refused, and the sidecar.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/embedding_file.h"
#include "src/calibrate/cosine_sequence.h"
#include "src/calibrate/random.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/encoders.h"
#include "tests/support/refused.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::expect_refused;
using testing::TextFiles;

constexpr CosineRule kRule{.cosine = 0.98, .risk = 0.05, .confidence = 0.9};

/// Cosines of n texts of which a share, in the long run, is below the rule's.
std::vector<float> draw(int n, double below, Random& random) {
  std::vector<float> cosines;
  for (int i = 0; i < n; ++i) cosines.push_back(random.uniform() < below ? 0.9f : 0.99f);
  return cosines;
}

EmbeddingTrial trial(double work, CosinesByGroup cosines) { return {.cosines = std::move(cosines), .work = work}; }

TEST(embedding, the_promise_holds_in_all_but_delta_of_repeated_draws) {
  // Of two groups; the shares of both lie about the risk, where a mistake is likeliest.
  const double shares[][2] = {{0.01, 0.005}, {0.03, 0.02}, {0.03, 0.052}, {0.055, 0.03}, {0.08, 0.06}, {0.2, 0.1}};
  constexpr int kDraws = 3000, kCertify = 250;
  const int64_t n_certify[] = {kCertify, kCertify};
  int broken = 0, certified = 0;
  Random random(11);
  for (int i = 0; i < kDraws; ++i) {
    std::vector<EmbeddingTrial> trials;
    double work = 0.95;
    for (const auto& [a, b] : shares) {
      trials.push_back(trial(work, {draw(80, a, random), draw(80, b, random)}));
      work -= 0.05;
    }
    const std::vector<int32_t> order = safest_to_cheapest(trials, n_certify, kRule);
    if (order.empty()) continue;
    const auto choice = certify_in_order({"a", "b"}, static_cast<int32_t>(order.size()), kRule, [&](int32_t c) {
      const auto& [a, b] = shares[order[static_cast<size_t>(c)]];
      return Result<CosinesByGroup>(CosinesByGroup{draw(kCertify, a, random), draw(kCertify, b, random)});
    });
    ASSERT_TRUE(choice) << choice.error().message;
    if (!choice->certified()) continue;
    ++certified;
    const auto& [a, b] = shares[order[static_cast<size_t>(choice->candidate)]];
    broken += std::max(a, b) > kRule.risk;
  }
  const double most = kRule.delta() * kDraws;
  EXPECT_LE(broken, most + 3 * std::sqrt(most)) << "seed 11, " << certified << " certified";
  EXPECT_GT(certified, kDraws / 4);
}

TEST(embedding, the_order_goes_from_the_safest_to_the_cheapest) {
  const std::vector<float> good(100, 0.999f), fair(100, 0.99f), bad(100, 0.9f);
  std::vector<float> one_below = fair;
  one_below[3] = 0.97f;
  const int64_t n_certify[] = {200};
  const std::vector<EmbeddingTrial> trials = {
      trial(0.6, {bad}),                            // no chance
      trial(0.7, {one_below}),                      // less safe, and cheapest
      trial(0.9, {fair}),                           // as safe as the next, but for the least cosine, and dearer
      trial(0.8, {good}),      trial(1.0, {good}),  // saves nothing
      trial(0.75, {fair}),
  };
  EXPECT_EQ(safest_to_cheapest(trials, n_certify, kRule), (std::vector<int32_t>{3, 5, 1}));
  std::vector<EmbeddingTrial> many;
  for (int i = 0; i < 30; ++i)
    many.push_back(trial(0.9 - 0.01 * i, {std::vector<float>(50, 0.999f - 0.0001f * float(i))}));
  const std::vector<int32_t> thinned = safest_to_cheapest(many, n_certify, kRule);
  EXPECT_EQ(thinned.size(), kMostTested);
  EXPECT_EQ(thinned.front(), 0);
  EXPECT_EQ(thinned.back(), 29);
}

TEST(embedding, a_policy_is_given_up_only_where_it_is_surely_over_the_risk) {
  EXPECT_FALSE(without_chance({std::vector<float>(8, 0.99f)}, kRule));
  EXPECT_FALSE(without_chance({{0.9f, 0.99f, 0.99f, 0.99f}}, kRule));
  EXPECT_TRUE(without_chance({std::vector<float>(8, 0.99f), std::vector<float>(8, 0.9f)}, kRule));
  EXPECT_TRUE(without_chance({std::vector<float>(4, std::nanf(""))}, kRule)) << "what is no number is below";
}

TEST(embedding, what_all_but_a_share_keep_is_that_of_the_worst_group) {
  const EmbeddingTrial t = trial(1, {{0.9f, 0.8f, 0.7f, 0.6f}, {0.95f, 0.5f, 0.95f, 0.95f}});
  EXPECT_FLOAT_EQ(float(t.kept_by_all_but(0)), 0.5f);
  EXPECT_FLOAT_EQ(float(t.kept_by_all_but(0.25)), 0.7f);
}

TEST(embedding, the_ladder_fits_every_model) {
  for (const int32_t n_layers : {1, 2, 3, 6, 12, 24}) {
    const std::vector<Policy> ladder = embedding_ladder(n_layers);
    EXPECT_FALSE(ladder.empty());
    for (const Policy& policy : ladder) {
      EXPECT_TRUE(policy.check(n_layers)) << n_layers << ": " << policy.text();
      EXPECT_EQ(Policy::parse(policy.text()).value(), policy) << policy.text();
    }
  }
}

std::string jsonl(int n, uint64_t seed) {
  std::string all;
  for (int i = 0; i < n; ++i) {
    all +=
        nlohmann::json{{"text", testing::text_of_tokens(20 + i % 30, seed + static_cast<uint64_t>(i))}}.dump() + "\n";
  }
  return all;
}

TEST(embedding, too_few_texts_are_refused_with_how_many_are_needed) {
  const TextFiles files;
  const auto read = [&](const std::string& bytes, EmbeddingOptions options = {}) {
    return read_embedding_texts(std::vector<GroupData>{{"all", {files.write("a.jsonl", bytes)}}}, options);
  };
  expect_refused(read_embedding_texts({}), ErrorCode::argument, {"no groups"});
  expect_refused(read("\n"), ErrorCode::format, {"a.jsonl", "no text"});
  expect_refused(read(jsonl(1, 1)), ErrorCode::format, {"group all", "1 texts", "149 are needed", "give 219"});
  expect_refused(read(jsonl(100, 1)), ErrorCode::format, {"group all", "149 are needed"});
  expect_refused(read(jsonl(100, 1), {.texts = 20}), ErrorCode::argument, {"texts 20", "149"});
  expect_refused(read(jsonl(9, 1), {.risk = 2}), ErrorCode::argument, {"risk 2"});
  const auto enough = read(jsonl(120, 1) + jsonl(10, 1), {.risk = 0.05, .texts = 70});
  ASSERT_TRUE(enough) << enough.error().message;
  EXPECT_EQ(enough->front().n_documents, 120);
  EXPECT_EQ(enough->front().n_duplicates, 10);
  EXPECT_EQ(enough->front().certify.size(), 70u);
  EXPECT_EQ(enough->front().choose.size(), 24u);
}

TEST(embedding, nothing_is_chosen_and_certified_on_one_text) {
  const TextFiles files;
  const std::vector<GroupData> data = {{"b", {files.write("b.jsonl", jsonl(200, 7))}}};
  const auto one = read_embedding_texts(data, {.risk = 0.1}).value().front();
  const auto again = read_embedding_texts(data, {.risk = 0.1}).value().front();
  const auto other = read_embedding_texts(data, {.risk = 0.1, .seed = 2}).value().front();
  EXPECT_EQ(one.choose, again.choose);
  EXPECT_NE(one.choose, other.choose);
  for (const std::string& text : one.choose) {
    EXPECT_EQ(std::count(one.certify.begin(), one.certify.end(), text), 0) << text;
  }
}

const testing::TinyOptions kTiny{.family = "bert"};
constexpr OpenOptions kExact{.numerics = Numerics::exact};

class embedding_sidecar : public ::testing::Test {
 protected:
  embedding_sidecar() {
    const testing::Bytes bytes = testing::tiny_writer(kTiny).bytes();
    model_path_ = files_.write("model.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    path_ = files_.path("tiny.fathom");
    options_.cosine = 0.3;
    options_.risk = 0.05;
    options_.encoder.max_tokens = 32;
    options_.policies = {merge_tokens{.keep = 0.7f}, exit_at{.layer = 3}};
    const std::vector<GroupData> data = {{"a", {files_.write("a.jsonl", jsonl(200, 1))}},
                                         {"b", {files_.write("b.jsonl", jsonl(200, 500))}}};
    texts_ = read_embedding_texts(data, options_).value();
  }
  ModelFile file() const { return ModelFile::open(model_path_).value(); }
  SidecarBinding binding() const { return binding_of(model_path_, file(), kRounding).value().binding; }
  EmbeddingFile open(std::optional<int32_t> max_tokens = {}, const Rounding& rounding = kRounding) const {
    return open_embedding(path_, model_path_, file(), rounding, max_tokens);
  }

  static inline const Rounding kRounding{Numerics::exact, {}};
  TextFiles files_;
  std::string model_path_, path_;
  EmbeddingOptions options_;
  std::vector<EmbeddingGroup> texts_;
};

TEST_F(embedding_sidecar, what_was_found_is_what_runs_and_only_where_it_was_found) {
  EmbeddingCertificate found = certify_embedding(testing::tiny_model(kTiny, kExact), texts_, options_).value();
  ASSERT_TRUE(found.certified) << found.verdict;
  EXPECT_LT(found.work, 1);
  EXPECT_EQ(found.times.pairs, 7);
  EXPECT_NE(found.promise.find("at most 5 % of distinct texts of each of a, b, cut at 32 tokens"), std::string::npos)
      << found.promise;
  found.times.ratio = 2;  // however fast this machine is
  const EmbeddingOrigin origin{.model_name = "tiny", .max_tokens = 32};
  ASSERT_TRUE(write_embedding(path_, found, options_, binding(), origin));

  for (const EmbeddingFile& fits : {open(), open(32)}) {
    EXPECT_EQ(fits.warning, "");
    EXPECT_EQ(fits.policy, found.policy);
    EXPECT_EQ(fits.promise, found.promise);
    EXPECT_EQ(fits.max_tokens, 32);
    EXPECT_EQ(fits.cosine, 0.3);
  }
  const auto refused = [&](const EmbeddingFile& opened, std::string_view why) {
    EXPECT_TRUE(opened.policy.is_full_depth());
    EXPECT_TRUE(opened.certified.is_full_depth());
    EXPECT_EQ(opened.promise, "");
    EXPECT_NE(opened.warning.find(why), std::string::npos) << opened.warning;
  };
  refused(open(31), "cut at 31 tokens, not at 32");
  refused(open({}, {Numerics::bf16, {}}), "numeric path");
  const testing::Bytes bytes = testing::tiny_writer({.family = "bert", .seed = 5}).bytes();
  const std::string other = files_.write("o.gguf", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  refused(open_embedding(path_, other, ModelFile::open(other).value(), kRounding), "model file");
  refused(open_embedding(files_.path("none.fathom"), model_path_, file(), kRounding), "none.fathom");
  std::string damaged = testing::contents(path_);
  damaged[damaged.size() / 2] ^= 1;
  refused(open_embedding(files_.write("damaged.fathom", damaged), model_path_, file(), kRounding), "damaged");
}

TEST_F(embedding_sidecar, a_policy_that_is_not_faster_is_certified_and_not_used) {
  EmbeddingCertificate found = certify_embedding(testing::tiny_model(kTiny, kExact), texts_, options_).value();
  ASSERT_TRUE(found.certified);
  found.times.ratio = 1.02;
  ASSERT_TRUE(write_embedding(path_, found, options_, binding(), {.max_tokens = 32}));
  EXPECT_TRUE(open().policy.is_full_depth());
  EXPECT_EQ(open().certified, found.policy);
  EXPECT_EQ(open().warning, "");
}

TEST_F(embedding_sidecar, where_nothing_is_certified_full_depth_runs) {
  options_.cosine = 0.999999;
  const EmbeddingCertificate found = certify_embedding(testing::tiny_model(kTiny, kExact), texts_, options_).value();
  EXPECT_FALSE(found.certified);
  EXPECT_EQ(found.promise, "");
  EXPECT_EQ(found.verdict.rfind("No-go: ", 0), 0u) << found.verdict;
  ASSERT_TRUE(write_embedding(path_, found, options_, binding(), {.max_tokens = 32}));
  EXPECT_TRUE(open().policy.is_full_depth());
  EXPECT_EQ(open().warning, "");
}

TEST_F(embedding_sidecar, texts_that_are_one_where_they_are_cut_count_once) {
  std::vector<EmbeddingGroup> texts = texts_;
  texts[0].certify[1] = texts[0].certify[0] = testing::text_of_tokens(40, 3);
  texts[0].certify[1] += " z y x";
  const EmbeddingCertificate found = certify_embedding(testing::tiny_model(kTiny, kExact), texts, options_).value();
  EXPECT_GE(found.n_same, 1);
  EXPECT_EQ(found.n_certify[0] + found.n_certify[1] + found.n_same,
            std::ssize(texts[0].certify) + std::ssize(texts[1].certify));
}

TEST_F(embedding_sidecar, what_is_wrong_is_told) {
  const Model model = testing::tiny_model(kTiny, kExact);
  expect_refused(certify_embedding(model, {}, options_), ErrorCode::argument, {"no groups"});
  options_.policies = {exit_at{.layer = 9}};
  expect_refused(certify_embedding(model, texts_, options_), ErrorCode::argument, {"layer=9"});
  options_.policies = {exit_when{.confidence_at_least = 0.5f}};
  expect_refused(certify_embedding(model, texts_, options_), ErrorCode::unsupported, {"policy exit_when"});
  options_.cosine = 1;
  expect_refused(certify_embedding(model, texts_, options_), ErrorCode::argument, {"cosine 1"});
  options_.cosine = 0.5;
  options_.on_progress = [](void*, std::string_view, double) { return false; };
  expect_refused(certify_embedding(model, texts_, options_), ErrorCode::cancelled, {"stopped"});
}

}  // namespace
}  // namespace fathom
