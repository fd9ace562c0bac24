// TokenFlow: what of a text's tokens is in its embedding, followed through attention, joins and drops.
// Next in the flow: src/engine/embed.cc.
#pragma once

#include <span>
#include <vector>

#include "src/engine/text_steps.h"

namespace fathom {

/// Attention rollout: what a row draws from the text's tokens after a half that attends is half what it drew before and
/// half what those it looked at did, by the share it gave them (mean over heads). Rows that join are averaged as their
/// states are.
///   cost     for each layer the scores once more, and n^3 multiply-adds for a text of n tokens; n^2 floats
///   source   Abnar 2020
class TokenFlow final : public TextSteps::Observer {
 public:
  /// Writes Embedding::fates of the texts; sees steps in front of `next`.
  ///   trace    told of fates too; null: none listens
  TokenFlow(TextSteps::Observer& next, std::span<Embedding> texts, Trace* trace)
      : next_(next), texts_(texts), trace_(trace) {}

  bool reads_attention() const noexcept override { return true; }
  void at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept override;

 private:
  struct Text {
    std::vector<float> drawn;   // [n, n] what each row draws from each token
    std::vector<float> weight;  // [n] tokens that each row stands for; 0: it is removed
    std::vector<TokenFate> fates;
  };

  static void begin(const LayerLoop& loop, const TextRows& rows, Text& text);
  static void follow_removals(const LayerLoop& loop, int32_t behind, const TextRows& rows, Text& text);
  void mix(LayerLoop& loop, int32_t layer, const TextRows& rows, Text& text) const;
  static void tell(const Text& text, int32_t sequence, Trace& trace);
  static void finish(const LayerLoop& loop, const TextRows& rows, Text& text);

  TextSteps::Observer& next_;
  std::span<Embedding> texts_;
  Trace* trace_;
  std::vector<Text> in_step_;
};

}  // namespace fathom
