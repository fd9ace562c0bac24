// FlowPage: what became of the tokens of some texts, drawn over them. Next: flow_page.cc.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fathom/engine/embed.h"
#include "src/cli/text_blocks.h"

namespace fathom::cli {

/// What a run of embed came to.
struct EmbedTotals {
  int64_t texts = 0, tokens = 0, kept = 0, cut = 0;
  double depth = 0, work = 0;  // sums over texts

  void add(std::span<const Embedding> embeddings);
};

class FlowPage {
 public:
  static constexpr size_t kMostTexts = 40;

  ///   name   of the model, as it was given
  FlowPage(const Model& model, std::string name, const Policy& policy)
      : model_(model), name_(std::move(name)), policy_(policy.text()) {}

  /// Texts that it still takes.
  size_t room() const { return kMostTexts - texts_.size(); }
  /// Takes texts of a block, from `first` on, as many as there is room for; their fates were asked for.
  void add(const TextBlock& block, size_t first, std::span<const Embedding> embeddings);

  /// The page, whole. Nothing in a text or a name acts in it.
  std::string html(const EmbedTotals& totals) const;

 private:
  const Model& model_;
  std::string name_, policy_;
  std::vector<std::string> texts_;  // HTML
};

}  // namespace fathom::cli
