// Passages, each token on a ground that says how deep it went, with what lies behind it as data for the page's script
// and as a table for everybody. Next: sections_origin.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"
#include "src/calibrate/svg.h"

namespace fathom::report {
namespace {

using Json = nlohmann::ordered_json;
using html::number;
using html::percent;

double rounded(double x) { return std::round(x * 1e4) / 1e4; }

// Text as the panel shows it; the script writes it as text, so that nothing is escaped twice.
std::string shown(const std::string& text) {
  std::string plain = text;
  for (const auto& [sign, picture] : {std::pair{'\n', "\xE2\x8F\x8E"}, std::pair{'\t', "\xE2\x87\xA5"}}) {
    for (size_t at = 0; (at = plain.find(sign, at)) != std::string::npos;) plain.replace(at, 1, picture);
  }
  return plain;
}

Json data_of(const Token& token) {
  Json data = {{"t", shown(token.text)}};
  if (token.depth) data["d"] = rounded(*token.depth);
  Json signals = Json::array(), attention = Json::array();
  for (const auto& [name, value] : token.signals) signals.push_back({name, rounded(value)});
  data["s"] = std::move(signals);
  if (token.threshold) data["h"] = *token.threshold;
  if (token.full_text) data["f"] = shown(*token.full_text);
  if (token.full_p) data["p"] = rounded(*token.full_p);
  if (token.agrees) data["same"] = *token.agrees;
  for (const Attention& layer : token.attention) {
    Json to = Json::array();
    for (const auto& [index, weight] : layer.to) to.push_back({index, rounded(weight)});
    attention.push_back({layer.layer, std::move(to)});
  }
  data["a"] = std::move(attention);
  return data;
}

// JSON inside <script>: no "<" is left that could end it.
std::string script_data(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace), safe;
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return "<script type=\"application/json\">" + safe + "</script>\n";
}

std::string token_table(const Passage& passage) {
  html::Table table(
      "Tokens of the passage",
      {{"token"}, {"depth", true}, {"signals"}, {"threshold", true}, {"full depth said"}, {"sure", true}, {"agrees"}});
  for (const Token& t : passage.tokens) {
    std::string signals;
    for (const auto& [name, value] : t.signals) {
      signals += fmt::format("{}{} {}", signals.empty() ? "" : ", ", html::escape(name), number(value));
    }
    table.row({html::isolated(t.text), number(t.depth), signals, t.threshold ? number(t.threshold) : "",
               t.full_text ? html::isolated(*t.full_text) : "", t.full_p ? percent(t.full_p) : "",
               !t.agrees   ? ""
               : *t.agrees ? "yes"
                           : "no"});
  }
  return html::details(fmt::format("All {} tokens as a table", table.size()), table.html());
}

std::string passage_html(const Passage& passage, size_t index, double layers) {
  std::vector<html::ShadedToken> tokens;
  size_t wrong = 0;
  double sum = 0;
  size_t known = 0;
  Json data = {{"layers", layers}, {"tokens", Json::array()}};
  for (const Token& token : passage.tokens) {
    const bool differs = token.agrees && !*token.agrees;
    wrong += differs ? 1 : 0;
    if (token.depth) sum += *token.depth, ++known;
    tokens.push_back({token.text, token.depth ? std::optional<double>(*token.depth / layers) : std::nullopt, differs});
    data["tokens"].push_back(data_of(token));
  }
  std::string said = fmt::format("{} tokens", passage.tokens.size());
  if (known > 0) said += fmt::format(", mean depth {} of {}", number(sum / static_cast<double>(known)), number(layers));
  said += wrong == 0 ? ", none differs from full depth"
                     : fmt::format(", {} {} from full depth", wrong, wrong == 1 ? "differs" : "differ");
  const std::string text =
      html::shaded_text(tokens, fmt::format("passage-{}", index), fmt::format("Passage {}: {}", passage.group, said));
  return fmt::format(
      "<h3>{}</h3>\n<p class=\"note\">{}.</p>\n<div class=\"passage still\">\n{}"
      "<div class=\"panel empty\" aria-live=\"polite\" hidden><p>Point at a token, touch it, or use the arrow keys: "
      "what "
      "decided its depth, what full depth said, and which tokens it rests on.</p></div>\n{}{}</div>\n",
      passage.group.empty() ? fmt::format("Passage {}", index + 1) : html::isolated(passage.group), html::escape(said),
      text, script_data(data), token_table(passage));
}

}  // namespace

Section passages_section(const Report& report) {
  Section section{"passages", "Passages, token by token"};
  section.unmeasured = "Passages: no text was kept to be shown token by token.";
  if (report.passages.empty()) return section;
  const double layers = static_cast<double>(report.model.layers);
  section.body = html::paragraph(
      "Each token stands on a ground that says how deep the decision for it went. A wavy line marks a token for which "
      "full "
      "depth would have said something else. Attention says where a decision looked, which is a hint at what it rested "
      "on "
      "and not a proof.");
  section.body += svg::ramp_legend("left early", fmt::format("all {} layers", report.model.layers));
  for (size_t i = 0; i < report.passages.size(); ++i) section.body += passage_html(report.passages[i], i, layers);
  return section;
}

}  // namespace fathom::report
