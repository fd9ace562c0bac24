// The screened head: a sparse row and the sampler choose what all logits and the sampler choose, whatever the options,
// the head and the rows; and what a row reports of its way.
#include "fathom/head/screened_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "tests/kernels/cases.h"
#include "tests/kernels/head_case.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::cpu_tables;
using testing::FileBlocks;
using testing::Fill;
using testing::kInf;
using testing::LinearCase;
using testing::same_bits;

constexpr int64_t kVocab = 4001;

/// What makes a head hard.
enum class Kind : uint8_t { plain, equal_rows, near_ties, giants, zeros, tight };

/// Sets a row's codes along a row of activations, `share` of the whole range.
void point_row(LinearCase& c, int64_t token, int64_t row, double share) {
  const bool eight = c.matrix.type == DType::q8_0;
  const double most = eight ? 127 : 31, largest = c.numerics == Numerics::faithful ? kMaxQ12 : kMaxQ8;
  for (int64_t i = 0; i < c.matrix.cols; ++i) {
    const double a = c.q[static_cast<size_t>(row * c.matrix.cols + i)] / largest;
    FileBlocks{c}.set_code(token, i, static_cast<int>(std::lround(share * most * a)) + (eight ? 0 : 32));
  }
}

/// A head in which each row of activations has a few tokens that answer it, as a model's has: their logits stand out of
/// the crowd's by 5 to 20.
struct Head {
  LinearCase c;
  std::mt19937 random;

  Head(DType type, Numerics numerics, int64_t n, uint32_t seed, Kind kind)
      : c(type, kVocab, type == DType::q8_0 ? 128 : 256, n, seed, Fill::random, numerics), random(seed) {
    FileBlocks blocks{c};
    const double largest = numerics == Numerics::faithful ? kMaxQ12 : kMaxQ8, most = type == DType::q8_0 ? 127 : 31;
    std::fill(c.scales.begin(), c.scales.end(), static_cast<float>(1 / largest));
    // A row along the activations has a logit of about cols / 3 * most * scale at share 1.
    blocks.set_one_scale(static_cast<float>(25 / (static_cast<double>(c.matrix.cols) / 3 * most)));
    for (int64_t r = 0; r < n; ++r) {
      for (int i = 0; i < 12; ++i) point_row(c, token(), r, std::uniform_real_distribution<double>(0.5, 1)(random));
    }
    for (int i = 0; i < 60; ++i) change(kind, blocks);
    if (kind == Kind::tight) tighten();
  }

  /// Low parts at the middle of their range leave little open: bounds lie near the logits.
  void tighten() {
    for (uint8_t& byte : c.weights) byte = c.matrix.type == DType::q8_0 ? (byte & 0xF0) | 7 : (byte & 0xCC) | 0x11;
    FileBlocks{c}.set_one_scale(c.matrix.type == DType::q8_0 ? 0.0045f : 0.01f);
  }

  int64_t token() { return std::uniform_int_distribution<int64_t>(0, kVocab - 1)(random); }

  void change(Kind kind, FileBlocks& blocks) {
    const int64_t a = token(), b = token();
    const size_t bytes = row_bytes(c.matrix.type, static_cast<size_t>(c.matrix.cols));
    if (kind == Kind::equal_rows || kind == Kind::near_ties) {
      point_row(c, a, a % c.n, 0.9);
      std::memcpy(blocks.at(b, 0), blocks.at(a, 0), bytes);
      if (kind == Kind::near_ties) blocks.at(b, 0)[c.matrix.type == DType::q8_0 ? 2 + a % 32 : a % 128] ^= 1;
    } else if (kind == Kind::giants) {
      blocks.set_scale(a, b % blocks.n(), a % 2 == 0 ? 0.5f : -0.5f);
    } else if (kind == Kind::zeros) {
      for (int64_t i = 0; i < blocks.n(); ++i) blocks.set_scale(a, i, 0.0f);
    }
  }
};

/// A head packed for one table, and its rows in full.
struct Screened {
  LinearCase& c;
  ThreadPool pool;
  HeadLinear head;
  Buffer memory;
  std::vector<float> full;  // [n, vocab]

  Screened(LinearCase& declared, const KernelTable& table, int threads)
      : c(declared), pool(std::move(ThreadPool::make(threads)).value()) {
    const Tensor tensor{"head", c.matrix.type, c.matrix.rows, c.matrix.cols,
                        reinterpret_cast<const std::byte*>(c.weights.data())};
    const KernelTable* tables[] = {&table};
    head = plan_head(tensor, tables, c.numerics).value();
    memory = Buffer(head.product.packed_bytes);
    pack_linear(head.product, tensor, memory.data(), pool);
    full.resize(static_cast<size_t>(c.n * c.matrix.rows));
    const LinearJob job{&head.product, c.n, full.data(), c.matrix.rows};
    linear(pool, {nullptr, c.quant()}, {&job, 1});
  }

