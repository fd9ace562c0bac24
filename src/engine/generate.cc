// generate(): one lane from its prompt to the end of its text. Next in the flow: the session's step().
#include "fathom/engine/generate.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/engine/decoder.h"
#include "src/engine/group_scope.h"

namespace fathom {
namespace {

Result<void> check_request(const Session& session, std::span<const int32_t> prompt, const GenerateOptions& options) {
  const ModelConfig& config = session.model().config();
  FATHOM_TRY(check(options, config));
  FATHOM_TRY(check_rows(session, options.policy, 1));
  if (prompt.empty()) {
    return Error{ErrorCode::argument,
                 "the prompt is empty and the model has no beginning-of-text token: give at least "
                 "one token"};
  }
  const int64_t room = session.options().max_tokens - session.length();
  if (std::ssize(prompt) > room) {
    return Error{ErrorCode::capacity, fmt::format("a prompt of {} tokens in a context with room for {}: shorten it or "
                                                  "raise SessionOptions::max_tokens (the model allows {})",
                                                  prompt.size(), room, config.context)};
  }
  return {};
}

}  // namespace

std::string_view name(StopReason reason) {
  switch (reason) {
    case StopReason::length:
      return "length";
    case StopReason::context:
      return "context";
    case StopReason::end_of_text:
      return "end_of_text";
    case StopReason::stop_string:
      return "stop_string";
    case StopReason::cancelled:
      return "cancelled";
  }
  return "length";
}

Result<void> check(const GenerateOptions& options, const ModelConfig& config) {
  FATHOM_TRY(check(options.sample, config.vocab));
  FATHOM_TRY(options.policy.check(config.n_layers));
  const Settings settings = options.policy.settings();
  if (options.draft_source != nullptr && (settings.kv != KvMode::verify || settings.draft_ngram)) {
    return Error{ErrorCode::argument,
                 fmt::format("draft_source with the policy {}: give one with kv(verify) and without "
                             "draft_ngram",
                             options.policy.text())};
  }
  if (options.max_new_tokens < 1) {
    return Error{ErrorCode::argument, fmt::format("max_new_tokens {}: ask for at least 1", options.max_new_tokens)};
  }
  for (const std::string& s : options.stop) {
    if (s.empty()) return Error{ErrorCode::argument, "an empty stop string would end every text: leave it out"};
  }
  return {};
}

Result<Generation> generate(Session& session, std::string_view prompt, const GenerateOptions& options) {
  FATHOM_TRY(const std::vector<int32_t> ids, session.model().tokenizer().encode(prompt));
  return generate(session, ids, options);
}

Result<Generation> generate(Session& session, std::span<const int32_t> prompt, const GenerateOptions& options) {
  FATHOM_TRY(session.truncate(0, 0));
  return generate_more(session, prompt, options);
}

Result<Generation> generate_more(Session& session, std::span<const int32_t> prompt, const GenerateOptions& options) {
  FATHOM_TRY(check_request(session, prompt, options));
  GroupScope scope(session);
  FATHOM_TRY(scope.enter(options.group));
  const int32_t sequence = 0;
  if (session.owed(sequence) > 0 && options.policy.settings().kv == KvMode::verify) {
    FATHOM_TRY(session.settle({}, {}, nullptr, {&sequence, 1}));  // of an earlier text, whose tokens stand
  }
  Decoder decoder(session, options.policy, options.trace);
  Lane lane(session.model().tokenizer(), options);
  Drafting drafting(options);
  drafting.begin(lane, session.tokens(), prompt);
  lane.prompt = prompt;
  const Expectation expectation(session, lane);
  const int32_t before = session.length();
  const auto start = Clock::now();
  double first_token = 0;  // seconds
  while (!lane.writer.ended()) {
    Lane* const lanes[] = {&lane};
    if (const Result<void> passed = decoder.pass(lanes); !passed) {
      FATHOM_TRY(session.truncate(0, std::min(session.length(), before + lane.n_run())));
      return passed.error();
    }
    if (first_token == 0 && lane.prompt.empty()) first_token = seconds_since(start);
    const auto done = static_cast<int32_t>(prompt.size() - lane.prompt.size());
    if (!lane.prompt.empty() && options.on_prefill != nullptr &&
        !options.on_prefill(options.context, done, static_cast<int32_t>(prompt.size()))) {
      lane.writer.end(StopReason::cancelled);
    }
  }
  const int32_t length = std::min(session.length(), before + lane.n_run());
  Generation out = std::move(lane).result();
  const double all = seconds_since(start);
  out.prefill_seconds = first_token > 0 ? first_token : all;
  out.decode_seconds = out.decode_steps > 0 ? all - out.prefill_seconds : 0;
  FATHOM_TRY(session.truncate(0, length));
  out.kv_bytes = session.cache().bytes();
  return out;
}

}  // namespace fathom
