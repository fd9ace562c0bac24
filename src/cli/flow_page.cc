// Tokens on grounds that say how much of the embedding comes from each, those dropped or joined marked, all in words
// too.
#include "src/cli/flow_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "src/calibrate/html.h"
#include "src/calibrate/median.h"
#include "src/calibrate/page.h"
#include "src/calibrate/svg.h"
#include "src/cli/command.h"

namespace fathom::cli {
namespace {

constexpr size_t kNameChars = 16;                     // of a token where another names it
constexpr size_t kLeading = 8;                        // tokens of a text's table
constexpr double kRampBegin = 1.0 / 3, kRampEnd = 8;  // times the usual share
constexpr std::string_view kLine = "&#10;";

/// A text's tokens, for what is said about one to name others.
struct Words {
  const Tokenizer& tokenizer;
  std::span<const TokenFate> fates;
  double usual = 0;  // a share, see usual_share()

  // What it is decoded to, without the space in front.
  std::string_view piece(size_t place) const {
    std::string_view bytes = tokenizer.piece(fates[place].token, true);
    if (begins_word(place)) bytes.remove_prefix(1);
    return bytes;
  }
  bool begins_word(size_t place) const {
    const std::string_view bytes = tokenizer.piece(fates[place].token, true);
    return bytes.size() > 1 && bytes.front() == ' ';
  }
  std::string name(size_t place) const { return html::escape_short(piece(place), kNameChars); }
  std::string quoted(size_t place) const { return "\xE2\x80\x9C" + name(place) + "\xE2\x80\x9D"; }
  // With the place where the same token stands more than once.
  std::string told(size_t place) const {
    const auto same = [&](const TokenFate& f) { return f.token == fates[place].token; };
    const bool once = std::count_if(fates.begin(), fates.end(), same) == 1;
    return once ? quoted(place) : fmt::format("{} (token {})", quoted(place), place);
  }
};

// The median, without the two around the text: those draw most of a pooled row, and would leave one shade to the rest.
double usual_share(std::span<const TokenFate> fates) {
  std::vector<double> shares;
  for (const TokenFate& fate : fates) shares.push_back(double{fate.share});
  if (shares.size() > 2) shares = {shares.begin() + 1, shares.end() - 1};
  return median(std::move(shares));
}

std::string behind(int32_t layers) {
  return layers == 0 ? std::string("before the first layer") : fmt::format("behind layer {}", layers);
}

std::string end_of(const Words& words, const TokenFate& fate) {
  if (fate.removed_at < 0) return "kept to the end";
  if (fate.joined < 0) return "dropped " + behind(fate.removed_at);
  return fmt::format("joined {} {}", words.told(static_cast<size_t>(fate.joined)), behind(fate.removed_at));
}

std::string sources_of(const Words& words, const TokenFate& fate) {
  std::string said;
  for (const auto& [place, much] : fate.sources) {
    said += fmt::format("{}{} {}", said.empty() ? "" : ", ", words.told(static_cast<size_t>(place)),
                        html::percent(double{much}));
  }
  return said;
}

// Text of an attribute: a line each.
std::string title_of(const Words& words, size_t place) {
  const TokenFate& fate = words.fates[place];
  std::string title = fmt::format("{}, token {}: {}{}{} of the embedding", words.quoted(place), place,
                                  end_of(words, fate), kLine, html::percent(double{fate.share}));
  const std::string sources = sources_of(words, fate);
  if (!sources.empty()) title += fmt::format("{}its row draws most from {}", kLine, sources);
  return title;
}

std::string ramp_of(double share, double usual) {
  if (share <= 0) return html::ramp_class(0);
  const double times = usual > 0 ? std::clamp(share / usual, kRampBegin, kRampEnd) : kRampEnd;
  return html::ramp_class(std::log2(times / kRampBegin) / std::log2(kRampEnd / kRampBegin));
}

std::string drawn(const Words& words, size_t place) {
  const TokenFate& fate = words.fates[place];
  std::string css = ramp_of(double{fate.share}, words.usual), text = html::escape_token(words.piece(place));
  if (fate.removed_at >= 0 && fate.joined < 0) {
    css = "gone";
    text = fmt::format("<s>{}</s><sub>{}</sub>", text, fate.removed_at);
  } else if (fate.removed_at >= 0) {
    css += " joined";
    text += fmt::format("<sub>\xE2\x86\x92<bdi>{}</bdi></sub>", words.name(static_cast<size_t>(fate.joined)));
  }
  return fmt::format("{}<span class=\"{}\" title=\"{}\">{}</span>", words.begins_word(place) ? " " : "", css,
                     title_of(words, place), text);
}

std::string leading(const Words& words) {
  std::vector<size_t> order(words.fates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t n = std::min(kLeading, order.size());
  std::partial_sort(order.begin(), order.begin() + std::ptrdiff_t(n), order.end(), [&](size_t a, size_t b) {
    const float x = words.fates[a].share, y = words.fates[b].share;
    return x != y ? x > y : a < b;
  });
  html::Table table("Tokens that most of the embedding comes from",
                    {{"token"}, {"share", true}, {"what became of it"}, {"its row draws most from"}});
  for (size_t i = 0; i < n; ++i) {
    const TokenFate& fate = words.fates[order[i]];
    table.row({"<bdi>" + words.told(order[i]) + "</bdi>", html::percent(double{fate.share}), end_of(words, fate),
               fate.sources.empty() ? "\xE2\x80\x93" : sources_of(words, fate)});
  }
  return html::details("The tokens that most of it comes from, and what they draw from", table.html());
}

std::string figures(const Embedding& e, int32_t n_layers) {
  return html::paragraph(fmt::format("{} of {} tokens kept, {} of {} layers, {} of full depth\xE2\x80\x99s work{}",
                                     e.tokens_kept, e.tokens, html::number(double{e.depth}), n_layers,
                                     html::percent(e.work), e.truncated ? "; the text is longer, and was cut" : ""),
                         "note");
}

std::string legend() {
  return html::paragraph(
             "The ground of a token says how much of its text\xE2\x80\x99s embedding comes from it, by attention "
             "rollout, "
             "beside the share of its median token, the two around the text left out. Rest on a token to read its "
             "share, what became of it, and what its row "
             "draws from.") +
         svg::ramp_legend("a third of the median share, or less", "eight times, or more") +
         "<ul class=\"legend tokens\">\n"
         "<li><span class=\"gone\"><s>token</s><sub>2</sub></span> dropped behind layer 2</li>\n"
         "<li><span class=\"q3 joined\">token<sub>\xE2\x86\x92other</sub></span> joined the token that is named, and "
         "is "
         "counted with it</li>\n</ul>\n";
}

report::Outcome outcome() {
  return {"plain", "M4 7h16M4 12h10M4 17h6", "Tokens on their way",
          "Which tokens of a text its embedding comes from, which were dropped, and which went on in others."};
}

}  // namespace

void EmbedTotals::add(std::span<const Embedding> embeddings) {
  texts += std::ssize(embeddings);
  for (const Embedding& e : embeddings) {
    tokens += e.tokens;
    kept += e.tokens_kept;
    cut += e.truncated ? 1 : 0;
    depth += double{e.depth};
    work += e.work;
  }
}

void FlowPage::add(const TextBlock& block, size_t first, std::span<const Embedding> embeddings) {
  for (size_t i = 0; i < embeddings.size() && room() > 0; ++i) {
    const Embedding& e = embeddings[i];
    const Words words{model_.tokenizer(), e.fates, usual_share(e.fates)};
    std::string text = fmt::format("<div class=\"text\" dir=\"auto\" role=\"group\" aria-label=\"Text of line {}\">",
                                   block.numbers[first + i]);
    for (size_t place = 0; place < e.fates.size(); ++place) text += drawn(words, place);
    const Json& id = block.lines[first + i].id;
    texts_.push_back(fmt::format(
        "<article class=\"flow\">\n<h3>Line {}{}</h3>\n{}{}</div>\n{}</article>\n", block.numbers[first + i],
        id.is_null() ? "" : ": " + html::isolated(id.is_string() ? id.get<std::string>() : to_line(id)),
        figures(e, model_.config().n_layers), text, leading(words)));
  }
}

std::string FlowPage::html(const EmbedTotals& totals) const {
  const auto n = static_cast<double>(std::max<int64_t>(totals.texts, 1));
  const int32_t layers = model_.config().n_layers;
  const double kept = totals.tokens > 0 ? double(totals.kept) / double(totals.tokens) : 0;
  std::string tiles = report::tile("Tokens kept", html::percent(kept),
                                   fmt::format("{} of {}", html::count(totals.kept), html::count(totals.tokens)));
  tiles += report::tile("Mean depth", html::number(totals.depth / n), fmt::format("of {} layers", layers));
  tiles += report::tile("Work", html::percent(totals.work / n), "of full depth\xE2\x80\x99s multiply-adds");
  tiles += report::tile("Texts", html::count(totals.texts),
                        totals.texts > std::ssize(texts_) ? fmt::format("the first {} are drawn", texts_.size())
                                                          : std::string("all are drawn"));
  const std::string sentence =
      totals.texts == 0 ? "There were no texts."
      : totals.kept == totals.tokens
          ? fmt::format("All {} tokens ran to the end.", totals.tokens)
          : fmt::format("{} of {} tokens ran to the end and stand for their texts.", totals.kept, totals.tokens);
  report::Page page{.kind = "token flow", .heading = name_};
  page.meta = fmt::format("{}, {} layers.", html::escape(model_.config().family), layers);
  page.verdict = report::verdict_box(outcome(), sentence, policy_, totals.texts > 0 ? tiles : "");
  report::Section texts{"texts", "Texts"};
  texts.unmeasured = "Texts: there were none.";
  if (!texts_.empty()) texts.body = legend();
  for (const std::string& text : texts_) texts.body += text;
  page.sections = {std::move(texts)};
  page.footer =
      "Attention rollout follows what rows look at, not what they make of it: a share is a hint at where an embedding "
      "comes from, not a proof.";
  return report::page_html(page);
}

}  // namespace fathom::cli
