// Findings in numbers: the JSON that the report page is made from.
#include "src/calibrate/findings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "src/calibrate/exit_findings.h"
#include "src/calibrate/fill_findings.h"
#include "src/calibrate/route_findings.h"
#include "src/calibrate/skip_findings.h"

namespace fathom {
namespace {

Json ratio(const SpeedRatio& r) { return {{"ratio", r.ratio}, {"low", r.low}, {"high", r.high}}; }

class Report {
 public:
  Report(const Findings& f, const Calibration& c) : f_(f), c_(c) {}

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
    j["run"] = {{"command", o.command},
                {"seed", f_.options.seed},
                {"risk", f_.options.risk},
                {"confidence", f_.options.confidence},
                {"temperature", f_.options.temperature},
                {"library", o.library},
                {"pieces_tokens", f_.piece_tokens()},
                {"compared_places", compared_places(config, f_.piece_tokens() - 1)}};
    j["promise"] = {
        {"sentence", c_.promise}, {"policy", c_.policy}, {"certified", c_.certified}, {"lossless", c_.lossless}};
    j["groups"] = groups();
    j["candidates"] = candidates();
    j["certified"] = certified();
    if (!c_.settings.empty()) add_trials(j);
    j["nogo"] = nogo();
    j["drawn_again"] = drawn_again();
    j["reproduce"] = {{"command", o.command},
                      {"splits",
                       {{"fit", f_.pieces.fingerprints[0]},
                        {"choose", f_.pieces.fingerprints[1]},
                        {"report", f_.pieces.fingerprints[2]}}},
                      {"fingerprints", {{"model", o.sha256}, {"numerics", f_.model.fingerprint().numeric_path}}}};
    return j.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  // What was fitted and tried.
  void add_trials(Json& j) const {
    j["ceilings"] = Json::array({ceiling(), skip_ceiling(f_), route_ceiling(f_)});
    j["signals"] = exit_signals(f_, c_);
    for (Json& one : route_signals(f_)) j["signals"].push_back(std::move(one));
    j["translators"] = exit_translators(f_);
    if (!f_.fills.policy.empty()) j["kv_translators"] = fill_report(f_);
    j["reliability"] = exit_reliabilities(f_);
    j["layer_utility"] = layer_utility(f_);
    j["head_utility"] = head_utility(f_);
    j["exit_depth"] = exit_depths(f_);
    if (!c_.speeds.empty() && !c_.speeds.back().lossless) j["continuations"] = continuations();
    j["passages"] = exit_passages(f_, c_);
  }

  size_t n_groups() const { return f_.groups.size(); }
  const CalibratedSetting& shown() const { return c_.settings[size_t(f_.shown)]; }

  Json groups() const {
    Json out = Json::array();
    for (size_t g = 0; g < n_groups(); ++g) {
      const PieceGroup& group = f_.pieces.groups[g];
      const GroupText& text = c_.texts[g];
      int64_t missing = 0;
      for (const GroupBound& bound : c_.choices.front().refused) {
        if (!c_.choices.front().certified() && bound.group == int32_t(g)) missing = bound.missing();
      }
      out.push_back(
          {{"name", group.name},
           {"documents", group.n_documents},
           {"pieces", {{"fit", text.n_pieces[0]}, {"choose", text.n_pieces[1]}, {"report", text.n_pieces[2]}}},
           {"missing", missing},
           {"left_out",
            {{"duplicates", group.n_duplicates},
             {"in_other_groups", group.n_in_other_groups},
             {"short", group.n_short},
             {"long_prompts", group.n_long_prompts},
             {"unanswered", text.n_unanswered}}}});
    }
    return out;
  }

