// Rehearsal: two points of a line.
#include "src/calibrate/rehearsal.h"

#include <algorithm>
#include <array>
#include <chrono>

namespace fathom {
namespace {

constexpr int32_t kShort = 12, kLong = 36;  // pieces of each group to certify on
constexpr double kSpeeds = 75;              // seconds; measuring ends by itself after 60, and the prompt then running

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The first pieces of each group: n to certify on, and as many of the others as go with them.
Pieces first_of(const Pieces& all, int32_t n) {
  const std::array<int64_t, kSplits> most = {std::max(6, n / 2), n, std::max(1, n / 4)};
  Pieces few{.piece_tokens = all.piece_tokens,
             .groups = all.groups,
             .documents = all.documents,
             .pieces = {},
             .fingerprints = {}};
  for (PieceGroup& group : few.groups) group.n_pieces = {};
  for (const Piece& piece : all.pieces) {
    int64_t& have = few.groups[size_t(piece.group)].n_pieces[size_t(piece.split)];
    if (have == most[size_t(piece.split)]) continue;
    ++have;
    few.pieces.push_back(piece);
  }
  return few;
}

// Ends a rehearsal where speeds begin, and passes everything else on.
struct Stop {
  const CalibrateOptions& caller;
  bool at_speeds = false;

  static bool progress(void* context, std::string_view what, double) {
    Stop& stop = *static_cast<Stop*>(context);
    if (what.starts_with("measuring")) return stop.at_speeds = true, false;
    return stop.caller.on_progress == nullptr || stop.caller.on_progress(stop.caller.context, "rehearsing", 0);
  }
};

Result<double> seconds_of(const Model& model, const Pieces& pieces, const CalibrateOptions& options) {
  Stop stop{.caller = options};
  CalibrateOptions few = options;
  few.journal = {};
  few.on_progress = Stop::progress;
  few.context = &stop;
  const double begin = now();
  const Result<Calibration> found = calibrate(model, pieces, few);
  if (!found && !stop.at_speeds) return found.error();
  return now() - begin;
}

}  // namespace

int32_t Rehearsal::pieces_in(double seconds_left) const {
  if (seconds_left <= fixed) return 0;
  return static_cast<int32_t>(std::min((seconds_left - fixed) / std::max(each, 1e-6), 1e6));
}

Result<Rehearsal> rehearse(const Model& model, const Pieces& pieces, const CalibrateOptions& options) {
  FATHOM_TRY(const double few, seconds_of(model, first_of(pieces, kShort), options));
  FATHOM_TRY(const double more, seconds_of(model, first_of(pieces, kLong), options));
  Rehearsal out{.seconds = few + more, .each = std::max(0.0, more - few) / (kLong - kShort), .longest = kLong};
  out.fixed = std::max(0.0, more - kLong * out.each) + kSpeeds;
  return out;
}

}  // namespace fathom
