// The verdict on top of the page, whose text it stands on, what its words mean, and how to have it again. Next:
// report.cc.
#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"

namespace fathom::report {
namespace {

using html::count;
using html::number;
using html::percent;

Outcome outcome_of(const Report& report) {
  const Promise& promise = report.promise;
  const bool tried = std::any_of(report.candidates.begin(), report.candidates.end(),
                                 [](const Candidate& c) { return c.mechanism != "lossless"; });
  if (promise.lossless && !tried) {
    return {"no", "M5 9h14M5 15h14", "Lossless savings only",
            "Nothing else was tried. These change no token: the text is the one of full depth."};
  }
  if (promise.lossless) {
    return {"no", "M5 9h14M5 15h14", "No-go beyond lossless savings",
            "Nothing beyond the lossless savings pays on this model and machine. Those change no token: the text is "
            "the one "
            "of full depth."};
  }
  if (promise.certified) {
    return {"yes", "M5 13l4.5 4.5L19 7", "Yes: a certified saving",
            "A saving was found that pays here, and how often it changes a token is bounded in every group."};
  }
  const Candidate* const chosen = report.chosen();
  if (chosen != nullptr && promise.policy != "full_depth") {
    return {"no", "M12 6v8M12 17.5v.5", "Not certified", "The policy saves work, but nothing is promised about it."};
  }
  return {"no", "M5 12h14", "No-go: full depth",
          "Nothing pays on this model and machine. The model runs at full depth."};
}

std::string between(const Ratio& r) { return fmt::format("between {:.2f} and {:.2f}", r.low, r.high); }

std::string tiles(const Report& report) {
  const Candidate* const c = report.chosen();
  std::string all;
  if (report.promise.lossless) {
    all += tile("Tokens that differ", "0", "the same text as full depth");
  } else if (c != nullptr && c->certified && report.run.risk) {
    const std::string sure =
        report.run.confidence ? fmt::format(", with {} confidence", html::percent_asked(*report.run.confidence)) : "";
    all += tile(report.run.temperature > 0 ? "Probability that may differ" : "Tokens that may differ",
                fmt::format("\xE2\x89\xA4 {}", html::percent_asked(*report.run.risk)), "in every group" + sure);
  }
  if (c != nullptr && c->work) all += tile("Work", percent(c->work), "of full depth\xE2\x80\x99s multiply-adds");
  if (c != nullptr && c->mean_depth) {
    all += tile("Mean depth", number(c->mean_depth), fmt::format("of {} layers", report.model.layers));
  }
  if (c != nullptr && c->ms_policy) {
    all += tile("Time for a token", number(c->ms_policy) + " ms",
                c->ms_full ? fmt::format("full depth: {} ms", number(c->ms_full)) : "");
  }
  if (c != nullptr && c->over_full) {
    all += tile("Speed over full depth", html::ratio(c->over_full->ratio), between(*c->over_full));
  }
  if (c != nullptr && c->over_lossless && !report.promise.lossless) {
    all += tile("Speed over lossless", html::ratio(c->over_lossless->ratio), between(*c->over_lossless));
  }
  return all;
}

std::string names_table(const std::string& caption, const std::vector<std::pair<std::string, std::string>>& names) {
  if (names.empty()) return {};
  html::Table table(caption, {{"what"}, {"value"}});
  for (const auto& [name, value] : names) table.row({html::isolated(name), html::code(value)});
  return table.html();
}

// Where pieces are compared with full depth, if not everywhere.
std::string compared(const Run& run) {
  const int64_t places = run.pieces_tokens.value_or(0) - 1, n = run.compared_places.value_or(places);
  if (n >= places) return {};
  return fmt::format(
      " Each piece was compared with full depth at {} of its {} places, drawn at random, so that what is seen there is "
      "on average what the whole piece would show.",
      n, places);
}

// What of a group's text became no piece.
std::string left_out(const Group& g) {
  const std::pair<const Count&, const char*> kinds[] = {{g.duplicates, "said before"},
                                                        {g.in_other_groups, "in another group"},
                                                        {g.too_short, "too short"},
                                                        {g.long_prompts, "prompts too long"},
                                                        {g.unanswered, "prompts not answered"}};
  std::string text;
  for (const auto& [n, what] : kinds) {
    if (n.value_or(0) > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count(n), what);
  }
  return text;
}

}  // namespace

std::string verdict(const Report& report) {
  return verdict_box(outcome_of(report), report.promise.sentence, report.promise.policy, tiles(report));
}

Section groups_section(const Report& report) {
  Section section{"groups", "The text it stands on"};
  section.unmeasured = "Groups: the text is not described.";
  if (report.groups.empty()) return section;
  std::string piece = "pieces";
  if (report.run.pieces_tokens) piece = fmt::format("pieces of {} tokens", count(report.run.pieces_tokens));
  section.body =
      html::paragraph(fmt::format("Statistics count documents, or {} of a group with few documents, and not tokens, "
                                  "because tokens of one text depend on one another. Three parts of each group never "
                                  "meet: one to fit, one to choose and certify, one that is looked at only at the end.",
                                  piece) +
                      compared(report.run));
  html::Table table("Groups", {{"group"},
                               {"documents", true},
                               {"pieces to fit", true},
                               {"to choose", true},
                               {"held out", true},
                               {"more needed", true},
                               {"left out"}});
  int64_t missing = 0;
  for (const Group& g : report.groups) {
    missing += g.missing.value_or(0);
    table.row({html::isolated(g.name), count(g.documents), count(g.fit), count(g.choose), count(g.report),
               count(g.missing), left_out(g)});
  }
  section.body += table.html();
  if (missing > 0) {
    section.body += html::paragraph(
        "Where more are needed, the group has too few pieces for a certificate: at least so many more.", "note");
  }
  return section;
}

Section words_section(const Report& report) {
  Section section{"words", "What the words mean"};
  const char* const differs =
      report.run.temperature > 0
          ? "total variation: the share of probability by which what the next token is drawn from is another than at "
            "full depth, after the same text."
          : "the most likely next token is another one than at full depth, after the same text.";
  const std::pair<const char*, const char*> words[] = {
      {"full depth", "the model as it is: every token through every layer. All differences are counted against it."},
      {"depth, work",
       "how many layers a token ran; the share of full depth\xE2\x80\x99s multiplications that is left."},
      {"exit, skip, route", "leave the remaining layers out; leave one layer out; let a small fitted rule choose."},
      {"differs", differs},
      {"limit",
       "of one group and one setting by itself: text of which more differs than that would seldom look as this does. "
       "What "
       "is promised, for all groups together, is the risk that was asked for, and not the limits."},
      {"certified", "in every group the loss is below the allowed risk, by a test fixed beforehand."},
      {"lossless",
       "savings that cannot change a token: guesses that full depth confirms, and proofs about the output head."},
  };
  section.body = "<dl class=\"words\">\n";
  for (const auto& [word, meaning] : words) section.body += fmt::format("<dt>{}</dt><dd>{}</dd>\n", word, meaning);
  section.body += "</dl>\n";
  return section;
}

Section reproduce_section(const Report& report) {
  Section section{"reproduce", "How to have these numbers again"};
  section.unmeasured = "How to reproduce it: not written down.";
  const Run& run = report.run;
  const std::string& command = report.reproduce.command.empty() ? run.command : report.reproduce.command;
  std::vector<std::pair<std::string, std::string>> facts;
  const auto fact = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.emplace_back(name, value);
  };
  fact("model file", report.model.file);
  fact("SHA-256", report.model.sha256);
  fact("numeric path", report.model.numerics);
  fact("machine", report.machine);
  fact("library", run.library);
  fact("seed", run.seed);
  if (run.risk) fact("risk", fmt::format("{:.6g}", *run.risk));
  if (run.confidence) fact("confidence", fmt::format("{:.6g}", *run.confidence));
  if (run.temperature > 0) fact("temperature", fmt::format("{:.6g}", run.temperature));
  if (command.empty() && report.reproduce.splits.empty() && report.reproduce.fingerprints.empty()) return section;
  if (!command.empty()) section.body += "<pre>" + html::escape_lines(command) + "</pre>\n";
  section.body += names_table("The run", facts) +
                  names_table("Hashes of the three parts of the text", report.reproduce.splits) +
                  names_table("Fingerprints: another one is another model, tokenizer or numeric path",
                              report.reproduce.fingerprints);
  return section;
}

}  // namespace fathom::report
