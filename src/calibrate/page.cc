// The page: style, script, security policy, sections and the list of what was not measured.
#include "src/calibrate/page.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <string_view>
#include <utility>

#include "fathom/calibrate/report.h"
#include "src/calibrate/html.h"
#include "src/calibrate/report/assets.h"

namespace fathom::report {
namespace {

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

}  // namespace

std::string tile(const std::string& what, const std::string& value, const std::string& note) {
  return fmt::format("<li><span class=\"what\">{}</span><b>{}</b><span>{}</span></li>\n", what, value, note);
}

std::string verdict_box(const Outcome& outcome, const std::string& sentence, const std::string& policy,
                        const std::string& tiles) {
  return fmt::format(
      "<div class=\"verdict {}\">\n<p class=\"badge\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path "
      "d=\"{}\"/></svg>"
      "{}</p>\n<p class=\"sentence\">{}</p>\n{}{}{}</div>\n",
      outcome.css, outcome.sign, outcome.badge, html::escape(sentence), html::paragraph(html::escape(outcome.meaning)),
      policy.empty() ? "" : html::paragraph(fmt::format("Policy: {}", html::code(policy)), "policy"),
      tiles.empty() ? "" : "<ul class=\"tiles\">\n" + tiles + "</ul>\n");
}

std::string page_html(const Page& page) {
  std::string body, links, unmeasured;
  for (const Section& section : page.sections) {
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
  return std::string(kReportPageStart) +
         filled(report_assets::kPage, {{"style_hash", hash_of(css)},
                                       {"script_hash", hash_of(report_assets::kScript)},
                                       {"title", html::escape(page.heading + ": " + page.kind)},
                                       {"kind", html::escape(page.kind)},
                                       {"style", css},
                                       {"heading", html::escape(page.heading)},
                                       {"meta", page.meta},
                                       {"verdict", page.verdict},
                                       {"links", links},
                                       {"sections", body},
                                       {"footer", page.footer},
                                       {"script", std::string(report_assets::kScript)}});
}

}  // namespace fathom::report
