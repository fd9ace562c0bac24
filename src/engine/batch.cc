// generate_batch(): lanes come and go; every pass takes in one step of each. Next in the flow: decoder.cc.
#include "fathom/engine/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "src/engine/decoder.h"
#include "src/engine/group_scope.h"

namespace fathom {
namespace {

// A text in one sequence of the session. Lanes refer to their options: neither moves.
struct Place {
  Place(const Tokenizer& tokenizer, GenerateOptions o)
      : options(std::move(o)), lane(tokenizer, options), drafting(options) {}
  void begin(Session& session, int32_t sequence, std::span<const int32_t> prompt) {
    lane.sequence = sequence;
    lane.prompt = prompt;
    drafting.begin(lane, {}, prompt);
    expectation.emplace(session, lane);
  }

  GenerateOptions options;
  Lane lane;
  Drafting drafting;
  std::optional<Expectation> expectation;
  size_t item = 0;
  Clock::time_point begun = Clock::now();
  double prefill_seconds = 0;
};

class Batch {
 public:
  Batch(Session& session, std::span<const BatchItem> items, const BatchOptions& options)
      : session_(session),
        items_(items),
        options_(options),
        decoder_(session, options.each.policy, nullptr),
        places_(static_cast<size_t>(session.options().max_sequences)),
        out_(items.size()) {
    if (options.each.policy.settings().kv == KvMode::verify) chooser_ = goodput_chooser();
  }

  Result<std::vector<Generation>> run() {
    for (;;) {
      FATHOM_TRY(fill());
      std::vector<Lane*> lanes;
      for (const auto& place : places_) {
        if (place != nullptr) lanes.push_back(&place->lane);
      }
      if (lanes.empty()) return std::move(out_);
      FATHOM_TRY(decoder_.pass(lanes));
      if (options_.on_pass != nullptr && !cancelled_ && !options_.on_pass(options_.context)) cancel();
      for (auto& place : places_) {
        if (place != nullptr) FATHOM_TRY(look_at(place));
      }
    }
  }

 private:
  // Gives each free sequence a text.
  Result<void> fill() {
    for (size_t i = 0; i < places_.size() && next_ < items_.size(); ++i) {
      if (places_[i] != nullptr) continue;
      const BatchItem& item = items_[next_];
      GenerateOptions options = options_.each;
      options.sample.seed = item.seed;
      options.sequence = item.sequence;
      options.on_token = nullptr;
      options.draft_source = nullptr;
      if (options.draft_chooser == nullptr) options.draft_chooser = chooser_.get();
      FATHOM_TRY(session_.truncate(static_cast<int32_t>(i), 0));
      places_[i] = std::make_unique<Place>(session_.model().tokenizer(), std::move(options));
      Place& place = *places_[i];
      place.item = next_++;
      place.begin(session_, static_cast<int32_t>(i), item.prompt);
    }
    return {};
  }

  // Ends the texts that run, and those that are not begun.
  void cancel() {
    cancelled_ = true;
    for (; next_ < items_.size(); ++next_) out_[next_].stop_reason = StopReason::cancelled;
  }

  // Times its first token, and hands over a text that has ended.
  Result<void> look_at(std::unique_ptr<Place>& place) {
    Lane& lane = place->lane;
    if (place->prefill_seconds == 0 && lane.prompt.empty()) place->prefill_seconds = seconds_since(place->begun);
    if (cancelled_ && !lane.writer.ended()) lane.writer.end(StopReason::cancelled);
    if (!lane.writer.ended()) return {};
    Generation& out = out_[place->item];
    out = std::move(lane).result();
    out.prefill_seconds = place->prefill_seconds;
    out.decode_seconds = out.decoded > 0 ? seconds_since(place->begun) - place->prefill_seconds : 0;
    out.kv_bytes = session_.cache().bytes();
    if (options_.on_done != nullptr && !cancelled_ && !options_.on_done(options_.context, place->item, out)) {
      cancel();
    }
    FATHOM_TRY(session_.truncate(lane.sequence, 0));
    place.reset();
    return {};
  }

  Session& session_;
  std::span<const BatchItem> items_;
  const BatchOptions& options_;
  Decoder decoder_;
  std::unique_ptr<DraftChooser> chooser_;       // what it learns of times holds for all
  std::vector<std::unique_ptr<Place>> places_;  // [max_sequences]
  std::vector<Generation> out_;
  size_t next_ = 0;
  bool cancelled_ = false;
};

}  // namespace

Result<std::vector<Generation>> generate_batch(Session& session, std::span<const BatchItem> items,
                                               const BatchOptions& options) {
  FATHOM_TRY(check(options.each, session.model().config()));
  GroupScope scope(session);
  FATHOM_TRY(scope.enter(options.each.group));
  FATHOM_TRY(check_rows(session, options.each.policy, session.options().max_sequences));
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t n = items[i].prompt.size(), room = static_cast<size_t>(session.options().max_tokens);
    const int32_t vocab = session.model().config().vocab;
    const auto unknown =
        std::find_if(items[i].prompt.begin(), items[i].prompt.end(), [&](int32_t id) { return id < 0 || id >= vocab; });
    if (unknown != items[i].prompt.end()) {
      return Error{ErrorCode::argument,
                   fmt::format("item {}: token {} is outside the vocabulary 0..{}: use ids of this "
                               "model's tokenizer",
                               i, *unknown, vocab - 1)};
    }
    if (n >= 1 && n <= room) continue;
    return Error{n == 0 ? ErrorCode::argument : ErrorCode::capacity,
                 fmt::format("item {}: a prompt of {} tokens in a context of {}: {}", i, n, room,
                             n == 0 ? "give at least one" : "shorten it or raise SessionOptions::max_tokens")};
  }
  for (int32_t s = 0; s < session.options().max_sequences; ++s) FATHOM_TRY(session.truncate(s, 0));
  return Batch(session, items, options).run();
}

}  // namespace fathom