  std::span<const float> full_row(size_t r) const {
    const auto vocab = static_cast<size_t>(c.matrix.rows);
    return {full.data() + r * vocab, vocab};
  }
};

/// Runs all rows and compares what is chosen; the reports of the rows.
::testing::AssertionResult chooses_the_same(Screened& s, std::span<const LogitUse> uses, int64_t max_rows,
                                            std::vector<ScreenReport>* kept = nullptr) {
  ScreenedHead head = std::move(ScreenedHead::make(s.head, max_rows)).value();
  const auto vocab = static_cast<size_t>(s.c.matrix.rows);
  std::vector<float> sparse(uses.size() * (vocab + 3), 7.0f);
  std::vector<ScreenReport> reports(uses.size());
  head.run(s.pool, s.c.quant(), uses, sparse.data(), static_cast<int64_t>(vocab + 3), reports);
  for (size_t r = 0; r < uses.size(); ++r) {
    const std::span<const float> row(sparse.data() + r * (vocab + 3), vocab), full = s.full_row(r);
    for (size_t o = 0; o < vocab; ++o) {
      if (std::memcmp(&row[o], &full[o], 4) == 0 || (row[o] != row[o] && full[o] != full[o])) continue;
      if (row[o] == -kInf && reports[r].full == FullHead::none) continue;
      return ::testing::AssertionFailure() << fmt::format("row {}, token {}: {}, in full {}", r, o, row[o], full[o]);
    }
    if (sparse[r * (vocab + 3) + vocab] != 7.0f) return ::testing::AssertionFailure() << "wrote past row " << r;
    const LogitUse& use = uses[r];
    if (use.options == nullptr) continue;
    const int32_t got = sample(row, *use.options, use.sequence, use.position, use.history);
    const int32_t want = sample(full, *use.options, use.sequence, use.position, use.history);
    // What truncation keeps must be there as a whole.
    const auto& o = *use.options;
    const bool truncates = o.temperature > 0 && (o.top_k > 0 || o.top_p < 1 || o.min_p > 0);
    if (truncates && survivors(row, o, use.history) != survivors(full, o, use.history))
      return ::testing::AssertionFailure()
             << fmt::format("row {}: keeps others; top_k {}, top_p {}, min_p {}", r, o.top_k, o.top_p, o.min_p);
    if (got == want) continue;
    return ::testing::AssertionFailure() << fmt::format(
               "row {}: chose {} ({}), in full {} ({}); temperature {}, top_k {}, top_p {}, min_p {}, {} survivors in "
               "{} "
               "panels",
               r, got, got < 0 ? 0 : full[static_cast<size_t>(got)], want,
               want < 0 ? 0 : full[static_cast<size_t>(want)], use.options->temperature, use.options->top_k,
               use.options->top_p, use.options->min_p, reports[r].survivors, reports[r].panels);
  }
  if (kept != nullptr) *kept = reports;
  return ::testing::AssertionSuccess();
}

/// Options of any kind, and a history in which the likely tokens come up.
struct Options {
  SampleOptions options;
  std::vector<int32_t> history;
};

template <class Random>
Options any_options(Random& random, std::span<const float> logits) {
  const auto one_of = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random() % std::size(all)];
  };
  std::vector<int32_t> likely(logits.size());
  for (size_t i = 0; i < likely.size(); ++i) likely[i] = static_cast<int32_t>(i);
  std::partial_sort(likely.begin(), likely.begin() + 8, likely.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  const auto any_token = [&] {
    return random() % 2 == 0 ? likely[random() % 8] : static_cast<int32_t>(random() % logits.size());
  };
  Options o;
  o.options.temperature = one_of(0.0f, 0.0f, 0.3f, 0.7f, 1.0f, 1.5f);
  o.options.top_k = one_of(0, 0, 1, 5, 40, 4000);
  o.options.top_p = one_of(1.0f, 1.0f, 0.9f);
  o.options.min_p = one_of(0.0f, 0.0f, 0.01f, 0.2f, 1.0f);
  o.options.seed = random();
  if (random() % 2 == 0) {
    o.options.repeat_penalty = one_of(1.0f, 1.1f, 1.5f, 0.7f);
    o.options.presence_penalty = one_of(0.0f, 2.0f, -1.0f);
    o.options.frequency_penalty = one_of(0.0f, 0.5f);
    o.options.penalty_last = one_of(-1, 0, 5, 64);
    for (size_t i = random() % 20; i > 0; --i) o.history.push_back(any_token());
  }
  if (random() % 2 == 0) {
    for (size_t i = random() % 12; i > 0; --i)
      o.options.bias.push_back({any_token(), one_of(-kInf, -kInf, 3.0f, -3.0f, 100.0f, 0.1f)});
  }
  return o;
}

