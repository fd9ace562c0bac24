// perplexity(): how well a model under a policy predicts a given text, and how often it agrees with its own full depth.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/session.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct PerplexityOptions {
  int32_t window = 512;  // cells of one window
  Policy policy = {};    // acts on every position, as if it were generated
  /// Called before each step, with the windows that are done; returning false ends the run with an error of code
  /// cancelled.
  bool (*on_progress)(void* context, int64_t done, int64_t total) = nullptr;
  void* context = nullptr;
};

/// One token of the text.
struct ScoredToken {
  int32_t id = 0;
  int32_t argmax = -1;  // what was predicted for this place; -1 where nothing precedes
  float nll = 0;        // negative log-likelihood, nats; NaN where nothing precedes
  float depth = 0;      // layers run by the row that predicted it; NaN where nothing precedes
  bool scored = false;  // part of `perplexity`
};

struct Perplexity {
  double perplexity = 0;  // over the second half of every whole window; NaN when the text fills none
  int64_t n_tokens = 0;   // of the text
  int64_t n_scored = 0;
  double agreement = 1;   // share of predicted positions whose argmax is that of full depth
  double kl = 0;          // mean KL(full depth || policy), nats
  double mean_depth = 0;  // layers
  double work = 1;
  std::vector<ScoredToken> tokens;  // [n_tokens]
};

/// Scores a text in windows of `window` cells; the beginning-of-text token, where the model wants one, takes the first
/// cell of each. The average covers cells from window / 2 on of whole windows.
///   text     token ids without a beginning-of-text token
///   session  its sequences are made new; several windows run side by side when it holds several
///   errors   argument: window below 8 or beyond the session's max_tokens; an empty text
///   cost     one pass; two where the policy saves something, for the comparison with full depth
FATHOM_API Result<Perplexity> perplexity(Session& session, std::span<const int32_t> text,
                                         const PerplexityOptions& options = {});

}  // namespace fathom
