// Heads that say nothing: what is not read, what is counted, and that nothing else changes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "fathom/engine/silenced_heads.h"
#include "fathom/ops/attention.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using testing::Outcome;
using testing::random_ids;
using testing::run;
using testing::TinyOptions;

constexpr int32_t kPositions = 20;

Session session(const Model& model, int threads = 1) {
  return Session::make(
             model, {.max_tokens = 128, .max_sequences = 3, .max_rows = 64, .max_logit_rows = 64, .threads = threads})
      .value();
}

Outcome generated(const Model& model, const Policy& policy, int32_t chunk = kPositions) {
  Session s = session(model);
  const auto ids = random_ids(kPositions, model.config().vocab, 5);
  return run(s, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
}

// Heads of layers in a file: their rows of q and columns of o, and the rows of k and v of a KV group.
struct Planted {
  TinyOptions options;
  GgufWriter writer;
  Bytes bytes = {};

  explicit Planted(const TinyOptions& o) : options(o), writer(testing::tiny_writer(o)) {}

  std::string name(int32_t layer, const char* part) const {
    return "blk." + std::to_string(layer - 1) + "." + part + ".weight";
  }
  void rows(int32_t layer, const char* part, int32_t head, int byte) {
    GgufWriter::TensorEntry& t = writer.tensor(name(layer, part));
    const size_t bytes_of_row = row_bytes(options.type, t.dims[0]);
    const auto first = static_cast<size_t>((head - 1) * options.head_dim), n = static_cast<size_t>(options.head_dim);
    std::memset(t.data.data() + first * bytes_of_row, byte, n * bytes_of_row);
  }
  void columns(int32_t layer, int32_t head, int byte) {
    GgufWriter::TensorEntry& t = writer.tensor(name(layer, "attn_output"));
    const size_t bytes_of_row = row_bytes(options.type, t.dims[0]),
                 n = row_bytes(options.type, size_t(options.head_dim));
    for (size_t r = 0; r < t.dims[1]; ++r) {
      std::memset(t.data.data() + r * bytes_of_row + static_cast<size_t>(head - 1) * n, byte, n);
    }
  }
  Model open(const OpenOptions& open = {}) {
    bytes = writer.bytes();
    return Model::from_bytes(bytes, open).value();
  }
};

// Head dims hold whole blocks of the type, so that what one head needs stands alone.
const TinyOptions kCases[] = {
    {.family = "qwen2", .head_dim = 32, .type = DType::f32},
    {.family = "gemma3", .head_dim = 32, .type = DType::q8_0},
    {.family = "llama", .head_dim = 64, .type = DType::f16},
    {.family = "qwen3", .head_dim = 32, .type = DType::q5_0},
    {.family = "qwen2", .d_model = 256, .head_dim = 256, .feed_forward = 256, .type = DType::q4_k},
    {.family = "llama", .d_model = 256, .head_dim = 256, .feed_forward = 256, .type = DType::q6_k},
};

TEST(SilenceHeads, IsTheModelInWhichTheirColumnsOfOAreZeros) {
  const Policy policy = silence_heads{.heads = {{2, 1}, {3, 1}, {3, 2}, {4, 4}}};
  for (const TinyOptions& options : kCases) {
    for (const char* target : {static_cast<const char*>(nullptr), "ref"}) {
      SCOPED_TRACE(options.family + (target != nullptr ? " ref" : ""));
      Planted zeros(options);
      for (const auto& [layer, head] : {std::pair{2, 1}, {3, 1}, {3, 2}, {4, 4}}) zeros.columns(layer, head, 0);
      const Model model = testing::tiny_model(options, {.target = target}), without = zeros.open({.target = target});
      const Outcome silent = generated(model, policy), full = generated(model, Policy());
      EXPECT_EQ(silent.logits, generated(without, Policy()).logits);
      EXPECT_NE(silent.logits, full.logits);
    }
  }
}

// 0xFF bytes are a NaN in floats and in the scales of blocks.
TEST(SilenceHeads, DoesNotReadWhatOnlySilentHeadsNeed) {
  const Policy policy = silence_heads{.heads = {{2, 1}, {3, 3}, {3, 4}}};
  for (const TinyOptions& options : kCases) {
    for (const Numerics numerics : {Numerics::fast, Numerics::faithful}) {
      SCOPED_TRACE(options.family);
      Planted spoilt(options);
      for (const auto& [layer, head] : {std::pair{2, 1}, {3, 3}, {3, 4}}) {
        spoilt.rows(layer, "attn_q", head, 0xFF);
        spoilt.columns(layer, head, 0xFF);
      }
      for (const char* part : {"attn_k", "attn_v"}) spoilt.rows(3, part, 2, 0xFF);  // cells hold NaN; nobody reads them
      const Model good = testing::tiny_model(options, {.numerics = numerics});
      const Model bad = spoilt.open({.numerics = numerics});
      for (int32_t chunk : {1, kPositions}) {
        EXPECT_EQ(generated(bad, policy, chunk).logits, generated(good, policy, chunk).logits) << "chunk " << chunk;
      }
      EXPECT_TRUE(std::isnan(generated(bad, Policy()).logits.back()));
    }
  }
}

TEST(SilenceHeads, WithFactorOneIsFullDepthBitForBit) {
  for (const TinyOptions& options : kCases) {
    const Model model = testing::tiny_model(options);
    const Outcome full = generated(model, Policy());
    const Policy one = silence_heads{.heads = {{1, 2}, {3, 1}, {3, 2}, {4, 4}}, .factor = 1};
    EXPECT_EQ(generated(model, one).logits, full.logits) << options.family;
    const Policy half = silence_heads{.heads = {{1, 2}, {3, 1}, {3, 2}, {4, 4}}, .factor = 0.5f};
    const Outcome scaled = generated(model, half);
    EXPECT_NE(scaled.logits, full.logits) << options.family;
    EXPECT_EQ(scaled.rows.back().macs, full.rows.back().macs);
  }
}

TEST(SilenceHeads, CountsNoWorkForWhatIsNotRead) {
  const TinyOptions options = {.d_model = 64, .heads = 4, .kv_heads = 2, .head_dim = 32};
  const Model model = testing::tiny_model(options);
  const Policy policy = silence_heads{.heads = {{2, 1}, {2, 2}, {3, 4}}};
  const Outcome silent = generated(model, policy), full = generated(model, Policy());
  for (int32_t p = 0; p < kPositions; ++p) {
    const double products = 64.0 * 3 * (32 + 32), cells = 2.0 * 2 * 32 * (p + 1);  // of one KV group: layer 2's first
    EXPECT_EQ(full.rows[size_t(p)].macs - silent.rows[size_t(p)].macs, products + cells) << p;
    EXPECT_EQ(silent.rows[size_t(p)].depth, 4);
  }
  const SilencedHeads heads = SilencedHeads::make(model, policy.settings().silent, 0).value();
  const LayerWeights& w = model.weights().layers[1];
  EXPECT_EQ(heads.of(2)->bytes() * 2, w.q.packed_bytes + w.o.packed_bytes);
  EXPECT_EQ(heads.of(3)->bytes() * 4, 3 * (w.q.packed_bytes + w.o.packed_bytes));
  EXPECT_EQ(heads.of(4), nullptr);
}

TEST(SilenceHeads, LeavesNothingToReadOfALayerWithoutAVoice) {
  const Model model = testing::tiny_model({.family = "gemma3"});
  const Policy all = silence_heads{.heads = {{2, 1}, {2, 2}, {2, 3}, {2, 4}}};
  EXPECT_EQ(SilencedHeads::make(model, all.settings().silent, 0).value().of(2)->bytes(), 0u);
  const Policy skipped = skip_sublayers{.attention = {2}};
  const Outcome silent = generated(model, all), without = generated(model, skipped);
  EXPECT_EQ(silent.logits, without.logits);
}

// A KV head that nobody asks is not computed: what stands in its place stays there, in a row alone and in a block.
TEST(SilenceHeads, PassesByTheCellsOfAGroupWithoutAVoice) {
  Session s = session(testing::tiny_model());
  std::vector<float> k(2 * 16 * kPageCells, 0.5f), v = k, q(40 * 4 * 16, 0.25f);
  KvPage page{.k = k.data(), .v = v.data(), .real = 7};
  const KvPage* const pages[] = {&page};
  const std::vector<AttentionRow> rows(40, AttentionRow{pages, 0, 3});
  const AttentionPlan plan = AttentionPlan::make({.heads = 4, .kv_heads = 2, .head_dim = 16, .max_tokens = 64}).value();
  for (const int64_t n : {1, 40}) {
    std::vector<float> dst(q.size(), 9);
    const AttentionArgs args{DType::f32, q.data(), rows.data(), 4, 2, 16, 0.25f, dst.data()};
    const uint8_t listened[] = {0, 1};
    attention(s.pool(), s.kernels(), args, n, plan, listened);
    for (int64_t i = 0; i < n * 64; ++i) EXPECT_EQ(dst[size_t(i)], i % 64 < 32 ? 9.0f : 0.5f) << i;
  }
}

// Rows of prompts hear every head; what stands beside a row changes none of its bits.
TEST(SilenceHeads, ActsOnEachRowByItself) {
  for (const TinyOptions& options : {kCases[0], kCases[1], TinyOptions{.family = "llama", .type = DType::q8_0}}) {
    const Model model = testing::tiny_model(options);
    const Policy policy = silence_heads{.heads = {{1, 3}, {2, 1}, {2, 2}, {4, 4}}};
    const auto a = random_ids(12, model.config().vocab, 5), b = random_ids(12, model.config().vocab, 6);
    Session alone = session(model);
    const Outcome spoken = run(alone, a, {.kind = RowKind::prompt, .policy = policy.ref()});
    const Outcome silent = run(alone, b, {.sequence = 1, .kind = RowKind::generated, .policy = policy.ref()});
    Session together = session(model, 2);
    for (int32_t p = 0; p < 12; p += 3) {
      std::vector<Row> rows;
      for (int32_t i = p; i < p + 3; ++i) {
        rows.push_back({a[size_t(i)], 0, i, RowKind::prompt, true});
        rows.push_back({b[size_t(i)], 1, i, RowKind::generated, true});
      }
      const StepResult result = together.step(rows, policy.ref()).value();
      for (int32_t i = 0; i < 6; ++i) {
        const Outcome& of = i % 2 == 0 ? spoken : silent;
        const int64_t vocab = model.config().vocab;
        const float* want = of.logits.data() + (p + i / 2) * vocab;
        EXPECT_TRUE(std::equal(want, want + vocab, result.logits.data() + result.rows[size_t(i)].logits * vocab)) << p;
        EXPECT_EQ(result.rows[size_t(i)].macs, of.rows[size_t(p + i / 2)].macs);
      }
    }
    Session plain = session(model);
    EXPECT_EQ(spoken.logits, run(plain, a).logits);
  }
}

TEST(SilenceHeads, AreHeardWhereALimitRestoresTheLayer) {
  const Model model = testing::tiny_model();
  const Policy policy = Policy::parse("silence_heads(heads=[2:1,3:2]) | min_depth(layers=4)").value();
  EXPECT_EQ(generated(model, policy).logits, generated(model, Policy()).logits);
}

TEST(SilenceHeads, TellsOfHeadsThatTheModelLacks) {
  const Model model = testing::tiny_model();
  Session s = session(model);
  const Row row{.token = 1, .kind = RowKind::generated};
  for (const auto& [text, remedy] :
       {std::pair{"silence_heads(heads=[2:5])", "head 2:5 in a layer of 4 heads: write 1..4"},
        {"silence_heads(heads=[9:1])", "head 9:1 in a model of 4 layers: write 1..4"}}) {
    const Policy policy = Policy::parse(text).value();
    const auto result = s.step({&row, 1}, policy.ref());
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_NE(result.error().message.find(remedy), std::string::npos) << result.error().message;
    EXPECT_EQ(s.length(), 0);
  }
  EXPECT_FALSE(Policy::parse("silence_heads(heads=[9:1])").value().check(4).has_value());
  EXPECT_FALSE(Policy(silence_heads{}).check(4).has_value());
  EXPECT_FALSE(Policy(silence_heads{.heads = {{1, 0}}}).check(4).has_value());
}

}  // namespace
}  // namespace fathom
