// The page: its parts in order, what was not measured, and a policy that lets nothing in from outside.
#include "fathom/calibrate/report.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <utility>
#include <vector>

#include "src/calibrate/html.h"
#include "src/calibrate/report/assets.h"
#include "src/calibrate/report_sections.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

using report::Report;
using report::Section;

// SHA-256 in base64, by which the page's security policy knows its own style and script.
std::string hash_of(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int n = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &n, EVP_sha256(), nullptr) != 1) return {};
  std::string base64(4 * ((n + 2) / 3) + 1, '\0');
  base64.resize(static_cast<size_t>(
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()), digest.data(), static_cast<int>(n))));
  return base64;
}

// Colours three times, because a page follows the reader's system until the button says otherwise; paper is light.
std::string style() {
  namespace assets = report_assets;
  return fmt::format(
      "\n:root {{\n{0}}}\n@media screen and (prefers-color-scheme: dark) {{\n:root {{\n{1}}}\n}}\n"
      "@media screen {{\n:root[data-theme=\"light\"] {{\n{0}}}\n:root[data-theme=\"dark\"] {{\n{1}}}\n}}\n{2}",
      assets::kLight, assets::kDark, assets::kStyle);
}

// `text` with each {{name}} replaced; what is put in is not looked at again.
std::string filled(std::string_view text, const std::vector<std::pair<std::string_view, std::string>>& values) {
  std::string page;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find("{{", at), close = text.find("}}", open);
    if (open == std::string_view::npos || close == std::string_view::npos) return page += text.substr(at);
    page += text.substr(at, open - at);
    const std::string_view name = text.substr(open + 2, close - open - 2);
    for (const auto& [known, value] : values) {
      if (known == name) page += value;
    }
    at = close + 2;
  }
  return page;
}

std::vector<Section> sections_of(const Report& r) {
  std::vector<Section> sections;
  const bool nogo_first = !r.promise.certified || r.promise.lossless;
  if (nogo_first) sections.push_back(nogo_section(r));
  sections.push_back(frontier_section(r));
  sections.push_back(speed_section(r));
  sections.push_back(ceilings_section(r));
  if (!nogo_first) sections.push_back(nogo_section(r));
  sections.push_back(reliability_section(r));
  sections.push_back(exit_depth_section(r));
  sections.push_back(signals_section(r));
  sections.push_back(layer_utility_section(r));
  sections.push_back(head_utility_section(r));
  sections.push_back(passages_section(r));
  sections.push_back(continuations_section(r));
  sections.push_back(groups_section(r));
  sections.push_back(words_section(r));
  sections.push_back(reproduce_section(r));
  return sections;
}

std::string meta_of(const Report& r) {
  std::string meta = fmt::format("{} layers", r.model.layers);
  if (r.model.d_model) meta += fmt::format(", width {}", html::count(r.model.d_model));
  if (r.model.vocab) meta += fmt::format(", {} tokens in its vocabulary", html::count(r.model.vocab));
  if (!r.model.numerics.empty()) meta += fmt::format(", numerics {}", html::escape(r.model.numerics));
  if (!r.machine.empty()) meta += ". Measured on " + html::escape(r.machine);
  return meta + ".";
}

}  // namespace

Result<std::string> report_line(std::string_view report_json) {
  FATHOM_TRY(report::read_report(report_json));
  FATHOM_TRY(const JsonValue document, parse_json(report_json, "report"));
  return document.dump(-1, ' ', false, JsonValue::error_handler_t::replace);
}

Result<std::string> report_html(std::string_view report_json) {
  FATHOM_TRY(const Report r, report::read_report(report_json));
  std::string body, links, unmeasured;
  for (const Section& section : sections_of(r)) {
    if (section.body.empty()) {
      unmeasured += "<li>" + section.unmeasured + "</li>\n";
      continue;
    }
    links += fmt::format("<a href=\"#{}\">{}</a> ", section.id, section.title);
    body += fmt::format(
        "<section id=\"{0}\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}</h2>\n{2}</section>\n",
        section.id, section.title, section.body);
  }
  if (!unmeasured.empty()) {
    body += "<section id=\"unmeasured\"><h2>Not measured in this run</h2>\n<ul class=\"unmeasured\">\n" + unmeasured +
            "</ul></section>\n";
  }
  const std::string css = style();
  const std::string title = html::escape(r.model.name);
  return std::string(kReportPageStart) +
         filled(report_assets::kPage, {{"style_hash", hash_of(css)},
                                       {"script_hash", hash_of(report_assets::kScript)},
                                       {"title", title + ": calibration report"},
                                       {"style", css},
                                       {"heading", title},
                                       {"meta", meta_of(r)},
                                       {"verdict", verdict(r)},
                                       {"links", links},
                                       {"sections", body},
                                       {"script", std::string(report_assets::kScript)}});
}

}  // namespace fathom
