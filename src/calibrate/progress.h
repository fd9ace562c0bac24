// Progress: one bar over the parts of a long run, and the way to stop it. Next in the flow:
// src/calibrate/exit_fitting.h.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

class Progress {
 public:
  using Call = bool (*)(void* context, std::string_view what, double done);
  /// `run`: what is stopped, for the message.
  Progress(Call call, void* context, std::string_view run = "calibration")
      : call_(call), context_(context), run_(run) {}

  /// The coming part takes such a share of the whole run.
  void begin(std::string_view what, double share) {
    base_ += share_;
    what_ = what;
    share_ = share;
  }

  /// So much of the part is done.
  ///   errors   cancelled: the caller wants to stop
  Result<void> at(double part) {
    if (call_ == nullptr || call_(context_, what_, base_ + share_ * part)) return {};
    return Error{ErrorCode::cancelled, fmt::format("{} was stopped while {}", run_, what_)};
  }

 private:
  Call call_;
  void* context_;
  std::string_view run_;
  std::string what_;
  double base_ = 0, share_ = 0;
};

}  // namespace fathom
