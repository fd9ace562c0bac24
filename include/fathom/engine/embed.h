// Encoder: texts to embeddings, all lengths packed into steps without padding. Next in the flow: engine/session.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/model/model.h"
#include "fathom/policy/policy.h"
#include "fathom/trace/trace.h"

namespace fathom {

struct EncoderOptions {
  int32_t max_tokens = 0;   // a longer text is cut, the tokens around it included; 0: ModelConfig::usual_tokens
  int32_t max_rows = 1024;  // tokens of one step, raised to max_tokens: memory, and work for all threads
  int threads = 1;          // 1 starts none
  bool explain = false;     // says of every token what became of it (Embedding::fates), at about the cost of attention
};

/// What became of a token, and what of it is in the embedding.
struct TokenFate {
  static constexpr size_t kSources = 3;

  int32_t token = 0;
  int32_t removed_at = -1;  // layers behind it when it was dropped or joined another; -1: it ran to the end
  int32_t joined = -1;      // the place of that other token in the text; -1: it joined none
  float share = 0;          // of the embedding that comes from it: attention rollout, sums to 1 over the text; a layer
                            // that a row ran without some of its heads counts as if it had not attended there
  std::vector<std::pair<int32_t, float>> sources;  // of a row that ran to the end: the tokens that it draws most from,
                                                   // by their places, and how much
};

/// What became of a text.
struct Embedding {
  std::vector<float> values;     // [d_model]
  float depth = 0;               // layers run, mean over its tokens
  double work = 0;               // multiply-adds, of full depth's
  int32_t tokens = 0;            // that were read, the two around it included
  int32_t tokens_kept = 0;       // rows that stand for them at the end: neither dropped nor joined to others
  bool truncated = false;        // there were more
  std::vector<TokenFate> fates;  // [tokens], where EncoderOptions::explain asks for them
};

class FATHOM_API Encoder {
 public:
  static constexpr int32_t kLeastTokens = 3;  // of EncoderOptions::max_tokens: one, and the two around it

  /// Buffers, cells and threads for running an encoder.
  ///   errors   argument: the model predicts tokens instead, has no vocabulary, or an option is out of range;
  ///            capacity: memory refused
  static Result<Encoder> make(const Model& model, const EncoderOptions& options = {});

  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;
  ~Encoder();

  /// Embeddings in the order of the texts. At full depth they are the same, bit for bit, whatever else is in the call.
  ///   texts    any bytes; what is not UTF-8 becomes U+FFFD; an empty text has an embedding too
  ///   policy   nothing given: full depth; its stages act on every token, as on generated ones
  ///   errors   argument: a layer that the model has not; unsupported: a stage that needs a language head or another
  ///            order; format: a result that is no number; capacity: memory
  ///   cost     multiply-adds linear in tokens, and tokens times the text's own length; memory: the options' and
  ///   results
  Result<std::vector<Embedding>> embed(std::span<const std::string_view> texts, const Policy& policy = {},
                                       Trace* trace = nullptr);

  const Model& model() const noexcept;
  const EncoderOptions& options() const noexcept;  // as they hold: nothing is 0

  struct Impl;

 private:
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