constexpr Kind kKinds[] = {Kind::plain, Kind::equal_rows, Kind::near_ties, Kind::giants, Kind::zeros, Kind::tight};

class ScreenedHeads : public ::testing::TestWithParam<DType> {};
std::string type_name(const ::testing::TestParamInfo<DType>& test) { return std::string(info(test.param).name); }
INSTANTIATE_TEST_SUITE_P(Types, ScreenedHeads, ::testing::Values(DType::q8_0, DType::q6_k), type_name);

TEST_P(ScreenedHeads, ChooseWhatAllLogitsChooseForAnyOptions) {
  for (const Kind kind : kKinds) {
    for (const Numerics numerics : {Numerics::fast, Numerics::faithful}) {
      Head head(GetParam(), numerics, 7, static_cast<uint32_t>(kind) + 1, kind);
      Screened s(head.c, *cpu_tables()[0], 2);
      std::mt19937 random(static_cast<uint32_t>(kind) * 2 + (numerics == Numerics::fast));
      constexpr int kRounds = 150;
      int screened = 0;
      for (int round = 0; round < kRounds; ++round) {
        std::vector<Options> options;
        for (size_t r = 0; r < 7; ++r) options.push_back(any_options(random, s.full_row(r)));
        std::vector<LogitUse> uses;
        for (const Options& o : options)
          uses.push_back(
              {&o.options, static_cast<int64_t>(random() % 3), static_cast<int64_t>(random() % 1000), o.history});
        if (round % 8 == 0) uses[random() % 7].options = nullptr;
        std::vector<ScreenReport> reports;
        ASSERT_TRUE(chooses_the_same(s, uses, 1 + random() % 8, &reports)) << "kind " << static_cast<int>(kind);
        for (const ScreenReport& report : reports) screened += report.full == FullHead::none;
      }
      EXPECT_GT(screened, 7 * kRounds / 4) << "kind " << static_cast<int>(kind);
    }
  }
}

TEST_P(ScreenedHeads, ChooseTheSameOnEveryTarget) {
  Head head(GetParam(), Numerics::faithful, 19, 5, Kind::near_ties);
  std::mt19937 random(3);
  for (const KernelTable* table : cpu_tables()) {
    Screened s(head.c, *table, 1);
    std::vector<Options> options;
    for (size_t r = 0; r < 19; ++r) options.push_back(any_options(random, s.full_row(r)));
    std::vector<LogitUse> uses;
    for (const Options& o : options) uses.push_back({&o.options, 0, 17, o.history});
    EXPECT_TRUE(chooses_the_same(s, uses, 32)) << table->name;
  }
}

/// Reports of rows that are all used one way.
std::vector<ScreenReport> reports_of(LinearCase& c, const SampleOptions& options) {
  Screened s(c, *cpu_tables()[0], 2);
  const std::vector<LogitUse> uses(static_cast<size_t>(c.n), LogitUse{&options, 0, 3, {}});
  std::vector<ScreenReport> reports(uses.size());
  EXPECT_TRUE(chooses_the_same(s, uses, c.n, &reports));
  return reports;
}

TEST_P(ScreenedHeads, MultiplyFewPanelsWhereTheAnswerStandsOut) {
  Head head(GetParam(), Numerics::faithful, 4, 9, Kind::plain);
  SampleOptions noisy, min_p, top_k;
  noisy.temperature = min_p.temperature = top_k.temperature = 0.5f;
  min_p.min_p = 0.1f;
  top_k.top_k = 4;
  for (const SampleOptions& options : {SampleOptions{}, noisy, min_p, top_k}) {
    for (const ScreenReport& report : reports_of(head.c, options)) {
      EXPECT_EQ(report.full, FullHead::none) << static_cast<int>(report.full);
      EXPECT_LT(report.panels, kVocab / 16 / 4);
      EXPECT_GE(report.survivors, 1);
      EXPECT_LE(report.survivors, report.panels * 16);
    }
  }
}

TEST_P(ScreenedHeads, SayWhyTheyReadTheWholeHead) {
  Head head(GetParam(), Numerics::faithful, 2, 9, Kind::plain);
  SampleOptions top_p, hot;
  top_p.temperature = 1;
  top_p.top_p = 0.9f;
  hot.temperature = 1e30f;
  EXPECT_EQ(reports_of(head.c, top_p)[0].full, FullHead::top_p);
  EXPECT_EQ(reports_of(head.c, hot)[0].full, FullHead::temperature);
  FileBlocks{head.c}.set_all_scales(0.0f);  // all logits are equal
  const ScreenReport equal = reports_of(head.c, {})[0];
  EXPECT_EQ(equal.full, FullHead::survivors);
  EXPECT_EQ(equal.panels, (kVocab + 15) / 16);
  EXPECT_EQ(equal.survivors, kVocab);
  head.c.scales[1] = kInf;
  EXPECT_EQ(reports_of(head.c, {})[0].full, FullHead::not_finite);
  EXPECT_EQ(reports_of(head.c, {})[1].full, FullHead::survivors);
}

