// What there is time for, from a rehearsal. Next: certify.cc.
#include "src/cli/calibrate_budget.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/bound.h"
#include "src/calibrate/rehearsal.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

constexpr std::string_view kNote = "pieces ";

// The smallest risk that so many pieces can certify, none of which loses anything.
double least_risk(int32_t pieces, double delta) {
  const auto limit = mean_upper(std::vector<float>(static_cast<size_t>(pieces), 0.0f), delta);
  return limit ? *limit : 1;
}

void tell(int32_t pieces, int32_t asked, double minutes, const CalibrateOptions& options, size_t n_groups) {
  const double delta = delta_for_all(options, n_groups);
  spdlog::warn(
      "--budget-minutes {:g}: time for {} of {} pieces of each kind of text: the smallest risk that they can "
      "certify is {:.2f} %, and not {:.2f} %",
      minutes, pieces, asked, 100 * least_risk(pieces, delta), 100 * least_risk(asked, delta));
  const int64_t needed = pieces_needed(options.risk, delta);
  if (pieces < needed) {
    spdlog::warn(
        "{:g} % needs {} pieces or more: only what changes no token can come of this run: give more minutes, "
        "or a larger --risk",
        100 * options.risk, needed);
  }
}

}  // namespace

Result<int32_t> pieces_in_budget(const Model& model, const Pieces& pieces, CalibrateOptions& options, double minutes,
                                 int32_t asked) {
  const std::string note = options.journal.restart ? std::string() : journal_note(options.journal.path);
  std::optional<int32_t> n;
  if (note.starts_with(kNote)) n = whole_number<int32_t>(std::string_view(note).substr(kNote.size()));
  if (!n || *n < 1 || *n > asked) {
    FATHOM_TRY(const Rehearsal rehearsal, rehearse(model, pieces, options));
    n = std::min(asked, rehearsal.pieces_in(60 * minutes - rehearsal.seconds));
    const int32_t least = std::min(asked, rehearsal.longest);
    if (*n < least) {
      return Error{
          ErrorCode::capacity,
          fmt::format("--budget-minutes {:g}: {} pieces of each kind of text take more here: give at least {:.0f}",
                      minutes, least, std::ceil(rehearsal.minutes_for(least)))};
    }
  }
  if (*n < asked) tell(*n, asked, minutes, options, pieces.groups.size());
  options.journal.note = fmt::format("{}{}", kNote, *n);
  return *n;
}

}  // namespace fathom::cli
