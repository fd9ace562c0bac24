// Text in a terminal, each token on a ground that says how deep it went: pale is shallow, strong is full depth.
// Next: depth_picture.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::cli {

/// `--color always | auto | never`. auto: stdout is a terminal, NO_COLOR is unset and TERM is not dumb.
bool use_color(std::string_view mode);

/// True when stdout is a terminal.
bool on_terminal();

/// Text without what a terminal would obey: control characters other than newline and tab become U+FFFD.
std::string harmless(std::string_view text);

/// Shades text by depth. Ground and letters are both set, so the picture reads on dark and on light terminals.
class DepthPicture {
 public:
  explicit DepthPicture(int32_t n_layers) : n_layers_(n_layers) {}

  /// A piece of text that became certain with a token of this depth; underlined where that had been drafted.
  std::string paint(std::string_view text, float depth, bool drafted = false) const;
  /// One line that says which shade is which depth, and what underlining means where there is any.
  std::string legend(bool drafts = false) const;

 private:
  int shade(float depth) const;
  int32_t n_layers_;
};

}  // namespace fathom::cli
