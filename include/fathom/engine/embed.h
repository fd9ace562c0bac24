// Encoder: texts to embeddings, all lengths packed into steps without padding. Next in the flow: engine/session.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
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
};

/// What became of a text.
struct Embedding {
  std::vector<float> values;  // [d_model]
  float depth = 0;            // layers run, mean over its tokens
  double work = 0;            // multiply-adds, of full depth's
  int32_t tokens = 0;         // that were read, the two around it included
  int32_t tokens_kept = 0;    // of them, what ran to the end
  bool truncated = false;     // there were more
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
