// Full depth and a policy in one process, decoding the same text by turns: what a lossless policy gains, measured where
// both see the same minute of the machine. One JSON request a line. Next: speed.py, which asks.
//   bench_pairs MODEL THREADS CONTEXT [--target NAME] [--numerics NAME]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/json_lines.h"
#include "fathom/fathom.h"
#include "src/engine/decoder.h"

namespace fathom {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;
using Clock = std::chrono::steady_clock;

constexpr int64_t kSlice = 8;                         // tokens that one side writes before the other's turn
constexpr auto kRest = std::chrono::milliseconds(1);  // workers of a pool spin for 50 us after their work
constexpr int32_t kBatchTokens = 512;                 // cells of a text in a batch

// A text with what it is written under.
struct Place {
  Place(const Tokenizer& tokenizer, GenerateOptions o)
      : options(std::move(o)), lane(tokenizer, options), drafting(options) {}
  GenerateOptions options;
  Lane lane;
  Drafting drafting;
};

// What passes read of the weights, and what they drafted.
struct Counts {
  int64_t passes = 0, body = 0, head = 0, shortlist = 0, own_rows = 0, settles = 0;
};

// Texts in a session of their own, written under one policy in timed turns.
class Side {
 public:
  Side(Session& session, const std::vector<Ids>& prompts, const GenerateOptions& options)
      : policy_(options.policy), decoder_(session, policy_, nullptr) {
    GenerateOptions each = options;
    if (decoder_.verifies()) chooser_ = goodput_chooser();
    each.draft_chooser = chooser_.get();
    for (size_t i = 0; i < prompts.size(); ++i) {
      session.truncate(static_cast<int32_t>(i), 0).value();
      places_.push_back(std::make_unique<Place>(session.model().tokenizer(), each));
      Place& place = *places_.back();
      place.lane.sequence = static_cast<int32_t>(i);
      place.lane.prompt = prompts[i];
      place.drafting.begin(place.lane, {}, prompts[i]);
      lanes_.push_back(&place.lane);
    }
    while (std::any_of(lanes_.begin(), lanes_.end(), [](const Lane* lane) { return !lane->prompt.empty(); })) {
      decoder_.pass(lanes_).value();
    }
    rest();
  }

  /// Runs passes until so many tokens are written or a text has ended; how long that took.
  double run(int64_t tokens) {
    const auto begin = Clock::now();
    while (!ended() && n_tokens() < tokens) {
      decoder_.pass(lanes_).value();
      count();
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    rest();
    return seconds;
  }

  bool ended() const {
    return std::any_of(lanes_.begin(), lanes_.end(), [](const Lane* lane) { return lane->writer.ended().has_value(); });
  }
  int64_t n_tokens() const {
    int64_t n = 0;
    for (const Lane* lane : lanes_) n += lane->writer.n_tokens();
    return n;
  }
  int64_t n_texts() const { return std::ssize(lanes_); }
  const Counts& counts() const { return counts_; }
  /// Hands over a text; nothing may be run after it.
  Generation take(size_t i) { return std::move(*lanes_[i]).result(); }

 private:
  static void rest() { std::this_thread::sleep_for(kRest); }

  // Rows drafted by the savings read the layers and the shortlist each; what confirms them reads the head.
  void count() {
    int64_t own = 0;
    bool runs_body = false;
    for (const Lane* lane : lanes_) {
      const auto rows = static_cast<int64_t>(lane->own.size() + lane->n_certain);
      own = std::max(own, rows);
      counts_.own_rows += rows;
      runs_body |= lane->choice.own == 0;
    }
    ++counts_.passes;
    ++counts_.head;
    counts_.body += own + (runs_body ? 1 : 0);
    counts_.shortlist += policy_.settings().hot_tokens > 0 ? own : 0;
    counts_.settles += own > 0 ? 1 : 0;
  }

  const Policy policy_;
  Decoder decoder_;
  std::unique_ptr<DraftChooser> chooser_;  // of all texts, as in generate_batch()
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<Lane*> lanes_;
  Counts counts_;
};

struct Compared {
  size_t tokens = 0;
  int64_t differing = 0;
};

// Two texts as far as both go; whole: and where and why each ends.
Compared compare(const Generation& a, const Generation& b, bool whole) {
  const size_t both = std::min(a.tokens.size(), b.tokens.size()), longer = std::max(a.tokens.size(), b.tokens.size());
  Compared out{both};
  for (size_t i = 0; i < both; ++i) out.differing += a.tokens[i] != b.tokens[i] ? 1 : 0;
  if (!whole) return out;
  out.tokens = longer;
  out.differing += static_cast<int64_t>(longer - both) + (a.stop_reason != b.stop_reason ? 1 : 0);
  return out;
}

// The two sides' turns: each writes its slice, in the order A B B A.
class Turns {
 public:
  Turns(Side& base, Side& tested) : base_(base), tested_(tested) {}

  /// One slice of each; with `level`, base then writes as many tokens as tested has.
  void take(bool level) {
    const int64_t base_from = base_.n_tokens(), tested_from = tested_.n_tokens();
    const int64_t base_goal = base_from + kSlice * base_.n_texts();
    const int64_t tested_goal = tested_from + kSlice * tested_.n_texts();
    const bool base_first = n_ % 4 == 0 || n_ % 4 == 3;
    ++n_;
    double base = base_first ? base_.run(base_goal) : 0;
    const double tested = tested_.run(tested_goal);
    if (level) {
      base += base_.run(tested_.n_tokens() + (tested_.ended() ? 1 : 0));
    } else if (!base_first) {
      base = base_.run(base_goal);
    }
    const int64_t base_n = base_.n_tokens() - base_from, tested_n = tested_.n_tokens() - tested_from;
    slices_.push_back({base_n, base, tested_n, tested});
  }

