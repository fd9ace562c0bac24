// generate(): prefill in chunks, then one row a step; the sampler and the stop conditions stand between steps.
#include "fathom/engine/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The text so far, the part of it that is certain, and whether a stop string has come.
class Output {
 public:
  Output(const Tokenizer& tokenizer, const GenerateOptions& options)
      : decoder_(tokenizer, options.special, /*continues=*/true), stop_(options.stop) {}

  // Appends a token; true when a stop string is complete.
  bool push(int32_t id) { return append(decoder_.push(id)); }

  // Appends what the decoder held back; true as above.
  bool finish() {
    const bool stopped = append(decoder_.finish());
    certain_ = text_.size();
    return stopped;
  }

  // Text that became certain since the last call.
  std::string_view take() {
    const std::string_view fresh = std::string_view(text_).substr(taken_, certain_ - taken_);
    taken_ = certain_;
    return fresh;
  }

  std::string text() && { return std::move(text_); }

 private:
  bool append(std::string_view more) {
    const size_t old = text_.size();
    text_ += more;
    size_t first = std::string::npos;
    for (const std::string& s : stop_) {
      const size_t from = old >= s.size() ? old - s.size() + 1 : 0;
      first = std::min(first, text_.find(s, from));
    }
    if (first != std::string::npos) {
      text_.resize(first);
      certain_ = first;
      return true;
    }
    certain_ = text_.size() - held_back();
    return false;
  }

  // Length of the longest end of the text that begins some stop string.
  size_t held_back() const {
    size_t longest = 0;
    for (const std::string& s : stop_) {
      for (size_t n = std::min(s.size() - 1, text_.size()); n > longest; --n) {
        if (text_.compare(text_.size() - n, n, s, 0, n) == 0) longest = n;
      }
    }
    return std::min(longest, text_.size() - std::min(taken_, text_.size()));
  }

  StreamDecoder decoder_;
  const std::vector<std::string>& stop_;
  std::string text_;
  size_t certain_ = 0, taken_ = 0;
};

// Sums of what rows cost, over the same rows at full depth.
struct Ledger {
  double macs = 0, full_macs = 0, depth = 0;
  int64_t rows = 0;
  void add(const RowResult& row) {
    macs += row.macs;
    full_macs += row.full_macs;
    depth += row.depth;
    ++rows;
  }
  double work() const { return rows > 0 ? macs / full_macs : 1; }
};

struct Run {
  Session& session;
  const GenerateOptions& options;
  Generation out{};
  Ledger prompt_ledger{}, ledger{};

  // Runs rows and returns the token chosen after the last of them.
  Result<int32_t> step(std::span<const Row> rows, RowResult& last) {
    FATHOM_TRY(const StepResult result, session.step(rows, options.policy.ref(), options.trace));
    std::vector<TraceCommit> commits;
    for (size_t i = 0; i < rows.size(); ++i) {
      const RowResult& r = result.rows[i];
      (rows[i].kind == RowKind::prompt ? prompt_ledger : ledger).add(r);
      commits.push_back({rows[i].sequence, rows[i].position, -1, r.depth, static_cast<float>(r.work())});
    }
    last = result.rows.back();
    int32_t token = -1;
    if (last.logits >= 0) {
      token = sample(result.logits[last.logits].flat(), options.sample, options.sequence, rows.back().position + 1,
                     session.tokens());
      if (token < 0) {
        return Error{ErrorCode::format, fmt::format("position {}: the logits hold no number; the model file is damaged",
                                                    rows.back().position)};
      }
      commits.back().token = token;
    }
    if (options.trace != nullptr) options.trace->commit(commits);
    return token;
  }

  // Runs the prompt in chunks and returns the first new token; -1 when the caller cancels between chunks.
  Result<int32_t> prefill(std::span<const int32_t> prompt, RowResult& last) {
    std::vector<Row> rows;
    const auto chunk = static_cast<size_t>(session.options().max_rows);
    for (size_t at = 0;; at += chunk) {
      const size_t end = std::min(prompt.size(), at + chunk);
      rows.clear();
      const int32_t first = session.length();
      for (size_t i = at; i < end; ++i) {
        rows.push_back(
            {.token = prompt[i], .position = first + static_cast<int32_t>(i - at), .logits = i + 1 == prompt.size()});
      }
      FATHOM_TRY(const int32_t token, step(rows, last));
      if (end == prompt.size()) return token;
      if (options.on_prefill != nullptr &&
          !options.on_prefill(options.context, static_cast<int32_t>(end), static_cast<int32_t>(prompt.size()))) {
        return -1;
      }
    }
  }

  // Commits tokens until something ends the text.
  Result<StopReason> decode(int32_t token, RowResult row) {
    const Tokenizer& tokenizer = session.model().tokenizer();
    Output output(tokenizer, options);
    const auto ended = [&](StopReason reason) {
      const bool stopped = reason != StopReason::stop_string && output.finish();
      if (options.on_token != nullptr) {
        const std::string_view rest = output.take();
        if (!rest.empty()) options.on_token(options.context, {.id = -1, .text = rest, .depth = row.depth});
      }
      out.text = std::move(output).text();
      return stopped ? StopReason::stop_string : reason;
    };
    for (;;) {
      if (tokenizer.ends_text(token)) return ended(StopReason::end_of_text);
      out.tokens.push_back(token);
      out.depths.push_back(row.depth);
      const bool stopped = output.push(token);
      if (options.on_token != nullptr &&
          !options.on_token(options.context, {.id = token, .text = output.take(), .depth = row.depth})) {
        return ended(StopReason::cancelled);
      }
      if (stopped) return ended(StopReason::stop_string);
      if (std::ssize(out.tokens) >= options.max_new_tokens) return ended(StopReason::length);
      const int32_t position = session.length();
      if (position >= session.options().max_tokens) return ended(StopReason::context);
      const Row next{.token = token, .position = position, .kind = RowKind::generated, .logits = true};
      const auto start = Clock::now();
      FATHOM_TRY(token, step({&next, 1}, row));
      out.decode_seconds += seconds_since(start);
      ++out.decode_steps;
    }
  }
};

Result<void> check_request(const Session& session, std::span<const int32_t> prompt, const GenerateOptions& options) {
  const ModelConfig& config = session.model().config();
  FATHOM_TRY(check(options, config));
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
  Run run{.session = session, .options = options};
  RowResult last;
  const auto start = Clock::now();
  FATHOM_TRY(const int32_t token, run.prefill(prompt, last));
  run.out.prefill_seconds = seconds_since(start);
  const float prompt_depth = last.depth;
  Generation& out = run.out;
  if (token < 0) {
    out.stop_reason = StopReason::cancelled;
  } else {
    FATHOM_TRY(out.stop_reason, run.decode(token, last));
  }
  out.prompt_tokens = static_cast<int32_t>(run.prompt_ledger.rows);
  out.mean_depth = run.ledger.rows > 0 ? static_cast<float>(run.ledger.depth / double(run.ledger.rows)) : prompt_depth;
  out.work = run.ledger.work();
  out.prompt_work = run.prompt_ledger.work();
  out.kv_bytes = session.cache().bytes();
  return std::move(run.out);
}

}  // namespace fathom