TEST_P(ScreenedHeads, ScalesThatAreNotFiniteChangeNoChoice) {
  for (const uint16_t scale : {uint16_t{0x7C00}, uint16_t{0xFC00}, uint16_t{0x7E00}}) {
    Head head(GetParam(), Numerics::faithful, 3, 2, Kind::plain);
    for (const int64_t token : {7, 300, 3999}) FileBlocks{head.c}.set_scale(token, 0, scale);
    SampleOptions options;
    for (const float temperature : {0.0f, 0.8f}) {
      options.temperature = temperature;
      for (const int32_t top_k : {0, 3}) {
        options.top_k = top_k;
        EXPECT_EQ(reports_of(head.c, options).size(), 3u);
      }
    }
  }
}

// A banned token draws its panel into the first list, where a token of the same adjusted logit as an earlier one, whose
// row is zeros and so leaves nothing open, sets the threshold to just this logit.
TEST_P(ScreenedHeads, ABoundThatMeetsTheThresholdKeepsItsTokenAndTiesGoToTheLowerOne) {
  Head head(GetParam(), Numerics::faithful, 1, 3, Kind::plain);
  constexpr int32_t kLower = 20, kHigher = 1000, kBanned = 1001;
  FileBlocks blocks{head.c};
  point_row(head.c, kBanned, 0, 1);
  for (const int64_t token : {kLower, kHigher}) {
    for (int64_t b = 0; b < blocks.n(); ++b) blocks.set_scale(token, b, 0.0f);
  }
  SampleOptions options;
  options.bias = {{kLower, 100}, {kHigher, 100}, {kBanned, -kInf}};
  const ScreenReport report = reports_of(head.c, options)[0];
  EXPECT_EQ(report.full, FullHead::none);
  EXPECT_GT(report.panels, 8) << "the lower one came with the first panels: this proves nothing";
}

// min_p cuts just below one token after the other, far beyond the first panels; bounds are tight.
TEST_P(ScreenedHeads, KeepWhatTruncationKeepsAtItsEdge) {
  Head head(GetParam(), Numerics::faithful, 1, 4, Kind::tight);
  Screened s(head.c, *cpu_tables()[0], 1);
  std::vector<float> sorted(s.full);
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  int screened = 0;
  for (const float temperature : {0.5f, 3.0f}) {
    for (size_t edge = 1; edge < 60; ++edge) {
      SampleOptions options;
      options.temperature = temperature;
      options.min_p = std::exp((sorted[edge] - sorted[0]) / temperature) * 0.9999f;
      SampleOptions with_mass = options;
      with_mass.top_k = 20;
      with_mass.top_p = 0.5f;
      for (const SampleOptions& o : {options, with_mass}) {
        const LogitUse use{&o, 0, 5, {}};
        std::vector<ScreenReport> reports;
        ASSERT_TRUE(chooses_the_same(s, {&use, 1}, 1, &reports)) << "edge " << edge << ", temperature " << temperature;
        screened += reports[0].full == FullHead::none;
      }
    }
  }
  EXPECT_GT(screened, 120);
}

TEST_P(ScreenedHeads, VocabulariesOfAFewTokensWork) {
  for (const int64_t vocab : {1, 15, 16, 17, 130}) {
    LinearCase c(GetParam(), vocab, 256, 2, static_cast<uint32_t>(vocab), Fill::random, Numerics::fast);
    SampleOptions options;
    for (const float temperature : {0.0f, 2.0f}) {
      options.temperature = temperature;
      reports_of(c, options);
    }
  }
}

TEST(ScreenedHead, NeedsARowAndATypeItCanScreen) {
  LinearCase c(DType::q8_0, 32, 64, 1, 1);
  const Screened s(c, *cpu_tables()[0], 1);
  const auto none = ScreenedHead::make(s.head, 0);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, ErrorCode::argument);
  const KernelTable* tables[] = {cpu_tables()[0], &kernels::ref()};
  Tensor tensor{"output.weight", DType::q4_0, 32, 64, nullptr};
  const auto other = plan_head(tensor, tables, Numerics::fast);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::unsupported);
  EXPECT_NE(other.error().message.find("output.weight (Q4_0, 32 x 64)"), std::string::npos) << other.error().message;
  tensor.type = DType::q8_0;
  EXPECT_FALSE(plan_head(tensor, tables, Numerics::exact).has_value());
}

}  // namespace
}  // namespace fathom
