// certify_embedding: a policy under which surely few texts get a vector that is not full depth's, and what it is worth.
// Next in the flow: calibrate/embedding_file.h, which keeps it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "fathom/calibrate/selection.h"
#include "fathom/core/result.h"
#include "fathom/engine/embed.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct EmbeddingOptions {
  double cosine = 0.98;               // with full depth's vector, that a text is to keep
  double risk = 0.02;                 // share of texts that may be under it
  double confidence = 0.95;           // that it is no more, in every group
  std::vector<Policy> policies = {};  // that are tried; empty: embedding_ladder()
  int32_t texts = 300;                // of each group to certify on, at most; a third as many more to choose by
  uint64_t seed = 1;                  // of what each text is for
  EncoderOptions encoder = {};
  bool (*on_progress)(void* context, std::string_view what, double done) = nullptr;  // false: stop
  void* context = nullptr;
};

/// The documents of a group, each a text: those that equal another but for whitespace are left out.
struct EmbeddingGroup {
  std::string name;
  std::vector<std::string> choose, certify;
  int64_t n_documents = 0, n_duplicates = 0;
};

/// Reads documents as sample_pieces() does and deals them out by a hash of their words and the seed.
///   errors   argument: no groups, names that are given twice or no names, options out of range; those of reading
///   files;
///            format: fewer texts in a group than could show `risk` at `confidence`, saying how many are needed
///   memory   the texts
FATHOM_API Result<std::vector<EmbeddingGroup>> read_embedding_texts(std::span<const GroupData> groups,
                                                                    const EmbeddingOptions& options = {});

/// Policies from mild to bold for an encoder of so many layers: merging from several depths, all at once and bit by
/// bit, by a share or by likeness; pruning by attention; fusing; leaving a layer early.
FATHOM_API std::vector<Policy> embedding_ladder(int32_t n_layers);

/// What a policy does to the texts that are chosen by.
struct EmbeddingTrial {
  Policy policy;
  std::vector<std::vector<float>> cosines = {};  // [groups][texts that it ran on]
  double work = 1;                               // multiply-adds over full depth's
  double speed = 0;    // full depth's time over the policy's, one turn on the first texts: a hint; 0: not known
  bool ended = false;  // before all texts: it had no chance left

  /// The cosine that all but a share of texts keep, in the group where that is least; at least one text is under it
  /// or at it.
  FATHOM_API double kept_by_all_but(double share) const;
};

/// Turns of full depth and a policy on the same texts.
struct EmbeddingTimes {
  int64_t texts = 0;
  int32_t pairs = 0;                            // 0: not measured
  double full_seconds = 0, policy_seconds = 0;  // medians of a turn
  double ratio = 0, least = 0, most = 0;  // of full depth's seconds over the policy's: median of pairs, and its range
};

struct EmbeddingCertificate {
  static constexpr double kPays = 1.03;  // times full depth's speed, from which on the policy is used

  std::vector<std::string> groups;
  std::vector<int64_t> n_choose, n_certify;  // [groups] texts
  int64_t n_same = 0;                        // of texts to certify on, left out: as they are cut, there before
  std::vector<EmbeddingTrial> trials;        // as they were given
  std::vector<int32_t> sequence;             // of those with a chance, from the safest to the cheapest
  Choice choice;                             // candidates are places in `sequence`
  bool certified = false;
  Policy policy;    // the cheapest that is certified; else full depth
  double work = 1;  // of it, on the texts to certify on
  EmbeddingTimes times = {};
  std::string promise = {};  // one sentence; empty: none
  std::string verdict = {};  // what to make of it, in words

  bool pays() const { return certified && times.ratio >= kPays; }
};

/// Tries the policies on the texts to choose by, puts those with a chance in an order from the safest to the cheapest,
/// tests them in that order on texts that nothing else has seen until one fails in any group, and times the last that
/// passed beside full depth. A group is tested at all of 1 - confidence: a policy passes only where every group does.
///   errors   those of Encoder::make() and embed(), naming the policy; argument: options out of range; cancelled
///   memory   texts and vectors of full depth
///   cost     a pass over the texts to choose by for each policy until it has no chance, one of full depth over the
///            first 32, one over the others for each
///            that is tested, and 7 pairs of passes over 64 texts
///   source   Angelopoulos et al. 2021 (Learn then Test); Laufer-Goldshlager et al. 2023 (the order, from other data)
FATHOM_API Result<EmbeddingCertificate> certify_embedding(const Model& model, std::span<const EmbeddingGroup> groups,
                                                          const EmbeddingOptions& options = {});

}  // namespace fathom
