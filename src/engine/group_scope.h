// GroupScope: a session that uses what was fitted for one group, until the end of a call. Next in the flow:
// generate.cc.
#pragma once

#include <string>
#include <string_view>

#include "fathom/engine/session.h"

namespace fathom {

class GroupScope {
 public:
  explicit GroupScope(Session& session) : session_(session), before_(session.group()) {}
  GroupScope(const GroupScope&) = delete;
  GroupScope& operator=(const GroupScope&) = delete;
  ~GroupScope() {
    if (entered_) (void)session_.use_group(before_).has_value();  // it was in use
  }

  /// Empty: the session stays as it is.
  ///   errors   those of Session::use_group()
  Result<void> enter(std::string_view group) {
    if (group.empty()) return {};
    FATHOM_TRY(session_.use_group(group));
    entered_ = true;
    return {};
  }

 private:
  Session& session_;
  std::string before_;
  bool entered_ = false;
};

}  // namespace fathom
