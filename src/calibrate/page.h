// A report's page: what is around its sections, and a policy that lets nothing in from outside. Next: page.cc.
#pragma once

#include <string>
#include <vector>

namespace fathom::report {

/// A part of the page. An empty body: nothing was measured, and `unmeasured` is the line that says so.
struct Section {
  std::string id, title;
  std::string body = {};  // HTML
  std::string unmeasured = {};
};

struct Page {
  std::string kind = {}, heading = {};  // text: "calibration report", and of what
  std::string meta = {}, verdict = {};  // HTML
  std::vector<Section> sections = {};   // in their order; what was not measured is told at the end
  std::string footer =                  // HTML: what the page's numbers hold for
      "Bands and bounds hold for text like the groups above, for this model file, this tokenizer and this numeric "
      "path, "
      "and for nothing else.";
};

/// How it ended.
struct Outcome {
  const char* css;      // "yes", "no", or "plain": neither
  const char* sign;     // an SVG path, 24 units wide
  const char* badge;    // HTML
  const char* meaning;  // text
};

/// The box at the top: badge, promise, policy (both text, may be empty) and tiles.
std::string verdict_box(const Outcome& outcome, const std::string& sentence, const std::string& policy,
                        const std::string& tiles);
/// One figure of it. HTML.
std::string tile(const std::string& what, const std::string& value, const std::string& note);

std::string page_html(const Page& page);

}  // namespace fathom::report
