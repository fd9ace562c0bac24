// generate(): the verb that writes text. Next in the flow: sample/sampler.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/engine/draft.h"
#include "fathom/engine/session.h"
#include "fathom/policy/policy.h"
#include "fathom/sample/sampler.h"
#include "fathom/trace/trace.h"

namespace fathom {

enum class StopReason : uint8_t {
  length,       ///< max_new_tokens reached
  context,      ///< the sequence is at its limit
  end_of_text,  ///< the model said so
  stop_string,
  cancelled,  ///< the callback said so
};
FATHOM_API std::string_view name(StopReason reason);

/// A token as it is committed. Text that may yet turn out to begin a stop string, or that is not a whole character, is
/// held back; a last call with id -1 hands over what was still held.
struct GeneratedToken {
  int32_t id = 0;
  std::string_view text;  // what became certain with it; may be empty
  float depth = 0;        // layers the row that predicted it ran
  bool drafted = false;   // it had been guessed before full depth confirmed it
};

struct GenerateOptions {
  int32_t max_new_tokens = 128;
  SampleOptions sample = {};
  Policy policy = {};                  // default: full depth
  std::string group = {};              // whose temperatures and maps of the session's exits answer; empty: those that
                                       // the session uses. Its own thresholds: Adaptation::choose()
  std::vector<std::string> stop = {};  // the text ends before the first of these
  int64_t sequence = 0;                // names the noise of this text; the caller's number
  bool special = false;                // control tokens appear in the text
  /// Who guesses tokens, and who says how many a pass takes in; both need a policy with kv(verify), and neither can
  /// change a token. Not given: what the policy's settings say, and goodput_chooser().
  DraftSource* draft_source = nullptr;
  DraftChooser* draft_chooser = nullptr;
  Trace* trace = nullptr;
  /// Called for every token of the text; returning false ends the text after it.
  bool (*on_token)(void* context, const GeneratedToken& token) = nullptr;
  /// Called between the chunks of a long prompt; returning false ends the call with no text.
  bool (*on_prefill)(void* context, int32_t done, int32_t total) = nullptr;
  void* context = nullptr;
};

/// What generate() refuses whatever the prompt, so that it is found before a model is packed.
///   errors   argument: an option out of range, a policy that the model is too shallow for
FATHOM_API Result<void> check(const GenerateOptions& options, const ModelConfig& config);

struct Generation {
  std::string text;
  std::vector<int32_t> tokens;  // new ids; the end-of-text token is not among them
  std::vector<float> depths;    // [tokens] layers the row that predicted each ran
  std::vector<bool> drafted;    // [tokens] whether each had been guessed before it was confirmed
  int32_t prompt_tokens = 0;    // of the prompt, those that were run
  float mean_depth = 0;         // layers run for each generated row; the prompt's depth where there is none
  double work = 1;              // multiply-adds of generated rows over those of the same rows at full depth
  double prompt_work = 1;       // the same for prompt rows
  double prefill_seconds = 0;
  double decode_seconds = 0;  // callbacks included
  int32_t decoded = 0;        // tokens in decode_seconds: all but the first, which the prompt's last row predicts
  int32_t decode_steps = 0;   // passes in decode_seconds; fewer than tokens where drafts were confirmed
  int64_t proposed = 0;       // guesses put to the test
  int64_t accepted = 0;       // of them, those that were right and had none wrong before them in their pass
  size_t kv_bytes = 0;
  StopReason stop_reason = StopReason::length;

  /// Rates; 0 where nothing was timed.
  double tokens_per_second() const { return decode_seconds > 0 ? decoded / decode_seconds : 0; }
  double prefill_tokens_per_second() const { return prefill_seconds > 0 ? prompt_tokens / prefill_seconds : 0; }
};

/// Continues a text. The session's sequence 0 is made new first.
///   errors   argument: an empty prompt where the model has no beginning-of-text token, options out of range;
///            capacity: the prompt does not fit the session
FATHOM_API Result<Generation> generate(Session& session, std::string_view prompt, const GenerateOptions& options = {});

/// The same from token ids.
FATHOM_API Result<Generation> generate(Session& session, std::span<const int32_t> prompt,
                                       const GenerateOptions& options = {});

/// Continues what the session's sequence 0 holds with more prompt tokens: the next turn of a dialogue.
FATHOM_API Result<Generation> generate_more(Session& session, std::span<const int32_t> prompt,
                                            const GenerateOptions& options = {});

}  // namespace fathom
