// How good exits are, where rows left, and passages to look at, as the report's JSON.
#include "src/calibrate/exit_findings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "fathom/calibrate/agreement.h"
#include "fathom/calibrate/logistic.h"

namespace fathom {
namespace {

constexpr int32_t kPassageTokens = 64;

std::string word_of(const Findings& f, int32_t id) { return f.model.tokenizer().decode({&id, 1}); }

// One exit's answers in one group.
struct Column {
  std::vector<float> confidence, margin, certainty, last, agreement;
  std::vector<uint8_t> agreed;
};

Column column(const Findings& f, size_t exit, int32_t group) {
  Column c;
  const AgreementMap& map = f.fitted.exits.exits[exit].agreement.back();
  for (const TextTrial& text : f.trials.texts) {
    if (text.group != group) continue;
    for (size_t p = 1; p < text.truth.size(); ++p) {  // before the first place nothing was predicted
      const ExitAnswer& answer = f.trials.answer(text, p, exit);
      c.confidence.push_back(answer.confidence);
      c.margin.push_back(answer.margin);
      c.certainty.push_back(-answer.entropy);
      c.last.push_back(-text.last_entropy[p]);
      c.agreement.push_back(map(answer.score));
      c.agreed.push_back(answer.token == text.truth[p]);
    }
  }
  return c;
}

Json bins(const Reliability& r) {
  Json out = Json::array();
  for (const ReliabilityBin& bin : r.bins) {
    if (bin.n > 0) out.push_back({{"p", bin.probability}, {"agreed", bin.agreed}, {"n", bin.n}});
  }
  return out;
}

// As people read them; their order is that of TokenClass.
constexpr const char* kClassTitles[kTokenClasses] = {
    "digits",         "delimiters",  "other punctuation",      "beginnings of words",
    "parts of words", "white space", "other scripts and signs"};

Json passage(const Findings& f, const CalibratedSetting& shown, size_t t) {
  const PieceText& text = *f.reported[t];
  const TextTrial& trial = f.trials.texts[t];
  Json tokens = Json::array();
  for (size_t p = 0; p < std::min<size_t>(trial.truth.size(), kPassageTokens); ++p) {
    const float depth = f.held_out.depths[t][p];
    size_t exit = f.trials.layers.size() - 1;  // where it left, or the last that was asked
    for (size_t e = 0; e < f.trials.layers.size(); ++e) {
      if (float(f.trials.layers[e]) == depth) exit = e;
    }
    const ExitAnswer& answer = f.trials.answer(trial, p, exit);
    tokens.push_back(
        {{"text", word_of(f, text.tokens[p + 1])},
         {"depth", depth},
         {"signals",
          {{"agreement", double(f.fitted.exits.exits[exit].agreement.back()(answer.score))},
           {"exit_confidence", double(answer.confidence)},
           {"exit_margin", double(answer.margin)},
           {"exit_entropy", double(answer.entropy)}}},
         {"threshold", shown.mechanism == "exit" ? Json(double(shown.threshold)) : Json()},
         {"full", {{"text", word_of(f, trial.truth[p])}, {"p", std::min(1.0, double(trial.probability[p]))}}},
         {"agrees", f.held_out.tokens[t][p] == trial.truth[p]}});
  }
  return {{"group", f.groups[size_t(text.group)]}, {"tokens", std::move(tokens)}};
}

}  // namespace

Result<std::vector<ExitQuality>> exit_quality(const Findings& f) {
  std::vector<ExitQuality> out;
  for (size_t e = 0; e < f.trials.layers.size(); ++e) {
    for (size_t g = 0; g < f.groups.size(); ++g) {
      const Column c = column(f, e, int32_t(g));
      ExitQuality q{.layer = f.trials.layers[e], .group = int32_t(g), .rows = std::ssize(c.agreed)};
      for (const uint8_t agreed : c.agreed) q.agreement += agreed / double(c.agreed.size());
      FATHOM_TRY(q.auc_confidence, auc(c.confidence, c.agreed));
      FATHOM_TRY(q.auc_margin, auc(c.margin, c.agreed));
      FATHOM_TRY(q.auc_entropy, auc(c.certainty, c.agreed));
      FATHOM_TRY(q.auc_last_entropy, auc(c.last, c.agreed));
      q.temperature = f.fitted.exits.exits[e].temperatures.back();
      out.push_back(q);
    }
  }
  return out;
}

Json exit_signals(const Findings& f, const Calibration& c) {
  Json out = Json::array();
  const struct {
    const char* name;
    double ExitQuality::*value;
  } kinds[] = {{"exit_confidence", &ExitQuality::auc_confidence},
               {"exit_margin", &ExitQuality::auc_margin},
               {"exit_entropy", &ExitQuality::auc_entropy},
               {"last_entropy", &ExitQuality::auc_last_entropy}};
  for (const auto& kind : kinds) {
    for (size_t e = 0; e < f.trials.layers.size(); ++e) {
      Json of = Json::array();
      double sum = 0, n = 0;
      for (const ExitQuality& q : c.exit_quality) {
        if (q.layer != f.trials.layers[e] || !std::isfinite(q.*kind.value)) continue;
        of.push_back({{"name", f.groups[size_t(q.group)]}, {"auc", q.*kind.value}});
        sum += q.*kind.value, ++n;
      }
      if (n > 0)
        out.push_back(
            {{"name", kind.name}, {"layer", f.trials.layers[e]}, {"auc", sum / n}, {"groups", std::move(of)}});
    }
  }
  return out;
}

Json exit_reliabilities(const Findings& f) {
  Json out = Json::array();
  for (size_t e = 0; e < f.trials.layers.size(); ++e) {
    for (size_t g = 0; g < f.groups.size(); ++g) {
      const Column of = column(f, e, int32_t(g));
      const auto before = reliability(of.confidence, of.agreed), after = reliability(of.agreement, of.agreed);
      if (!before || !after) continue;
      out.push_back({{"layer", f.trials.layers[e]},
                     {"group", f.groups[g]},
                     {"temperature", double(f.fitted.exits.exits[e].temperatures.back())},
                     {"ece_before", before->expected_error},
                     {"ece_after", after->expected_error},
                     {"before", bins(*before)},
                     {"after", bins(*after)}});
    }
  }
  return out;
}

Json exit_depths(const Findings& f) {
  const int32_t n_layers = f.model.config().n_layers;
  std::vector<std::vector<int64_t>> counts(f.groups.size(), std::vector<int64_t>(size_t(n_layers)));
  struct Mean {
    double sum = 0;
    int64_t n = 0;
  };
  std::map<std::string, Mean> classes;
  constexpr int32_t kStretch = 16;
  std::vector<Mean> places(size_t(f.piece_tokens() / kStretch + 1));
  for (size_t t = 0; t < f.reported.size(); ++t) {
    const PieceText& text = *f.reported[t];
    for (size_t p = 0; p < f.held_out.depths[t].size(); ++p) {
      const float depth = f.held_out.depths[t][p];
      ++counts[size_t(text.group)][size_t(std::clamp(int32_t(std::ceil(depth)), 1, n_layers) - 1)];
      Mean& of_class = classes[kClassTitles[size_t(class_of(f.model.tokenizer().piece(text.tokens[p])))]];
      for (Mean* mean : {&of_class, &places[std::min(places.size() - 1, p / size_t(kStretch))]}) {
        mean->sum += depth, ++mean->n;
      }
    }
  }
  Json out = {
      {"layers", n_layers}, {"groups", Json::array()}, {"positions", Json::array()}, {"token_classes", Json::array()}};
  for (size_t g = 0; g < f.groups.size(); ++g) out["groups"].push_back({{"name", f.groups[g]}, {"counts", counts[g]}});
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].n == 0) continue;
    out["positions"].push_back({{"from", int64_t(i) * kStretch},
                                {"to", int64_t(i + 1) * kStretch - 1},
                                {"mean_depth", places[i].sum / double(places[i].n)}});
  }
  for (const auto& [name, mean] : classes) {
    out["token_classes"].push_back({{"name", name}, {"mean_depth", mean.sum / double(mean.n)}, {"n", mean.n}});
  }
  return out;
}

// The first piece of each group: what was predicted, how deep, and by what.
Json exit_passages(const Findings& f, const Calibration& c) {
  Json out = Json::array();
  for (size_t g = 0; g < f.groups.size(); ++g) {
    for (size_t t = 0; t < f.reported.size(); ++t) {
      if (f.reported[t]->group != int32_t(g)) continue;
      out.push_back(passage(f, c.settings[size_t(f.shown)], t));
      break;
    }
  }
  return out;
}

}  // namespace fathom