  Json candidates() const {
    Json out = Json::array();
    for (size_t i = 0; i < c_.settings.size(); ++i) {
      const CalibratedSetting& s = c_.settings[i];
      Json one = {{"policy", s.policy}, {"mechanism", s.mechanism}, {"parameter", double(s.threshold)}};
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
    for (size_t i = 1; i < c_.speeds.size(); ++i) {
      if (c_.speeds[i].lossless) out.push_back(lossless(c_.speeds[i]));
    }
    return out;
  }

  Json drawn_again() const {
    Json out = Json::array();
    for (const DrawnAgain& one : c_.drawn_again) {
      const Recalibration& r = one.outcome;
      Json of = Json::array();
      for (size_t g = 0; g < n_groups(); ++g) {
        of.push_back({{"name", f_.groups[g]}, {"broken", r.broken_in[g]}, {"allowed", r.allowed_in[g]}});
      }
      out.push_back({{"risk", one.risk},
                     {"promised", one.promised},
                     {"runs", r.runs},
                     {"certified", r.certified},
                     {"broken", r.broken},
                     {"allowed", r.allowed},
                     {"groups", std::move(of)}});
    }
    return out;
  }

  Json lossless(const MeasuredSpeed& speed) const {
    return {{"policy", speed.policy},
            {"mechanism", "lossless"},
            {"chosen", c_.policy == speed.policy},
            {"certified", true},
            {"ms_per_token",
             {{"full", c_.speeds[0].ms_per_token},
              {"lossless", c_.speeds[1].ms_per_token},
              {"policy", speed.ms_per_token}}},
            {"speed_over_full", ratio(speed.over_full)},
            {"speed_over_lossless", ratio(speed.over_lossless)}};
  }

  Json disagreements(const std::vector<GroupBound>& bounds) const {
    Json out = Json::array();
    for (const GroupBound& b : bounds) {
      out.push_back(
          {{"name", f_.groups[size_t(b.group)]}, {"mean", b.mean}, {"upper", std::min(1.0, b.upper)}, {"pieces", b.n}});
    }
    return out;
  }

  // By level: the setting for all, then those that groups have for themselves.
  Json certified() const {
    Json out = Json::array();
    const auto add = [&](const Choice& choice, const CalibratedSetting* setting) {
      Json one = {{"risk", choice.risk}, {"group", nullptr}, {"policy", nullptr}};
      if (choice.group >= 0) one["group"] = f_.groups[size_t(choice.group)];
      if (setting != nullptr) {
        one["policy"] = setting->policy;
        one["work"] = setting->work;
        one["mean_depth"] = setting->mean_depth;
        one["groups"] = disagreements(choice.passed);
      }
      out.push_back(std::move(one));
    };
    for (size_t level = 0; level < c_.choices.size(); ++level) {
      const Choice& all = c_.choices[level];
      add(all, all.certified() ? &c_.settings[size_t(all.candidate)] : nullptr);
      for (size_t g = 0; g < c_.own.size(); ++g) {
        const CalibratedSetting* const own = c_.own_setting(int32_t(g), level);
        if (own != nullptr) add(c_.own[g].choices[level], own);
      }
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
        {"note", fmt::format("each token leaves at the first fitted layer whose answer {}, and no check is paid for; "
                             "time, as the bytes of layers and head say",
                             Loss(f_.options.temperature).harmless(f_.options.risk))}};
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
    return {{"groups", std::move(of)}, {"safeguards", safeguards()}};
  }

  Json safeguards() const {
    Json out = Json::array();
    for (const SafeguardEffect& e : f_.safeguards) {
      out.push_back({{"policy", e.policy},
                     {"n", e.n},
                     {"whole_equal", e.n > 0 ? double(e.equal) / double(e.n) : 0},
                     {"median_first_difference", e.median_first_difference},
                     {"mean_depth", e.mean_depth}});
    }
    return out;
  }

  Json nogo() const {
    if (c_.settings.empty()) return Json::array({too_little_text()});
    Json out = Json::array();
    for (Json one : {exit_nogo(), skip_nogo(f_, c_), route_nogo(f_, c_), fill_nogo(f_)}) {
      if (!one.is_null()) out.push_back(std::move(one));
    }
    return out;
  }

  Json too_little_text() const {
    std::string decided;
    for (size_t g = 0; g < n_groups(); ++g) {
      const auto& n = c_.texts[g].n_pieces;
      if (c_.texts[g].suffices()) continue;
      decided +=
          fmt::format("{}{}: {} pieces to fit, {} to choose and {} to report on, of at least {}",
                      decided.empty() ? "" : "; ", f_.groups[g], n[0], n[1], n[2], fmt::join(kFewestPieces, ", "));
    }
    return {{"mechanism", "exits, skips and routers"},
            {"tried", "nothing"},
            {"decided_by", decided},
            {"reason", "there is too little text"}};
  }

  Json exit_nogo() const {
    if (c_.chosen >= 0 && c_.settings[size_t(c_.chosen)].mechanism == "exit") return {};
    double most = 1;
    for (const double time : c_.oracle_work) most = std::min(most, time);
    std::string tried = fmt::format("exits after layers {}", layers()), decided, reason;
    const CalibratedSetting& s = shown();
    if (s.mechanism != "exit") {
      decided = fmt::format("forecast to read {:.1f} % of full depth's bytes within the risk, and {:.1f} % {}",
                            100 * f_.forecasts.exits, 100 * std::min(f_.forecasts.skips, f_.forecasts.routes),
                            s.mechanism == "skip" ? "without some layers" : "with routers");
      reason = "another mechanism is forecast to read less";
      return exit_row(most, tried, decided, reason);
    }
    tried += fmt::format(", thresholds {:g} to {:g}", c_.settings.front().threshold, c_.settings.back().threshold);
    if (!s.certified) {
      double worst = 0;
      for (const GroupBound& b : s.bounds) worst = std::max(worst, b.upper);
      decided = fmt::format("at the safest threshold {:g} the bound is {:.2f} %, above {:g} %", s.threshold,
                            100 * worst, 100 * f_.options.risk);
      reason = "no threshold keeps the promise on this much text";
    } else {
      decided = fmt::format("certified at {:g}, and {}", s.threshold, comparison(c_.speeds));
      reason =
          "what leaves early within the risk saves less than its checks cost, or less than lossless decoding saves";
    }
    return exit_row(most, tried, decided, reason);
  }

  static Json exit_row(double most, const std::string& tried, const std::string& decided, const std::string& reason) {
    return {{"mechanism", "early exits"},
            {"ceiling", fmt::format("{:.0f} % of full depth's time, if every exit were known and free", 100 * most)},
            {"tried", tried},
            {"decided_by", decided},
            {"reason", reason}};
  }

  std::string layers() const {
    std::string out;
    for (const FittedExit& exit : c_.exits.exits) out += (out.empty() ? "" : ", ") + std::to_string(exit.layer);
    return out;
  }

  const Findings& f_;
  const Calibration& c_;
};

}  // namespace

std::string report_json(const Findings& findings, const Calibration& calibration) {
  return Report(findings, calibration).text();
}

}  // namespace fathom
