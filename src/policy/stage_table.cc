// The rows of the table: name, meaning, fields and ranges of every built-in stage. Next in the flow: text.cc.
#include "src/policy/stage_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

namespace fathom::policy_text {
namespace {

constexpr std::string_view kOnWords[] = {"generated", "prompt", "all"};
constexpr std::string_view kPartWords[] = {"layer", "attention", "feed_forward"};
constexpr std::string_view kLightWords[] = {"none", "feed_forward", "attention"};
constexpr std::string_view kOrderWords[] = {"attention", "norm", "entropy", "recent", "random"};
constexpr std::string_view kScheduleWords[] = {"once", "linear", "cosine"};
constexpr std::string_view kNoiseWords[] = {"none",        "digits",     "delimiters", "punctuation",
                                            "word_begins", "word_parts", "spaces",     "other"};
constexpr std::string_view kKvWords[] = {"fill", "settle_later", "verify"};

constexpr double kMaxCount = 1e9;
constexpr double kSmallestShare = 1e-3f;
constexpr double kSmallestBudget = 1e-6f;  // "above 0", as the float that is stored
constexpr double kMostTokens = 1 << 20;    // of a text
constexpr double kMaxEntropy = 20;         // nats; the logarithm of a vocabulary of 485 million
constexpr double kLowestSignal = -1, kHighestSignal = kMostTokens;  // of all signals
constexpr struct {
  double low, high;
} kSignalRanges[kSignals] = {{0, 1},
                             {0, 1},
                             {0, kMaxEntropy},
                             {1, kMaxPolicyLayers},
                             {-1, 1},
                             {-1, 1},
                             {-1, 1},
                             {0, kMaxEntropy},
                             {0, 1},
                             {0, 1},
                             {0, 2},
                             {0, 1},
                             {0, kTokenClasses - 1},
                             {0, 1},
                             {0, 1},
                             {0, 1},
                             {0, 1},
                             {0, kMostTokens},
                             {0, 1},
                             {0, kMostTokens},
                             {-1, 1},
                             {0, kMostTokens},
                             {0, kMostTokens}};
constexpr bool kRequired = true;
constexpr bool kOptional = false;

template <class S, auto Member>
void* at(void* stage) {
  return &(static_cast<S*>(stage)->*Member);
}

template <class S, auto Member>
constexpr Field count(const char* name, bool required, double low, double high, const char* doc) {
  return {name, FieldType::count, required, low, high, {}, &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field layer(const char* name, bool required, const char* doc) {
  return {name, FieldType::layer, required, 1, kMaxPolicyLayers, {}, &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field number(const char* name, FieldType type, double low, double high, const char* doc,
                       bool required = true) {
  return {name,           type, required && (type == FieldType::number || type == FieldType::shares), low, high, {},
          &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field layers(const char* name, bool required, const char* doc) {
  return {name, FieldType::layers, required, 1, kMaxPolicyLayers, {}, &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field heads(const char* name, const char* doc) {
  return {name, FieldType::heads, kRequired, 1, kMaxPolicyLayers, {}, &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field word(const char* name, bool required, std::span<const std::string_view> words, const char* doc) {
  return {name, FieldType::word, required, 0, 0, words, &at<S, Member>, doc};
}
template <class S, auto Member>
constexpr Field signal(const char* name, const char* doc) {
  return {name, FieldType::signal, kOptional, 0, 0, kSignalNames, &at<S, Member>, doc};
}
template <class S>
constexpr Field on() {
  return word<S, &S::on>("on", kOptional, kOnWords, "rows it acts on");
}
template <class S>
constexpr Field from_layer() {
  return layer<S, &S::from_layer>("from_layer", kOptional,
                                  "first boundary it looks at: this many layers are behind the row");
}
template <class S>
constexpr Field every() {
  return count<S, &S::every>("every", kOptional, 1, kMaxPolicyLayers, "boundaries from one check to the next");
}

constexpr Field kExitAt[] = {
    layer<exit_at, &exit_at::layer>("layer", kRequired, "last layer the row runs"),
    on<exit_at>(),
};
constexpr Field kExitWhen[] = {
    number<exit_when, &exit_when::confidence_at_least>("confidence_at_least", FieldType::condition, 0, 1,
                                                       "largest probability of this layer's own answer"),
    number<exit_when, &exit_when::margin_at_least>("margin_at_least", FieldType::condition, 0, 1,
                                                   "largest minus second largest probability"),
    number<exit_when, &exit_when::entropy_below>("entropy_below", FieldType::condition, 0, kMaxEntropy,
                                                 "entropy of that answer, nats"),
    number<exit_when, &exit_when::agreement_at_least>("agreement_at_least", FieldType::condition, 0, 1,
                                                      "calibrated probability that it is full depth's"),
    signal<exit_when, &exit_when::signal>("signal", "any signal, which the two below bound"),
    number<exit_when, &exit_when::at_least>("at_least", FieldType::condition, kLowestSignal, kHighestSignal,
                                            "the signal is this much or more"),
    number<exit_when, &exit_when::below>("below", FieldType::condition, kLowestSignal, kHighestSignal,
                                         "the signal is less"),
    from_layer<exit_when>(),
    every<exit_when>(),
    on<exit_when>(),
};
constexpr Field kPatience[] = {
    count<patience, &patience::agreeing>("agreeing", kRequired, 2, kMaxPolicyLayers, "checks in a row with one answer"),
    from_layer<patience>(),
    every<patience>(),
    on<patience>(),
};
constexpr Field kSkipLayers[] = {
    layers<skip_layers, &skip_layers::layers>("layers", kRequired, "layers that are not run"),
    on<skip_layers>(),
};
constexpr Field kSkipSublayers[] = {
    layers<skip_sublayers, &skip_sublayers::attention>("attention", kOptional, "layers whose attention is not run"),
    layers<skip_sublayers, &skip_sublayers::feed_forward>("feed_forward", kOptional,
                                                          "layers whose feed-forward half is not run"),
    on<skip_sublayers>(),
};
constexpr Field kSkipWhen[] = {
    number<skip_when, &skip_when::similarity_above>("similarity_above", FieldType::number, -1, 1,
                                                    "cosine of the state before and after the part just run"),
    word<skip_when, &skip_when::part>("part", kOptional, kPartWords, "what is compared, and skipped next"),
    from_layer<skip_when>(),
    on<skip_when>(),
};
constexpr Field kRoute[] = {
    number<route, &route::utility_below>("utility_below", FieldType::number, 0, 1,
                                         "predicted probability that the row needs the coming layer"),
    word<route, &route::light>("light", kOptional, kLightWords, "what of the layer rows below it still run"),
    from_layer<route>(),
    on<route>(),
};
constexpr Field kSilenceHeads[] = {
    heads<silence_heads, &silence_heads::heads>("heads", "query heads, written layer:head; both count from 1"),
    number<silence_heads, &silence_heads::factor>("factor", FieldType::number, 0, 1,
                                                  "of what they add; 0 leaves what only they need unread", kOptional),
    on<silence_heads>(),
};
constexpr Field kMinDepth[] = {
    layer<min_depth, &min_depth::layers>("layers", kRequired, "layers every row really runs"),
};
constexpr Field kMaxDepth[] = {
    layer<max_depth, &max_depth::layers>("layers", kRequired, "deepest layer a row runs"),
    on<max_depth>(),
};
constexpr Field kBudget[] = {
    number<budget, &budget::of_full>("of_full", FieldType::condition, kSmallestBudget, 1,
                                     "share of the work at full depth"),
    count<budget, &budget::tokens>("tokens", kOptional, 0, kMostTokens, "of a text that go on behind layer 1; 0: all"),
};
constexpr Field kFullDepthFirst[] = {
    count<full_depth_first, &full_depth_first::tokens>("tokens", kRequired, 1, kMaxCount,
                                                       "generated rows at full depth"),
};
constexpr Field kFullDepthAt[] = {
    word<full_depth_at, &full_depth_at::tokens>("tokens", kRequired, kTokenClassNames, "class of the row's own token"),
};
constexpr Field kFullDepthAfter[] = {
    number<full_depth_after, &full_depth_after::low_margin>("low_margin", FieldType::number, 0, 1,
                                                            "margins of the last predictions below this"),
    count<full_depth_after, &full_depth_after::rows>("rows", kOptional, 1, kLastMargins, "predictions that are low"),
};
constexpr Field kSettleEvery[] = {
    count<settle_every, &settle_every::tokens>("tokens", kRequired, 1, kMaxOwed, "rows from one settling to the next"),
};
constexpr Field kKv[] = {
    word<kv, &kv::mode>("mode", kRequired, kKvWords,
                        "fill: projected at once; settle_later: exact before they are read; verify: the token too"),
    count<kv, &kv::max_rows>("max_rows", kOptional, 1, kMaxOwed, "rows of a sequence that may owe layers"),
};
constexpr Field kDeferHead[] = {
    count<defer_head, &defer_head::hot>("hot", kOptional, 16, 1 << 20, "tokens of the shortlist"),
};

constexpr Field kScreenChecks[] = {
    count<screen_checks, &screen_checks::tokens>("tokens", kOptional, 16, 1 << 20, "tokens of the shortlist"),
};

template <class S>
constexpr Field keep() {
  return number<S, &S::keep>("keep", FieldType::shares, kSmallestShare, 1,
                             "share of the text's tokens that stays, or a list of them by boundary");
}
template <class S>
constexpr Field schedule() {
  return word<S, &S::schedule>("schedule", kOptional, kScheduleWords, "how the text comes down to it");
}
template <class S>
constexpr Field blocks() {
  return count<S, &S::blocks>("blocks", kOptional, 1, 256, "what stays is a multiple of it");
}
template <class S>
constexpr Field protect_first() {
  return count<S, &S::protect_first>("protect_first", kOptional, 0, kMostTokens, "tokens of the text that always stay");
}
constexpr Field kPruneTokens[] = {
    keep<prune_tokens>(),
    from_layer<prune_tokens>(),
    word<prune_tokens, &prune_tokens::by>("by", kOptional, kOrderWords, "what makes a token matter"),
    schedule<prune_tokens>(),
    blocks<prune_tokens>(),
    protect_first<prune_tokens>(),
    on<prune_tokens>(),
};
constexpr Field kMergeTokens[] = {
    keep<merge_tokens>(),
    from_layer<merge_tokens>(),
    number<merge_tokens, &merge_tokens::alike_at_least>("alike_at_least", FieldType::condition, -1, 1,
                                                        "cosine of the two tokens' keys"),
    schedule<merge_tokens>(),
    blocks<merge_tokens>(),
    protect_first<merge_tokens>(),
    on<merge_tokens>(),
};
constexpr Field kFuseTokens[] = {
    number<fuse_tokens, &fuse_tokens::alike_at_least>(
        "alike_at_least", FieldType::number, -1, 1, "cosine of what the two are embedded as; 1: one token", kOptional),
    word<fuse_tokens, &fuse_tokens::noise>("noise", kOptional, kNoiseWords, "tokens of this class are alike as well"),
};
constexpr Field kMaxLoss[] = {
    number<max_loss, &max_loss::attention>("attention", FieldType::number, 0, 1,
                                           "share of its attention that a text may lose with dropped tokens"),
};

constexpr Field kWordExit[] = {
    number<word_exit, &word_exit::agreement_at_least>("agreement_at_least", FieldType::number, 0, 1,
                                                      "calibrated probability that the label is full depth's"),
};

/// A signal is bounded, and a bound is of a signal and in its range.
std::string unfit_bounds(const void* stage) {
  const auto& s = *static_cast<const exit_when*>(stage);
  const std::pair<const char*, std::optional<float>> bounds[] = {{"at_least", s.at_least}, {"below", s.below}};
  if (s.signal != kNoSignal && !s.at_least && !s.below) {
    return fmt::format("signal={} alone bounds nothing: give at_least or below too",
                       kSignalNames[static_cast<size_t>(s.signal)]);
  }
  for (const auto& [name, bound] : bounds) {
    if (!bound) continue;
    if (s.signal == kNoSignal)
      return fmt::format("{} of no signal: give signal={}", name, fmt::join(kSignalNames, "|"));
    const auto& range = kSignalRanges[static_cast<size_t>(s.signal)];
    if (range.low <= *bound && *bound <= range.high) continue;
    return fmt::format("{}={} of {}: write {}..{}", name, *bound, kSignalNames[static_cast<size_t>(s.signal)],
                       range.low, range.high);
  }
  return {};
}

/// A list says itself how a text comes down.
template <class S>
std::string unfit_list(const void* stage) {
  const auto& s = *static_cast<const S*>(stage);
  return s.keep.size() <= 1 || s.schedule == Schedule::once
             ? ""
             : "a list of shares beside a schedule: keep the list, or give one share";
}

/// A budget bounds something.
std::string unfit_budget(const void* stage) {
  const auto& s = *static_cast<const budget*>(stage);
  return s.of_full || s.tokens > 0 ? "" : "nothing is named: give of_full or tokens";
}

template <class S>
constexpr S kDefaults{};

template <class S>
constexpr StageInfo row(const char* doc, std::span<const Field> fields, size_t one_of_first = 0,
                        std::string (*unfit)(const void*) = nullptr) {
  return {S::traits.name, S::traits.kind, doc, fields, one_of_first, &kDefaults<S>, unfit, Configures<S>};
}

constexpr StageInfo kTable[] = {
    row<exit_at>("the row leaves after this layer", kExitAt),
    row<exit_when>("the row leaves where every condition named holds", kExitWhen, 5, unfit_bounds),
    row<patience>("the row leaves when checks in a row gave the same token", kPatience),
    row<skip_layers>("these layers are not run", kSkipLayers),
    row<skip_sublayers>("these halves of layers are not run", kSkipSublayers, 2),
    row<skip_when>("the next layer or half is not run where the one just run changed little", kSkipWhen),
    row<route>("rows that a router finds not to need the coming layer run a part of it, or nothing", kRoute),
    row<silence_heads>("some heads of some layers add nothing, or less", kSilenceHeads),
    row<min_depth>("every row really runs its first layers", kMinDepth),
    row<max_depth>("no row goes deeper than this layer", kMaxDepth),
    row<budget>("a sequence's generated rows spend at most this share of their work, or a text keeps so many tokens",
                kBudget, 0, unfit_budget),
    row<full_depth_first>("the first generated rows of a sequence run at full depth", kFullDepthFirst),
    row<full_depth_at>("rows of one class of tokens run at full depth", kFullDepthAt),
    row<full_depth_after>("a row runs at full depth behind predictions of low margins", kFullDepthAfter),
    row<kv>("how KV cells of layers that were not run come to be", kKv),
    row<settle_every>("filled KV cells become exact in turn; in place of kv", kSettleEvery),
    row<draft_ngram>("tokens are drafted from repetitions of the text; needs kv(verify)", {}),
    row<defer_head>("rows guess from a shortlist of the head, which they owe; needs kv(verify)", kDeferHead),
    row<screen_head>("bounds from the head's high bits rule tokens out; the rest is read in full", {}),
    row<screen_checks>("exit checks read a shortlist of the head; the whole head confirms what would leave",
                       kScreenChecks),
    row<word_exit>("texts whose words alone say their label run no layer; of label tasks", kWordExit),
    row<prune_tokens>("the tokens of a text that matter least are dropped; of encoders", kPruneTokens, 0,
                      unfit_list<prune_tokens>),
    row<merge_tokens>("tokens of a text join those most like them; of encoders", kMergeTokens, 0,
                      unfit_list<merge_tokens>),
    row<fuse_tokens>("a token joins the one before it where both are the same, or noise; of encoders", kFuseTokens),
    row<max_loss>("tokens stay where the text would lose too much of its attention; of encoders", kMaxLoss),
};

template <size_t... I>
constexpr bool rows_match_alternatives(std::index_sequence<I...>) {
  return sizeof...(I) == std::size(kTable) &&
         (... && (kTable[I].name == std::variant_alternative_t<I, AnyStage>::traits.name));
}
static_assert(rows_match_alternatives(std::make_index_sequence<std::variant_size_v<AnyStage>>{}));

template <size_t... I>
AnyStage make_alternative(size_t index, std::index_sequence<I...>) {
  AnyStage stage;
  ((index == I ? void(stage.emplace<I>()) : void()), ...);
  return stage;
}

}  // namespace

std::span<const StageInfo> stage_table() { return kTable; }

AnyStage make_stage(size_t index) {
  return make_alternative(index, std::make_index_sequence<std::variant_size_v<AnyStage>>{});
}

}  // namespace fathom::policy_text