  Json slices() const { return slices_; }

 private:
  Side& base_;
  Side& tested_;
  std::vector<Json> slices_;
  int n_ = 0;
};

class Pairs {
 public:
  Pairs(const Model& model, const bench::ServeOptions& options)
      : model_(model),
        threads_(options.open.threads),
        full_(make(options.context, 1)),
        tested_(make(options.context, 1)) {}

  Json answer(const Json& request) {
    const auto work = request.at("work").get<std::string>();
    if (work == "encode") return encode(request);
    if (work == "pair") return pair(request);
    if (work == "batch") return batch(request);
    throw std::invalid_argument("'" + work + "' is no work: ask for encode, pair or batch");
  }

 private:
  Session make(int32_t tokens, int32_t sequences) const {
    return Session::make(model_, {.max_tokens = tokens, .max_sequences = sequences, .threads = threads_}).value();
  }

  Json encode(const Json& request) const {
    const auto text = request.at("text").get<std::string>();
    const Tokenizer& tokenizer = model_.tokenizer();
    if (!request.value("chat", false)) {
      return {{"ids", tokenizer.encode(text, {.bos = request.value("bos", true)}).value()}};
    }
    const std::vector<ChatMessage> messages = {{"user", text}};
    return {{"ids", ChatTemplate::make(tokenizer).value().encode(messages).value()}};
  }

  GenerateOptions options_of(const Json& request, std::string_view policy) const {
    GenerateOptions out;
    out.max_new_tokens = request.at("n").get<int32_t>();
    out.policy = Policy::parse(policy).value();
    out.sample.temperature = request.value("temperature", 0.0F);
    out.sample.top_k = request.value("top_k", 0);
    out.sample.top_p = request.value("top_p", 1.0F);
    out.sample.min_p = request.value("min_p", 0.0F);
    out.sample.repeat_penalty = request.value("repeat_penalty", 1.0F);
    out.sample.seed = request.value("seed", uint64_t{0});
    check(out, model_.config()).value();
    return out;
  }

  /// The same text under full depth and under a policy; the first token, which the prompt predicts, is not timed.
  Json pair(const Json& request) {
    const std::vector<Ids> prompts = {request.at("prompt").get<Ids>()};
    Side full(full_, prompts, options_of(request, "full_depth"));
    Side tested(tested_, prompts, options_of(request, request.at("policy").get<std::string>()));
    Turns turns(full, tested);
    while (!full.ended() || !tested.ended()) turns.take(/*level=*/true);
    const Generation expected = full.take(0), got = tested.take(0);
    return reply(turns, tested.counts(), {&got, 1}, compare(expected, got, /*whole=*/true));
  }

  /// Several texts side by side, and one of them alone, under one policy, until the first ends. `ended`: those that did
  /// so before their limit, which is a short measurement.
  Json batch(const Json& request) {
    const auto prompts = request.at("prompts").get<std::vector<Ids>>();
    const auto one = request.at("alone").get<size_t>();
    const GenerateOptions options = options_of(request, request.at("policy").get<std::string>());
    const auto n = static_cast<int32_t>(prompts.size());
    if (!many_ || many_->options().max_sequences != n) many_.emplace(make(kBatchTokens, n));
    Side alone(full_, {prompts.at(one)}, options), together(*many_, prompts, options);
    Turns turns(alone, together);
    while (!alone.ended() && !together.ended()) turns.take(/*level=*/false);
    const Generation expected = alone.take(0);
    std::vector<Generation> got;
    std::vector<size_t> ended;
    for (size_t i = 0; i < prompts.size(); ++i) {
      got.push_back(together.take(i));
      if (got[i].stop_reason == StopReason::end_of_text) ended.push_back(i);
    }
    Json out = reply(turns, together.counts(), got, compare(expected, got[one], /*whole=*/false));
    out["ended"] = ended;
    return out;
  }

  // Slices: [tokens of full depth or the text alone, its seconds, tokens of the other side, its seconds].
  static Json reply(const Turns& turns, const Counts& counts, std::span<const Generation> got, Compared compared) {
    int64_t proposed = 0, accepted = 0;
    for (const Generation& generation : got) {
      proposed += generation.proposed;
      accepted += generation.accepted;
    }
    return {{"tokens", compared.tokens},     {"differing", compared.differing},
            {"slices", turns.slices()},      {"proposed", proposed},
            {"accepted", accepted},          {"passes", counts.passes},
            {"body", counts.body},           {"head", counts.head},
            {"shortlist", counts.shortlist}, {"own_rows", counts.own_rows},
            {"settles", counts.settles}};
  }

  const Model& model_;
  int threads_;
  Session full_, tested_;
  std::optional<Session> many_;
};

int serve(int argc, char** argv) {
  if (argc < 4) throw std::invalid_argument("usage: bench_pairs MODEL THREADS CONTEXT [OPTION VALUE...]");
  const bench::ServeOptions options = bench::serve_options(argc, argv, 4);
  const Model model = Model::open(options.path, options.open).value();
  Pairs pairs(model, options);
  bench::put_line({{"system", model.tables()[0]->name}, {"numerics", model.fingerprint().numeric_path}});
  bench::answer_lines([&](const Json& request) { return pairs.answer(request); });
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::bench::run("bench_pairs", fathom::serve, argc, argv); }
