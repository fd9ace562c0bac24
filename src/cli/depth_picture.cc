// Shades of the 256-colour palette, from near white to deep blue. Next: generate.cc, which streams through it.
#include "src/cli/depth_picture.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace fathom::cli {
namespace {

struct Shade {
  int ground, letters;  // palette indices
};

// Luminance falls from step to step; the letters keep a contrast of at least 5 : 1 (WCAG 2 formula) on each. The last
// is for full depth alone.
constexpr Shade kShades[] = {{255, 16}, {189, 16}, {153, 16}, {117, 16}, {75, 16}, {33, 16}, {25, 231}, {19, 231}};
constexpr int kFull = std::size(kShades) - 1;

std::string painted(std::string_view text, Shade shade, bool underlined = false) {
  return fmt::format("\x1b[{}48;5;{};38;5;{}m{}\x1b[0m", underlined ? "4;" : "", shade.ground, shade.letters, text);
}

}  // namespace

bool on_terminal() { return isatty(STDOUT_FILENO) != 0; }

bool use_color(std::string_view mode) {
  if (mode != "auto") return mode == "always";
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  return on_terminal() && term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

std::string harmless(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c1) ++i;
    if (c1 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
      out += "\xef\xbf\xbd";
    } else {
      out += text[i];
    }
  }
  return out;
}

int DepthPicture::shade(float depth) const {
  if (depth >= static_cast<float>(n_layers_)) return kFull;
  const auto step = static_cast<int>(std::floor(depth / static_cast<float>(n_layers_) * kFull));
  return std::clamp(step, 0, kFull - 1);
}

// A newline is left unpainted, and clears to its line's end: terminals fill the rest of a wrapped line with the ground
// that was set when they wrapped.
std::string DepthPicture::paint(std::string_view text, float depth, bool drafted) const {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) out += painted(harmless(text.substr(0, end)), kShades[shade(depth)], drafted);
    if (end == text.size()) break;
    out += "\x1b[K\n";
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string DepthPicture::legend(bool drafts) const {
  std::string line = "depth ";
  for (int s = 0; s < kFull; ++s) {
    int32_t first = n_layers_, last = -1;  // whole depths of this shade; models under 7 layers leave some shades unused
    for (int32_t d = 0; d < n_layers_; ++d) {
      if (shade(static_cast<float>(d)) != s) continue;
      first = std::min(first, d);
      last = d;
    }
    if (last < 0) continue;
    line += painted(first == last ? fmt::format(" {} ", first) : fmt::format(" {}-{} ", first, last), kShades[s]);
  }
  line += painted(fmt::format(" {} ", n_layers_), kShades[kFull]) + fmt::format(" of {} layers", n_layers_);
  return drafts ? line + "; " + painted("underlined", kShades[kFull], true) + ": drafted, then confirmed" : line;
}

}  // namespace fathom::cli
