// Findings in numbers: how good exits are, and the JSON that the report page is made from.
#include "src/calibrate/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/agreement.h"
#include "fathom/calibrate/logistic.h"

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kPassageTokens = 64;

Json ratio(const SpeedRatio& r) { return {{"ratio", r.ratio}, {"low", r.low}, {"high", r.high}}; }

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

std::string class_of(std::string_view text) {
  const auto any = [&](int (*is)(int)) {
    return std::any_of(text.begin(), text.end(), [&](char c) { return is(static_cast<unsigned char>(c)) != 0; });
  };
  if (any(std::isdigit)) return "digits";
  if (any([](int c) { return int(c >= 128); })) return "other scripts and signs";
  if (any(std::isalpha)) return text.front() == ' ' ? "beginnings of words" : "parts of words";
  return any(std::ispunct) ? "punctuation" : "white space";
}

class Report {
 public:
  Report(const Findings& f, const Calibration& c) : f_(f), c_(c), tokenizer_(f.model.tokenizer()) {}

  std::string text() const {
    const ModelConfig& config = f_.model.config();
    const CalibrationOrigin& o = f_.options.origin;
    Json j;
    j["format"] = 1;
    j["model"] = {{"name", o.model_name},
                  {"file", o.model_file},
                  {"sha256", o.sha256},
                  {"layers", config.n_layers},
                  {"d_model", config.d_model},
                  {"vocab", config.vocab},
                  {"numerics", f_.model.fingerprint().numeric_path}};
    j["machine"] = o.machine;
    j["run"] = {{"command", o.command},    {"seed", f_.options.seed},
                {"risk", f_.options.risk}, {"confidence", f_.options.confidence},
                {"library", o.library},    {"pieces_tokens", piece_tokens()}};
    j["promise"] = {
        {"sentence", c_.promise}, {"policy", c_.policy}, {"certified", c_.certified}, {"lossless", c_.lossless}};
    j["groups"] = groups();
    j["candidates"] = candidates();
    j["ceilings"] = Json::array({ceiling()});
    j["signals"] = signals();
    j["reliability"] = reliabilities();
    j["exit_depth"] = depths();
    if (f_.speeds.speeds.size() > 2) j["continuations"] = continuations();
    j["passages"] = passages();
    j["nogo"] = nogo();
    j["reproduce"] = {{"command", o.command},
                      {"splits",
                       {{"fit", f_.pieces.fingerprints[0]},
                        {"choose", f_.pieces.fingerprints[1]},
                        {"report", f_.pieces.fingerprints[2]}}},
                      {"fingerprints", {{"model", o.sha256}, {"numerics", f_.model.fingerprint().numeric_path}}}};
    return j.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  size_t n_groups() const { return f_.groups.size(); }
  std::string word(int32_t id) const { return tokenizer_.decode({&id, 1}); }
  int32_t piece_tokens() const {
    return f_.reported.empty() ? 0 : static_cast<int32_t>(f_.reported.front()->tokens.size());
  }
  const CalibratedSetting& shown() const { return c_.settings[size_t(f_.shown)]; }

  Json groups() const {
    Json out = Json::array();
    for (size_t g = 0; g < n_groups(); ++g) {
      const PieceGroup& group = f_.pieces.groups[g];
      int64_t missing = 0;
      if (!c_.settings.empty() && c_.settings.front().run && g < c_.settings.front().bounds.size()) {
        missing = c_.settings.front().certified ? 0 : c_.settings.front().bounds[g].missing();
      }
      out.push_back(
          {{"name", group.name},
           {"documents", group.n_documents},
           {"pieces", {{"fit", group.n_pieces[0]}, {"choose", group.n_pieces[1]}, {"report", group.n_pieces[2]}}},
           {"missing", missing}});
    }
    return out;
  }

  Json candidates() const {
    Json out = Json::array();
    for (size_t i = 0; i < c_.settings.size(); ++i) {
      const CalibratedSetting& s = c_.settings[i];
      Json one = {{"policy", s.policy}, {"mechanism", "exit"}, {"parameter", double(s.threshold)}};
      if (s.run) one["work"] = s.work;
      one["mean_depth"] = s.mean_depth;
      one["chosen"] = c_.chosen == int32_t(i);
      one["certified"] = s.certified;
      for (const MeasuredSpeed& speed : c_.speeds) {
        if (speed.policy != s.policy) continue;
        one["ms_per_token"] = {{"full", c_.speeds[0].ms_per_token},
                               {"lossless", c_.speeds[1].ms_per_token},
                               {"policy", speed.ms_per_token}};
        one["speed_over_full"] = ratio(speed.over_full);
        one["speed_over_lossless"] = ratio(speed.over_lossless);
      }
      Json of = Json::array();
      for (const GroupBound& bound : s.bounds) {
        Json b = {{"name", f_.groups[size_t(bound.group)]},
                  {"mean", bound.mean},
                  {"upper", std::min(1.0, bound.upper)},
                  {"pieces", bound.n}};
        if (!s.held_out.empty()) b["held_out"] = s.held_out[size_t(bound.group)];
        of.push_back(std::move(b));
      }
      one["groups"] = std::move(of);
      out.push_back(std::move(one));
    }
    if (c_.speeds.size() > 1) {
      out.push_back({{"policy", kLosslessPolicy},
                     {"mechanism", "lossless"},
                     {"chosen", c_.policy == kLosslessPolicy},
                     {"certified", true},
                     {"ms_per_token",
                      {{"full", c_.speeds[0].ms_per_token},
                       {"lossless", c_.speeds[1].ms_per_token},
                       {"policy", c_.speeds[1].ms_per_token}}},
                     {"speed_over_full", ratio(c_.speeds[1].over_full)}});
    }
    return out;
  }

  Json ceiling() const {
    Json of = Json::array();
    for (size_t g = 0; g < n_groups(); ++g) {
      of.push_back({{"name", f_.groups[g]}, {"work", std::clamp(c_.oracle_work[g], 0.0, 1.0)}});
    }
    return {
        {"what", "an exit that knows"},
        {"groups", std::move(of)},
        {"note",
         "each token leaves at the first fitted layer whose answer is full depth's, and no check is paid for; time, "
         "as the bytes of layers and head say"}};
  }

  Json signals() const {
    Json out = Json::array();
    const struct {
      const char* name;
      double ExitQuality::*value;
    } kinds[] = {{"exit_confidence", &ExitQuality::auc_confidence},
                 {"exit_margin", &ExitQuality::auc_margin},
                 {"exit_entropy", &ExitQuality::auc_entropy},
                 {"last_entropy", &ExitQuality::auc_last_entropy}};
    for (const auto& kind : kinds) {
      for (size_t e = 0; e < f_.trials.layers.size(); ++e) {
        Json of = Json::array();
        double sum = 0, n = 0;
        for (const ExitQuality& q : c_.exit_quality) {
          if (q.layer != f_.trials.layers[e] || !std::isfinite(q.*kind.value)) continue;
          of.push_back({{"name", f_.groups[size_t(q.group)]}, {"auc", q.*kind.value}});
          sum += q.*kind.value, ++n;
        }
        if (n > 0)
          out.push_back(
              {{"name", kind.name}, {"layer", f_.trials.layers[e]}, {"auc", sum / n}, {"groups", std::move(of)}});
      }
    }
    return out;
  }

  Json reliabilities() const {
    Json out = Json::array();
    for (size_t e = 0; e < f_.trials.layers.size(); ++e) {
      for (size_t g = 0; g < n_groups(); ++g) {
        const Column c = column(f_, e, int32_t(g));
        const auto before = reliability(c.confidence, c.agreed), after = reliability(c.agreement, c.agreed);
        if (!before || !after) continue;
        out.push_back({{"layer", f_.trials.layers[e]},
                       {"group", f_.groups[g]},
                       {"temperature", double(f_.fitted.exits.exits[e].temperatures.back())},
                       {"ece_before", before->expected_error},
                       {"ece_after", after->expected_error},
                       {"before", bins(*before)},
                       {"after", bins(*after)}});
      }
    }
    return out;
  }

  Json depths() const {
    const int32_t n_layers = f_.model.config().n_layers;
    std::vector<std::vector<int64_t>> counts(n_groups(), std::vector<int64_t>(size_t(n_layers)));
    struct Mean {
      double sum = 0;
      int64_t n = 0;
    };
    std::map<std::string, Mean> classes;
    constexpr int32_t kStretch = 16;
    std::vector<Mean> places(size_t(piece_tokens() / kStretch + 1));
    for (size_t t = 0; t < f_.reported.size(); ++t) {
      const PieceText& text = *f_.reported[t];
      for (size_t p = 0; p < f_.held_out.depths[t].size(); ++p) {
        const float depth = f_.held_out.depths[t][p];
        ++counts[size_t(text.group)][size_t(std::clamp(int32_t(std::ceil(depth)), 1, n_layers) - 1)];
        Mean& of_class = classes[class_of(word(text.tokens[p]))];
        for (Mean* mean : {&of_class, &places[std::min(places.size() - 1, p / size_t(kStretch))]}) {
          mean->sum += depth, ++mean->n;
        }
      }
    }
    Json out = {{"layers", n_layers},
                {"groups", Json::array()},
                {"positions", Json::array()},
                {"token_classes", Json::array()}};
    for (size_t g = 0; g < n_groups(); ++g) out["groups"].push_back({{"name", f_.groups[g]}, {"counts", counts[g]}});
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

  Json continuations() const {
    Json of = Json::array();
    for (const Continuations& c : f_.speeds.continuations) {
      if (c.n == 0) continue;
      of.push_back({{"name", f_.groups[size_t(c.group)]},
                    {"n", c.n},
                    {"whole_equal", double(c.equal) / double(c.n)},
                    {"median_first_difference", c.median_first_difference},
                    {"tokens", c.tokens}});
    }
    return {{"groups", std::move(of)}};
  }

  // The first piece of each group: what was predicted, how deep, and by what.
  Json passages() const {
    Json out = Json::array();
    for (size_t g = 0; g < n_groups(); ++g) {
      for (size_t t = 0; t < f_.reported.size(); ++t) {
        if (f_.reported[t]->group != int32_t(g)) continue;
        out.push_back(passage(t));
        break;
      }
    }
    return out;
  }

  Json passage(size_t t) const {
    const PieceText& text = *f_.reported[t];
    const TextTrial& trial = f_.trials.texts[t];
    Json tokens = Json::array();
    for (size_t p = 0; p < std::min<size_t>(trial.truth.size(), kPassageTokens); ++p) {
      const float depth = f_.held_out.depths[t][p];
      size_t exit = f_.trials.layers.size() - 1;  // where it left, or the last that was asked
      for (size_t e = 0; e < f_.trials.layers.size(); ++e) {
        if (float(f_.trials.layers[e]) == depth) exit = e;
      }
      const ExitAnswer& answer = f_.trials.answer(trial, p, exit);
      tokens.push_back({{"text", word(text.tokens[p + 1])},
                        {"depth", depth},
                        {"signals",
                         {{"agreement", double(f_.fitted.exits.exits[exit].agreement.back()(answer.score))},
                          {"exit_confidence", double(answer.confidence)},
                          {"exit_margin", double(answer.margin)},
                          {"exit_entropy", double(answer.entropy)}}},
                        {"threshold", double(shown().threshold)},
                        {"full", {{"text", word(trial.truth[p])}, {"p", std::min(1.0, double(trial.probability[p]))}}},
                        {"agrees", f_.held_out.tokens[t][p] == trial.truth[p]}});
    }
    return {{"group", f_.groups[size_t(text.group)]}, {"tokens", std::move(tokens)}};
  }

  Json nogo() const {
    Json out = Json::array();
    if (c_.chosen >= 0) return out;
    double most = 1;
    for (const double time : c_.oracle_work) most = std::min(most, time);
    const CalibratedSetting& s = shown();
    std::string decided, reason;
    if (!s.certified) {
      double worst = 0;
      for (const GroupBound& b : s.bounds) worst = std::max(worst, b.upper);
      decided = fmt::format("at the safest threshold {:g} the bound is {:.2f} %, above {:g} %", s.threshold,
                            100 * worst, 100 * f_.options.risk);
      reason = "no threshold keeps the promise on this much text";
    } else {
      const MeasuredSpeed& speed = c_.speeds.back();
      decided = fmt::format(
          "certified at {:g}, and {:.3f} times the speed of lossless decoding ({:.3f} to {:.3f}), {:.3f} of full "
          "depth",
          s.threshold, speed.over_lossless.ratio, speed.over_lossless.low, speed.over_lossless.high,
          speed.over_full.ratio);
      reason =
          "what leaves early within the risk saves less than its checks cost, or less than lossless decoding saves";
    }
    out.push_back(
        {{"mechanism", "early exits"},
         {"ceiling", fmt::format("{:.0f} % of full depth's time, if every exit were known and free", 100 * most)},
         {"tried", fmt::format("exits after layers {}, thresholds {:g} to {:g}", layers(),
                               c_.settings.front().threshold, c_.settings.back().threshold)},
         {"decided_by", decided},
         {"reason", reason}});
    return out;
  }

  std::string layers() const {
    std::string out;
    for (const FittedExit& exit : c_.exits.exits) out += (out.empty() ? "" : ", ") + std::to_string(exit.layer);
    return out;
  }

  const Findings& f_;
  const Calibration& c_;
  const Tokenizer& tokenizer_;
};

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

std::string report_json(const Findings& findings, const Calibration& calibration) {
  return Report(findings, calibration).text();
}

}  // namespace fathom
