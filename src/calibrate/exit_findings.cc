// How good exits are, where rows left, and passages to look at, as the report's JSON.
#include "src/calibrate/exit_findings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "fathom/calibrate/agreement.h"
#include "fathom/calibrate/logistic.h"
#include "fathom/engine/work.h"

namespace fathom {
namespace {

constexpr int32_t kPassageTokens = 64;
constexpr double kBytesEach = 2;  // numbers of a translator: BF16, each multiplied once

std::string word_of(const Findings& f, int32_t id) { return f.model.tokenizer().decode({&id, 1}); }

// Which way each signal tells: higher where the answer is full depth's, or lower.
constexpr float kSurer[kSignals] = {1, 1, -1, 1, 1, 1, 1, -1, 1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// One exit in one group: what every signal said at each place, NaN where it was missing, and who was right.
struct Column {
  std::array<std::vector<float>, kSignals> values;
  std::vector<uint8_t> agreed;  // by token
  std::vector<float> kept;      // one less the loss

  std::vector<float>& of(Signal s) { return values[size_t(s)]; }
  const std::vector<float>& of(Signal s) const { return values[size_t(s)]; }
};

// Exits in a row, this one included, whose answer was the same.
float agreeing(const Findings& f, const TextTrial& text, size_t place, size_t exit) {
  size_t first = exit;
  while (first > 0 && f.trials.answer(text, place, first - 1).token == f.trials.answer(text, place, exit).token)
    --first;
  return float(exit - first + 1);
}

Column column(const Findings& f, size_t exit, int32_t group) {
  Column c;
  const AgreementMap& map = f.fitted.exits.exits[exit].agreement.back();
  for (size_t t = 0; t < f.trials.texts.size(); ++t) {
    const TextTrial& text = f.trials.texts[t];
    if (text.group != group) continue;
    for (size_t p = 1; p < text.truth.size(); ++p) {  // before the first place nothing was predicted
      const ExitAnswer& answer = f.trials.answer(text, p, exit);
      c.of(Signal::exit_confidence).push_back(answer.confidence);
      c.of(Signal::exit_margin).push_back(answer.margin);
      c.of(Signal::exit_entropy).push_back(answer.entropy);
      c.of(Signal::agreeing).push_back(agreeing(f, text, p, exit));
      c.of(Signal::agreement).push_back(map(answer.score));
      c.of(Signal::last_entropy).push_back(text.last_entropy[p]);
      const SignalRecord::Values& state = f.signals.at(t, p, exit);
      for (size_t s = 0; s < kStateSignals.size(); ++s) c.of(kStateSignals[s]).push_back(state[s]);
      c.agreed.push_back(answer.token == text.truth[p]);
      c.kept.push_back(1 - answer.loss);
    }
  }
  return c;
}

Result<double> auc_of(const Column& c, Signal signal) {
  if (c.of(signal).empty()) return std::numeric_limits<double>::quiet_NaN();  // not measured here
  std::vector<float> scores;
  std::vector<uint8_t> agreed;
  for (size_t i = 0; i < c.agreed.size(); ++i) {
    const float value = c.of(signal)[i];
    if (std::isnan(value)) continue;
    scores.push_back(kSurer[size_t(signal)] * value);
    agreed.push_back(c.agreed[i]);
  }
  return auc(scores, agreed);
}

// Of a row at full depth, in the middle of a piece.
double work_of(const Findings& f, Signal signal, size_t exit) {
  const int32_t layer = f.trials.layers[exit];
  const WorkModel work(f.model.config());
  const int32_t position = f.piece_tokens() / 2;
  double cost = 0;
  if (kExitSignals.has(signal)) {
    cost = work.head() + translator_bytes(f.fitted.exits.exits[exit]) / kBytesEach;
  } else if (signal == Signal::diversity) {
    cost = work.cosine() * kRecentRows;
  } else if (signal == Signal::attention_received) {
    cost = work.attention_share(layer);
  } else if (signal != Signal::last_entropy) {
    cost = work.cosine();
  }
  return cost / work.full(position, true);
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

// Tokens of a passage stand where they are predicted: at the place before their own. Its first one is not shown.
Json looked_at(const Looked& looked) {
  Json to = Json::array();
  for (const auto& [token, share] : looked.to) {
    if (token > 0) to.push_back({token - 1, double(share)});
  }
  return {{"layer", looked.layer}, {"to", std::move(to)}};
}

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
    Json signals = {{"agreement", double(f.fitted.exits.exits[exit].agreement.back()(answer.score))},
                    {"exit_confidence", double(answer.confidence)},
                    {"exit_margin", double(answer.margin)},
                    {"exit_entropy", double(answer.entropy)}};
    const SignalRecord::Values& state = f.signals.at(t, p, exit);
    for (size_t s = 0; s < kStateSignals.size(); ++s) {
      if (!std::isnan(state[s])) signals[std::string(kSignalNames[size_t(kStateSignals[s])])] = double(state[s]);
    }
    Json attention = Json::array();
    for (const Looked& looked : at_three_depths(f.looked[t].rows[p], depth)) attention.push_back(looked_at(looked));
    tokens.push_back(
        {{"text", word_of(f, text.tokens[p + 1])},
         {"depth", depth},
         {"signals", std::move(signals)},
         {"threshold", shown.mechanism == "exit" ? Json(double(shown.threshold)) : Json()},
         {"full", {{"text", word_of(f, trial.truth[p])}, {"p", std::min(1.0, double(trial.probability[p]))}}},
         {"agrees", f.looked[t].said[p] == trial.truth[p]},
         {"attention", std::move(attention)}});
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
      for (int s = 0; s < kSignals; ++s) {
        FATHOM_TRY(q.auc[size_t(s)], auc_of(c, Signal(s)));
      }
      q.temperature = f.fitted.exits.exits[e].temperatures.back();
      out.push_back(q);
    }
  }
  return out;
}

Json exit_signals(const Findings& f, const Calibration& c) {
  Json out = Json::array();
  for (int s = 0; s < kSignals; ++s) {
    for (size_t e = 0; e < f.trials.layers.size(); ++e) {
      Json of = Json::array();
      double sum = 0, n = 0;
      for (const ExitQuality& q : c.exit_quality) {
        const double auc = q.auc[size_t(s)];
        if (q.layer != f.trials.layers[e] || !std::isfinite(auc)) continue;
        of.push_back({{"name", f.groups[size_t(q.group)]}, {"auc", auc}});
        sum += auc, ++n;
      }
      if (n == 0) continue;
      out.push_back({{"name", kSignalNames[s]},
                     {"layer", f.trials.layers[e]},
                     {"auc", sum / n},
                     {"work", work_of(f, Signal(s), e)},
                     {"groups", std::move(of)}});
    }
  }
  return out;
}

Json exit_translators(const Findings& f) {
  const double full = WorkModel(f.model.config()).full(f.piece_tokens() / 2, true);
  Json out = Json::array();
  for (size_t e = 0; e < f.fitted.exits.exits.size(); ++e) {
    const FittedExit& exit = f.fitted.exits.exits[e];
    Json kinds = Json::array();
    for (int k = 0; k < kTranslatorKinds; ++k) {
      const double agreement = f.fitted.agreement[e][size_t(k)];
      if (!std::isnan(agreement)) kinds.push_back({{"name", name(TranslatorKind(k))}, {"agreement", agreement}});
    }
    out.push_back({{"layer", exit.layer},
                   {"kept", name(kind_of(exit))},
                   {"work", translator_bytes(exit) / kBytesEach / full},
                   {"kinds", std::move(kinds)}});
  }
  return out;
}

Json exit_reliabilities(const Findings& f) {
  Json out = Json::array();
  for (size_t e = 0; e < f.trials.layers.size(); ++e) {
    for (size_t g = 0; g < f.groups.size(); ++g) {
      const Column of = column(f, e, int32_t(g));
      const auto before = reliability(of.of(Signal::exit_confidence), of.kept),
                 after = reliability(of.of(Signal::agreement), of.kept);
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

// What was predicted, how deep, by what, and where the rows looked.
Json exit_passages(const Findings& f, const Calibration& c) {
  Json out = Json::array();
  for (size_t t = 0; t < f.reported.size(); ++t) {
    if (f.shows(t)) out.push_back(passage(f, c.settings[size_t(f.shown)], t));
  }
  return out;
}

}  // namespace fathom
