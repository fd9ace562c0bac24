// The text form: what is printed, what is read, and what each malformed text is told.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "fathom/policy/policy.h"

namespace fathom {
namespace {

std::string canonical(std::string_view text) {
  auto policy = Policy::parse(text);
  return policy ? policy->text() : policy.error().message;
}

TEST(PolicyText, PrintsNamesAndOmitsDefaults) {
  EXPECT_EQ(Policy(exit_when{.confidence_at_least = 0.9f} | min_depth{.layers = 6}).text(),
            "exit_when(confidence_at_least=0.9) | min_depth(layers=6)");
  EXPECT_EQ(Policy(exit_at{.layer = 13, .on = On::all} | kv{}).text(), "exit_at(layer=13, on=all) | kv(fill)");
  EXPECT_EQ(Policy(skip_layers{.layers = {9, 8}}).text(), "skip_layers(layers=[8,9])");
  EXPECT_EQ(Policy(skip_sublayers{.feed_forward = {3}}).text(), "skip_sublayers(feed_forward=[3])");
  EXPECT_EQ(Policy(skip_when{.similarity_above = 0.995f, .part = Part::attention}).text(),
            "skip_when(similarity_above=0.995, part=attention)");
}

TEST(PolicyText, ReadsPositionsSpacesAndCallsWithoutFields) {
  EXPECT_EQ(canonical("exit_when(0.9)|min_depth( 6 )"), "exit_when(confidence_at_least=0.9) | min_depth(layers=6)");
  EXPECT_EQ(canonical(" exit_at ( 3 , on = prompt ) "), "exit_at(layer=3, on=prompt)");
  EXPECT_EQ(canonical("skip_layers([ 8 , 3 ])"), "skip_layers(layers=[3,8])");
  EXPECT_EQ(canonical("skip_sublayers([1], [2,3], all)"), "skip_sublayers(attention=[1], feed_forward=[2,3], on=all)");
  EXPECT_EQ(canonical("full_depth() | patience(3, every=2, from_layer=4)"),
            "patience(agreeing=3, from_layer=4, every=2)");
  EXPECT_EQ(canonical("budget(6e-1) | full_depth_first(16)"), "budget(of_full=0.6) | full_depth_first(tokens=16)");
}

TEST(PolicyText, TheEndsOfRangesBelongToThem) {
  EXPECT_EQ(canonical("budget(1e-6)"), "budget(of_full=1e-06)");
  EXPECT_EQ(canonical("prune_tokens([9e-1, .5 ],2)"), "prune_tokens(keep=[0.9,0.5], from_layer=2)");
  EXPECT_EQ(canonical("merge_tokens([0.70])"), "merge_tokens(keep=0.7)");
  EXPECT_EQ(canonical("budget(tokens=64) | max_loss(0.1)"), "budget(tokens=64) | max_loss(attention=0.1)");
  EXPECT_EQ(
      canonical("exit_when(1, 0, 20, 1, similarity, 1, -1, 1024, 1024)"),
      "exit_when(confidence_at_least=1, margin_at_least=0, entropy_below=20, agreement_at_least=1, signal=similarity, "
      "at_least=1, below=-1, from_layer=1024, every=1024)");
  EXPECT_EQ(canonical("skip_when(-1)"), "skip_when(similarity_above=-1)");
  EXPECT_EQ(canonical("full_depth_first(1000000000)"), "full_depth_first(tokens=1000000000)");
}

TEST(PolicyText, EverySignalIsReadByItsName) {
  for (int s = 0; s < kSignals; ++s) {
    const Policy typed = exit_when{.signal = static_cast<Signal>(s), .at_least = 1.0f, .below = 1.0f};
    const std::string text = "exit_when(signal=" + std::string(kSignalNames[s]) + ", at_least=1, below=1)";
    EXPECT_EQ(typed.text(), text);
    EXPECT_TRUE(typed.check(28).has_value()) << text;
    EXPECT_EQ(canonical(text), text);
  }
}

TEST(PolicyText, TypedAndReadPoliciesAreEqualAndHashAlike) {
  const Policy typed = skip_when{.similarity_above = 0.995f} | exit_when{.margin_at_least = 0.25f, .every = 2} |
                       max_depth{.layers = 11} | budget{.of_full = 0.6f} | kv{};
  const Policy read = Policy::parse(typed.text()).value();
  EXPECT_TRUE(typed == read);
  EXPECT_EQ(typed.hash(), read.hash());
  EXPECT_EQ(typed.hash(), typed.ref().hash);
  EXPECT_FALSE(typed == Policy());
}

TEST(PolicyText, FloatsKeepTheirBits) {
  for (float value : {0.1f, 1.0f / 3.0f, std::nextafter(1.0f, 0.0f), 1e-6f, 1e-20f, 0.0f}) {
    const exit_when stage{.confidence_at_least = value};
    EXPECT_TRUE(Policy::parse(stage.text()).value() == Policy(stage)) << stage.text();
  }
  EXPECT_EQ(exit_when{.confidence_at_least = -0.0f}.text(), "exit_when(confidence_at_least=0)");
}

/// Each text with what its error must name: the column, and a part of the remedy.
struct Malformed {
  std::string text;
  int column;
  std::string names;
};

TEST(PolicyText, EveryErrorNamesItsColumnAndTheRemedy) {
  const Malformed cases[] = {
      {"", 1, "full_depth"},
      {"  ", 3, "full_depth"},
      {"exit_wen(0.9)", 1, "did you mean exit_when?"},
      {"exit_at(3) | mindepth(2)", 14, "did you mean min_depth?"},
      {"zzz", 1, "exit_at, exit_when"},
      {"my_stage(3)", 1, "one of your own joins in C++ only"},
      {"exit_at(layers=3)", 9, "did you mean layer?"},
      {"exit_when(conf=0.9)", 11, "did you mean confidence_at_least?"},
      {"exit_at(layer=3, layer=4)", 18, "given twice"},
      {"exit_at(3, layer=4)", 12, "given twice"},
      {"exit_at(layer=0)", 15, "write 1..1024"},
      {"exit_at(layer=1025)", 15, "write 1..1024"},
      {"exit_at(layer=-3)", 15, "write 1..1024"},
      {"exit_at(layer=6.5)", 15, "write 1..1024"},
      {"exit_at(layer=99999999999999999999)", 15, "write 1..1024"},
      {"exit_when(nan)", 11, "write 0..1"},
      {"exit_when(inf)", 11, "write 0..1"},
      {"exit_when(1.01)", 11, "write 0..1"},
      {"exit_when(-0.1)", 11, "write 0..1"},
      {"exit_when(entropy_below=1e-99)", 25, "write 0..20"},
      {"exit_when(0x1p-3)", 11, "write 0..1"},
      {"exit_when(confidence_at_least=)", 31, "confidence_at_least=0..1"},
      {"exit_when()", 1, "confidence_at_least, margin_at_least, entropy_below, agreement_at_least or signal"},
      {"exit_when(signal=similarty, at_least=0.9)", 18, "|similarity|"},
      {"exit_when(signal=similarity)", 1, "signal=similarity alone bounds nothing: give at_least or below too"},
      {"exit_when(at_least=0.9)", 1, "agreement_at_least or signal"},
      {"exit_when(0.9, below=0.9)", 1, "below of no signal: give signal=exit_confidence|"},
      {"exit_when(signal=similarity, at_least=1.5)", 1, "at_least=1.5 of similarity: write -1..1"},
      {"exit_when(signal=exit_margin, below=-0.5)", 1, "below=-0.5 of exit_margin: write 0..1"},
      {"exit_when(signal=agreeing, at_least=1025)", 1, "at_least=1025 of agreeing: write 1..1024"},
      {"exit_when(signal=agreeing, at_least=1048577)", 37, "write -1..1048576"},
      {"exit_when(from_layer=3)", 1, "lacks a condition"},
      {"exit_at", 1, "exit_at(layer=1..1024)"},
      {"exit_at()", 1, "exit_at(layer=1..1024)"},
      {"exit_at(on=all)", 1, "lacks layer"},
      {"exit_at(3, on=both)", 15, "generated|prompt|all"},
      {"exit_at(3, all, 4)", 17, "without a name"},
      {"exit_at(layer=3, all)", 18, "without a name"},
      {"exit_at(3", 10, "',' and another field, or ')'"},
      {"exit_at(3 4)", 11, "',' and another field, or ')'"},
      {"exit_at(3))", 11, "'|' and another stage"},
      {"exit_at(3) exit_at(4)", 12, "'|' and another stage"},
      {"exit_at(3) |", 13, "a stage"},
      {"| exit_at(3)", 1, "a stage"},
      {"exit_at(3) || exit_at(4)", 13, "a stage"},
      {"full_depth(3)", 12, "no fields"},
      {"skip_layers(8)", 13, "a list such as [2,3]"},
      {"skip_layers([])", 14, "a layer"},
      {"skip_layers([8,])", 16, "a layer"},
      {"skip_layers([8,0])", 16, "1..1024"},
      {"skip_layers([8,8])", 16, "listed twice"},
      {"skip_layers([8", 15, "']'"},
      {"silence_heads", 1, "silence_heads(heads=a list such as [2:1,3:4]"},
      {"silence_heads([3])", 17, "':' and a head"},
      {"silence_heads([3:])", 18, "a head of the layer"},
      {"silence_heads([])", 16, "layer:head"},
      {"silence_heads([3:0])", 16, "[2:1,3:4]"},
      {"silence_heads([0:1])", 16, "1..1024"},
      {"silence_heads([3:1,3:1])", 20, "listed twice"},
      {"silence_heads([3:1", 19, "']'"},
      {"silence_heads([3:1], factor=1.5)", 29, "0..1"},
      {"silence_heads([3:1]) | silence_heads([4:1])", 24, "given twice"},
      {"kv(verify) | silence_heads([3:1])", 14, "move silence_heads there"},
      {"skip_sublayers(on=all)", 1, "attention or feed_forward"},
      {"patience(1)", 10, "write 2..1024"},
      {"budget(0)", 8, "of_full"},
      {"budget(1.5)", 8, "1e-06..1"},
      {"budget", 1, "give of_full or tokens"},
      {"budget(tokens=0)", 1, "give of_full or tokens"},
      {"budget(tokens=-1)", 15, "0..1048576"},
      {"prune_tokens", 1, "prune_tokens(keep=0.001..1)"},
      {"prune_tokens(0)", 14, "0.001..1"},
      {"prune_tokens(0.5, by=size)", 22, "attention|norm|entropy|recent|random"},
      {"prune_tokens(0.5, schedule=list)", 28, "once|linear|cosine"},
      {"prune_tokens([0.9,2])", 19, "0.001..1"},
      {"prune_tokens([])", 15, "keep=0.001..1"},
      {"prune_tokens([0.9", 18, "']'"},
      {"prune_tokens([0.9,0.8], schedule=linear)", 1, "keep the list"},
      {"prune_tokens(0.5, blocks=0)", 26, "1..256"},
      {"prune_tokens(0.5) | prune_tokens(0.6)", 21, "given twice"},
      {"merge_tokens(0.5, alike_at_least=2)", 34, "-1..1"},
      {"fuse_tokens(noise=words)", 19, "none|digits"},
      {"max_loss", 1, "max_loss(attention=0..1)"},
      {"max_loss(0.1) | prune_tokens(0.5)", 17, "move prune_tokens to its left"},
      {"kv(verify) | merge_tokens(0.5)", 14, "move merge_tokens there"},
      {"full_depth_first(0)", 18, "1..1000000000"},
      {"min_depth(6) | exit_at(3)", 16, "move exit_at to its left"},
      {"min_depth(6) | full_depth | exit_at(3)", 29, "right of the limit min_depth"},
      {"kv(fill) | exit_at(3) | kv(fill)", 25, "given twice"},
      {"kv(none)", 4, "fill"},
      {"kv", 1, "kv(mode=fill|settle_later|verify)"},
      {"kv(verify, max_rows=0)", 21, "1..64"},
      {"kv(verify, 65)", 12, "1..64"},
      {"kv(verify) | exit_at(3)", 14, "move exit_at there"},
      {"skip_layers([2]) | kv(verify) | draft_ngram | exit_at(3)", 47, "right of kv(verify)"},
      {"draft_ngram", 1, "add | kv(verify)"},
      {"exit_at(3) | draft_ngram | kv(settle_later)", 14, "add | kv(verify)"},
      {"draft_ngram | draft_ngram | kv(verify)", 15, "given twice"},
      {"defer_head", 1, "add | kv(verify)"},
      {"defer_head(15) | kv(verify)", 12, "16..1048576"},
      {"draft_ngram(3) | kv(verify)", 13, "draft_ngram has no fields"},
      {"exit_at(3)\x01", 11, "'?'"},
      {std::string("exit_at(3)\0", 11), 11, "'?'"},
      {std::string(5000, ' '), 4097, "at most 4096"},
  };
  for (const Malformed& c : cases) {
    const auto policy = Policy::parse(c.text);
    ASSERT_FALSE(policy.has_value()) << c.text;
    const Error& error = policy.error();
    EXPECT_EQ(error.code, ErrorCode::argument);
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    const std::string column = "column " + std::to_string(c.column) + ":";
    EXPECT_NE(error.message.find(column), std::string::npos) << c.text << "\n" << error.message;
    EXPECT_NE(error.message.find(c.names), std::string::npos) << c.text << "\n" << error.message;
  }
}

TEST(PolicyText, LongWordsAreCutInMessages) {
  const auto policy = Policy::parse(std::string(4000, 'x'));
  ASSERT_FALSE(policy.has_value());
  EXPECT_LT(policy.error().message.size(), 500u);  // the names of all stages take 400
}

TEST(PolicyText, SixtyFourStagesAreReadAndOneMoreIsNot) {
  std::string text = "exit_at(1)";
  for (int i = 1; i < kMaxStages; ++i) text += "|exit_at(1)";
  EXPECT_TRUE(Policy::parse(text).has_value());
  EXPECT_FALSE(Policy::parse(text + "|exit_at(1)").has_value());
}

TEST(PolicyCheck, NamesTheModelsLayers) {
  const auto message = [](const Policy& policy, int32_t n_layers) {
    const auto checked = policy.check(n_layers);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(message(exit_at{.layer = 40}, 28), "exit_at: layer=40 in a model of 28 layers: write 1..28");
  EXPECT_EQ(message(Policy::parse("exit_at(40)").value(), 28),
            "exit_at: layer=40 in a model of 28 layers: write 1..28");
  EXPECT_EQ(message(exit_at{.layer = 28}, 28), "");
  EXPECT_NE(message(exit_when{.confidence_at_least = 0.9f, .from_layer = 29}, 28), "");
  EXPECT_NE(message(skip_layers{.layers = {2, 29}}, 28).find("[29] in a model of 28"), std::string::npos);
  EXPECT_NE(message(exit_at{.layer = 3} | min_depth{.layers = 29}, 28), "");
}

TEST(PolicyCheck, CatchesTypedValuesOutOfRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Policy bad[] = {exit_at{},
                        exit_at{.layer = -1},
                        exit_at{.layer = 3, .on = static_cast<On>(7)},
                        exit_when{.confidence_at_least = nan},
                        exit_when{.confidence_at_least = 0.9f, .margin_at_least = 1.5f},
                        exit_when{.entropy_below = inf},
                        exit_when{.confidence_at_least = 0.9f, .every = 0},
                        exit_when{.signal = Signal::similarity},
                        exit_when{.confidence_at_least = 0.9f, .at_least = 0.5f},
                        exit_when{.signal = Signal::similarity, .below = nan},
                        exit_when{.signal = Signal::similarity, .at_least = 1.5f},
                        exit_when{.signal = static_cast<Signal>(200), .at_least = 0.5f},
                        exit_when{.confidence_at_least = 0.9f, .from_layer = 0},
                        patience{},
                        skip_layers{},
                        skip_layers{.layers = {0, 3}},
                        skip_layers{.layers = {2000}},
                        skip_sublayers{},
                        skip_when{.similarity_above = nan},
                        min_depth{},
                        max_depth{},
                        budget{},
                        budget{.of_full = nan},
                        budget{.of_full = 1.01f},
                        full_depth_first{},
                        kv{.mode = KvMode::verify, .max_rows = 0},
                        draft_ngram{},
                        defer_head{.hot = 15} | kv{.mode = KvMode::verify},
                        draft_ngram{} | kv{},
                        kv{.mode = KvMode::verify} | exit_at{.layer = 3}};
  for (const Policy& policy : bad) EXPECT_FALSE(policy.check(28).has_value()) << policy.text();
}

TEST(PolicyHelp, NamesEveryStageAndField) {
  const std::string help = stage_help();
  for (const char* word : {"full_depth",      "exit_at",          "exit_when",        "confidence_at_least",
                           "margin_at_least", "entropy_below",    "from_layer",       "every",
                           "patience",        "agreeing",         "skip_layers",      "skip_sublayers",
                           "skip_when",       "similarity_above", "min_depth",        "max_depth",
                           "budget",          "of_full",          "full_depth_first", "kv",
                           "settle_later",    "draft_ngram"}) {
    EXPECT_NE(help.find(word), std::string::npos) << word;
  }
}

}  // namespace
}  // namespace fathom
