// Groups of texts, and how far a long run is. Next: calibrate.cc.
#include "src/cli/calibrate_options.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "fathom/calibrate/limits.h"
#include "src/cli/depth_picture.h"
#include "src/cli/interrupt.h"

namespace fathom::cli {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double kEvery = 0.2;           // seconds between two lines on a terminal
constexpr double kEveryLogged = 60;      // and in a log
constexpr double kWorthGuessing = 0.03;  // of the run, from which the rest is guessed

std::string time_left(double seconds, double done) {
  if (done <= kWorthGuessing) return {};
  const double left = seconds * (1 - done) / done;
  return left > 90 ? fmt::format(", about {:.0f} min left", left / 60) : fmt::format(", about {:.0f} s left", left);
}

}  // namespace

Result<std::vector<GroupData>> groups_of(const std::vector<std::string>& data) {
  std::vector<GroupData> groups;
  for (const std::string& one : data) {
    const size_t at = one.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == one.size()) {
      return Error{ErrorCode::argument, fmt::format("--data {}: write NAME=FILE, such as prose=a.txt", harmless(one))};
    }
    const std::string name = one.substr(0, at), path = one.substr(at + 1);
    FATHOM_TRY(check_group_name(name));
    size_t g = 0;
    while (g < groups.size() && groups[g].name != name) ++g;
    if (g == groups.size()) groups.push_back({name, {}});
    groups[g].paths.push_back(path);
  }
  if (groups.size() <= kMostGroups) return groups;
  return Error{ErrorCode::argument, fmt::format("--data: {} groups: give at most {}, several files under one name",
                                                groups.size(), kMostGroups)};
}

void warn_of_empty(const Pieces& pieces) {
  for (const PieceGroup& group : pieces.groups) {
    if (group.n_pieces == decltype(group.n_pieces){}) spdlog::warn(why_no_piece(group, pieces.piece_tokens));
  }
}

void Bar::end() {
  if (!last.empty()) fmt::print(stderr, "\r\033[K");
  last.clear();
}

bool show_progress_bar(void* context, std::string_view what, double done) {
  Bar& bar = *static_cast<Bar*>(context);
  const double at = now();
  if (bar.started == 0) bar.started = bar.shown = at;
  const bool on_terminal = isatty(STDERR_FILENO) != 0;
  if (at - bar.shown > (on_terminal ? kEvery : kEveryLogged)) {
    bar.shown = at;
    const std::string line = fmt::format("{:3.0f} % {}{}", 100 * done, what, time_left(at - bar.started, done));
    if (on_terminal) {
      fmt::print(stderr, "\r\033[K{}", bar.last = line);
    } else {
      fmt::print(stderr, "{}\n", line);
    }
    std::fflush(stderr);
  }
  return !interrupted();
}

}  // namespace fathom::cli
