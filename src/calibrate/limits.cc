// Names of groups, character by character. Next: document_splits.cc.
#include "fathom/calibrate/limits.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "src/text/utf8.h"

namespace fathom {
namespace {

bool is_printable(uint32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CN:  // not assigned
    case UTF8PROC_CATEGORY_CC:  // control
    case UTF8PROC_CATEGORY_CF:  // directions of writing, among others
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:  // private
    case UTF8PROC_CATEGORY_ZL:  // ends of lines and paragraphs
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool is_printable(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const text::Utf8Step step = text::next_step(text.substr(at));
    if (step.kind != text::Utf8Step::Kind::character || !is_printable(text::code_point(text.data() + at))) return false;
    at += step.bytes;
  }
  return true;
}

}  // namespace

Result<void> check_group_name(std::string_view name) {
  if (name.empty()) return Error{ErrorCode::argument, "a group has no name: give one, such as prose=a.txt"};
  if (name.size() > kMostGroupName) {
    return Error{ErrorCode::argument, fmt::format("group {}: a name of {} bytes: give one of at most {}",
                                                  text::printable(name), name.size(), kMostGroupName)};
  }
  if (is_printable(name)) return {};
  return Error{ErrorCode::argument, fmt::format("group {}: a name is UTF-8 of characters that can be printed: give "
                                                "another, such as prose=a.txt",
                                                text::printable(name))};
}

}  // namespace fathom
