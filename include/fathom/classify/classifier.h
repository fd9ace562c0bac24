// Classifier: labels of texts, each from as many layers as the policy lets it take. Next in the flow: engine/embed.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "fathom/classify/label_heads.h"
#include "fathom/engine/embed.h"

namespace fathom {

/// What became of a text.
struct Classification {
  std::vector<int32_t> labels;     // the likeliest, or with several all above a half; indices into FittedLabels::labels
  std::vector<float> probability;  // [labels of the task]
  float confidence = 0;            // probability of the answer as a whole
  float depth = 0;                 // layers run, mean over its tokens; 0: its words were enough
  int32_t answered_at = 0;         // layers behind the head that answered
  double work = 0;                 // multiply-adds, of full depth's
  int32_t tokens = 0;              // that were read, the two around it included
  bool truncated = false;          // there were more
};

class FATHOM_API Classifier {
 public:
  /// Buffers and threads for running an encoder with a task's heads.
  ///   errors   those of Encoder::make(); argument: heads of another model
  static Result<Classifier> make(const Model& model, std::shared_ptr<const LabelHeads> heads,
                                 const EncoderOptions& options = {});

  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;
  ~Classifier();

  /// Labels in the order of the texts. What a text gets depends on nothing but the text and the policy, bit for bit.
  ///   texts    any bytes; what is not UTF-8 becomes U+FFFD; an empty text has a label too
  ///   policy   nothing given: full depth. exit_when(...) lets texts leave between layers, word_exit(...) before the
  ///            first
  ///   errors   argument: word_exit without a head that reads words; those of Encoder::embed()
  Result<std::vector<Classification>> classify(std::span<const std::string_view> texts, const Policy& policy = {},
                                               Trace* trace = nullptr);

  const Model& model() const noexcept;
  const LabelHeads& heads() const noexcept;

  struct Impl;

 private:
  explicit Classifier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
