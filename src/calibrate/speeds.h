// Speeds: policies against full depth and against lossless decoding, prompt by prompt in turns.
// Next in the flow: src/calibrate/calibrate.cc.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/sample/sampler.h"
#include "src/calibrate/median.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// How the text that a policy writes itself compares with full depth's.
struct Continuations {
  int32_t group = 0;
  int64_t n = 0, equal = 0, tokens = 0;
  double median_first_difference = 0;  // tokens before it; of all texts, equal ones count whole
};

struct Speeds {
  std::vector<MeasuredSpeed> speeds;         // [policies]
  std::vector<Continuations> continuations;  // of the last policy, by group
};

/// Policies that write by turns behind the same prompts.
struct SpeedTrial {
  std::span<const PieceText* const> texts;  // whose beginnings are the prompts
  size_t n_groups = 0;
  std::span<const std::string> policies;  // the first is full depth, the second lossless decoding
  SessionParts parts = {};
  std::string group = {};  // whose temperatures and maps are used; empty: those of all
  double seconds = 60;     // after which no further prompt is begun, once there are a few
};

/// The fastest of what changes no token: lossless decoding, unless another is surely faster. Null where none was timed.
const MeasuredSpeed* best_lossless(std::span<const MeasuredSpeed> speeds);

/// The policy that may change tokens, which stands last. Null: there was none, or none was timed.
const MeasuredSpeed* certified_speed(std::span<const MeasuredSpeed> speeds);

/// Whether that one is surely faster than what changes no token.
bool certified_pays(std::span<const MeasuredSpeed> speeds);

/// How it compares, in words; where it was not timed, that.
std::string comparison(std::span<const MeasuredSpeed> speeds);

/// What policies write behind: a prompt, or the beginning of a piece of text.
std::vector<int32_t> prompt_of(const PieceText& text);

/// How tokens are chosen behind one of the prompts: as the certificate takes them to be, each prompt with its own
/// noise.
SampleOptions sample_of(const CalibrateOptions& options, size_t prompt);

/// Tokens before the first that differs; of equal texts, all.
double first_difference(std::span<const int32_t> a, std::span<const int32_t> b);

/// Writes on behind the beginnings of some pieces under each policy, by turns.
Result<Speeds> measure_speeds(const Model& model, const SpeedTrial& trial, const CalibrateOptions& options,
                              Progress& progress);

}  // namespace fathom
