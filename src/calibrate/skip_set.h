// SkipSet: parts of a model that a policy leaves out, as a policy's text and in bytes that are not read.
// Next in the flow: src/calibrate/layer_profile.h.
#pragma once

#include <string>

#include "fathom/model/model.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct SkipSet {
  LayerSet attention = {}, feed_forward = {};  // halves that are not run
  HeadSet heads = {};                          // of layers whose attention is run

  bool empty() const { return attention.empty() && feed_forward.empty() && heads.empty(); }
  /// Parts, a half or a head each.
  int32_t size() const;
  /// What it leaves out and what another does.
  SkipSet with(const SkipSet& other) const;
  /// skip_layers, skip_sublayers and silence_heads, those that are needed; the text form says the same on every run.
  std::string text() const;
  friend bool operator==(const SkipSet&, const SkipSet&) = default;
};

/// Bytes of weights that a row does not read, over those of a row at full depth with its head. Keys and values of what
/// is left out are still made, and so their weights are read.
double saved_share(const Model& model, const SkipSet& set);

}  // namespace fathom
