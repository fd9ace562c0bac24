// The numbers of a calibration report, read from JSON and checked. Field names are those of docs/schema/report.json.
// Next: report_data.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fathom/core/result.h"

namespace fathom::report {

using Share = std::optional<double>;  // in [0, 1]; null: not measured
using Count = std::optional<int64_t>;
using Matrix = std::vector<std::vector<std::optional<double>>>;

struct Model {
  std::string name, file, sha256, numerics;
  int32_t layers = 0;
  Count d_model, vocab;
};

struct Run {
  std::string command, library, seed;
  Share risk, confidence;
  double temperature = 0;  // above: losses are of what tokens are drawn from at it, not of tokens
  Count pieces_tokens;
  Count compared_places;  // of a piece, with full depth
};

struct Promise {
  std::string sentence, policy;
  bool certified = false, lossless = false;
};

struct Group {
  std::string name;
  Count documents, fit, choose, report, missing;
  Count duplicates, in_other_groups, too_short, long_prompts, unanswered;  // that were left out
};

struct Ratio {
  double ratio = 1, low = 1, high = 1;
};

/// How often a setting disagrees with full depth in one group.
struct Disagreement {
  std::string name;
  Share mean, upper, held_out;
  Count pieces;
};

struct Candidate {
  std::string policy, mechanism;
  std::optional<double> parameter, work, mean_depth;
  bool chosen = false, certified = false;
  std::optional<double> ms_full, ms_lossless, ms_policy;
  std::optional<Ratio> over_full, over_lossless;
  std::vector<Disagreement> groups;

  /// The largest upper bound of its groups; null: none has one.
  Share worst_upper() const;
};

/// The setting that holds at one level of risk, for all groups or for one.
struct CertifiedSetting {
  double risk = 0;
  std::string group, policy;  // no group: for all; no policy: none is certified
  std::optional<double> work, mean_depth;
  std::vector<Disagreement> groups;
};

struct GroupValue {
  std::string name;
  double value = 0;
};

struct Ceiling {
  std::string what, note;
  std::vector<GroupValue> groups;  // work
};

struct SignalQuality {
  std::string name;
  std::optional<int64_t> layer;
  Share auc;
  std::optional<double> work;
  std::vector<GroupValue> groups;  // AUC
};

/// The map from the state after a layer to the last one, and what others would have done.
struct Translator {
  int64_t layer = 0;
  std::string kept;
  std::optional<double> work;
  std::vector<GroupValue> kinds;  // agreement with full depth
};

/// What filled cells above exits are made of, and what that was worth when a policy ran without and with it.
struct KvTranslators {
  struct Run {
    Share disagreement;
    std::optional<double> work;
  };
  struct Layer {
    int64_t exit = 0, layer = 0;
    std::optional<double> plain, translated;  // relative errors
  };
  std::string policy;  // empty: not tried
  bool kept = false;
  std::optional<double> bytes;
  Share exact_cells;
  Run plain, translated;
  std::optional<double> gain, gain_error;
  std::vector<Layer> layers;
};

struct Bin {
  double p = 0, agreed = 0, n = 0;
};

struct Reliability {
  int64_t layer = 0;
  std::string group;
  std::optional<double> temperature, ece_before, ece_after;
  std::vector<Bin> before, after;
};

struct LayerUtility {
  std::vector<std::string> parts;
  struct OfGroup {
    std::string name;
    Matrix disagreement;  // [parts, layers]
  };
  struct Stretch {
    double from = 0, to = 0;  // both included
    Matrix disagreement;      // [parts, layers]
  };
  std::vector<OfGroup> groups;
  std::vector<Stretch> positions, prompts;  // places of a text; tokens of the prompt in front of it
};

struct ExitDepth {
  int64_t layers = 0;
  struct OfGroup {
    std::string name;
    std::vector<double> counts;  // [layers]
  };
  struct Position {
    double from = 0, to = 0, mean_depth = 0;
  };
  struct TokenClass {
    std::string name;
    double mean_depth = 0;
    Count n;
  };
  std::vector<OfGroup> groups;
  std::vector<Position> positions;
  std::vector<TokenClass> token_classes;
};

struct Continuations {
  std::string name;
  Count n, tokens;
  Share whole_equal;
  std::optional<double> median_first_difference;
};

/// A policy with one safeguard more or less, and the texts that it writes itself.
struct Safeguard {
  std::string policy;
  Count n;
  Share whole_equal;
  std::optional<double> median_first_difference, mean_depth;
};

struct Attention {
  int64_t layer = 0;
  std::vector<std::pair<int64_t, double>> to;  // token, weight; largest first, at most kAttended
};
inline constexpr size_t kAttended = 12;

struct Token {
  std::string text;
  std::optional<double> depth, threshold;
  std::vector<std::pair<std::string, double>> signals;
  std::optional<std::string> full_text;
  Share full_p;
  std::optional<bool> agrees;
  std::vector<Attention> attention;
};

struct Passage {
  std::string group;
  std::vector<Token> tokens;
};

struct NoGo {
  std::string mechanism, ceiling, tried, decided_by, reason;
};

struct Reproduce {
  std::string command;
  std::vector<std::pair<std::string, std::string>> splits, fingerprints;
};

/// A selection on losses drawn anew.
struct DrawnAgain {
  double risk = 0;
  bool promised = false;
  int64_t runs = 0, broken = 0, allowed = 0;
};

struct Report {
  Model model;
  std::string machine;
  Run run;
  Promise promise;
  std::vector<Group> groups;
  std::vector<Candidate> candidates;
  std::vector<CertifiedSetting> certified;
  std::vector<DrawnAgain> drawn_again;
  std::vector<Ceiling> ceilings;
  std::vector<SignalQuality> signals;
  std::vector<Translator> translators;
  KvTranslators kv_translators;
  std::vector<Reliability> reliability;
  LayerUtility layer_utility;
  Matrix head_utility;  // [layers, heads]
  ExitDepth exit_depth;
  std::vector<Continuations> continuations;
  std::vector<Safeguard> safeguards;  // the policy itself first
  std::vector<Passage> passages;
  std::vector<NoGo> nogo;
  Reproduce reproduce;

  const Candidate* chosen() const;
  /// What losses are of: "tokens", "probability".
  const char* of_what() const { return run.temperature > 0 ? "probability" : "tokens"; }
};

///   errors   those of report_html()
Result<Report> read_report(std::string_view json);

}  // namespace fathom::report
