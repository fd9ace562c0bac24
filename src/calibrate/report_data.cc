// From JSON to a Report, field by field; every count is limited before it is believed.
#include "src/calibrate/report_data.h"

#include <fmt/format.h>

#include <algorithm>

#include "fathom/calibrate/limits.h"
#include "src/text/json_fields.h"

namespace fathom::report {
namespace {

constexpr int64_t kMost = int64_t{1} << 53;  // whole numbers that a double holds
constexpr int64_t kMostLayers = kMostLayersSeen;
constexpr size_t kMostHeads = kMostHeadsSeen, kMostBins = 100, kMostTokens = 2048, kMostNames = 64, kMostParts = 8;
constexpr size_t kMostCandidates = kMostSettings + 16;  // lossless ones among them
constexpr size_t kMostCertified = kMostLevels * (1 + kMostGroups), kMostRows = 1024;
static_assert(kMostNames >= kMostStretches);
constexpr double kLarge = 1e12;

Share share(const JsonField& field) { return field.maybe_number(0, 1); }
Count count(const JsonField& field) { return field.maybe_whole(0, kMost); }
std::optional<double> positive(const JsonField& field) { return field.maybe_number(0, kLarge); }

// A ceiling or a parameter may be written as a number or in words.
std::string words(const JsonField& field, const JsonValue* value) {
  if (value == nullptr || value->is_null()) return {};
  return value->is_number() ? fmt::format("{:.4g}", value->get<double>()) : field.text();
}

Model read_model(const JsonField& in) {
  return {.name = in["name"].text(),
          .file = in["file"].text_or(""),
          .sha256 = in["sha256"].text_or(""),
          .numerics = in["numerics"].text_or(""),
          .layers = static_cast<int32_t>(in["layers"].whole(1, kMostLayers)),
          .d_model = count(in["d_model"]),
          .vocab = count(in["vocab"])};
}

Run read_run(const JsonField& in) {
  Run run{.command = in["command"].text_or(""),
          .library = in["library"].text_or(""),
          .risk = share(in["risk"]),
          .confidence = share(in["confidence"]),
          .temperature = in["temperature"].maybe_number(0, kMostTemperature).value_or(0),
          .pieces_tokens = count(in["pieces_tokens"]),
          .compared_places = count(in["compared_places"])};
  if (const std::optional<uint64_t> seed = in["seed"].maybe_seed()) run.seed = fmt::to_string(*seed);
  return run;
}

std::optional<Ratio> read_ratio(const JsonField& in) {
  if (!in["ratio"]) return std::nullopt;
  Ratio r{.ratio = in["ratio"].number(0, kLarge)};
  r.low = in["low"].maybe_number(0, kLarge).value_or(r.ratio);
  r.high = in["high"].maybe_number(0, kLarge).value_or(r.ratio);
  if (r.low > r.ratio || r.high < r.ratio) in.fault(ErrorCode::format, "give low <= ratio <= high");
  return r;
}

std::vector<Disagreement> read_disagreements(const JsonField& in) {
  std::vector<Disagreement> groups;
  in.each(kMostGroups, [&](const JsonField& group) {
    groups.push_back({.name = group["name"].text(),
                      .mean = share(group["mean"]),
                      .upper = share(group["upper"]),
                      .held_out = share(group["held_out"]),
                      .pieces = count(group["pieces"])});
  });
  return groups;
}

Candidate read_candidate(const JsonField& in) {
  const JsonField ms = in["ms_per_token"];
  Candidate c{.policy = in["policy"].text(),
              .mechanism = in["mechanism"].text_or("other"),
              .parameter = in["parameter"].maybe_number(-kLarge, kLarge),
              .work = in["work"].maybe_number(0, 100),
              .mean_depth = in["mean_depth"].maybe_number(0, 2 * kMostLayers),
              .chosen = in["chosen"].flag(),
              .certified = in["certified"].flag(),
              .ms_full = positive(ms["full"]),
              .ms_lossless = positive(ms["lossless"]),
              .ms_policy = positive(ms["policy"]),
              .over_full = read_ratio(in["speed_over_full"]),
              .over_lossless = read_ratio(in["speed_over_lossless"])};
  c.groups = read_disagreements(in["groups"]);
  return c;
}

CertifiedSetting read_certified(const JsonField& in) {
  return {.risk = in["risk"].number(0, 1),
          .group = in["group"].text_or(""),
          .policy = in["policy"].text_or(""),
          .work = in["work"].maybe_number(0, 100),
          .mean_depth = in["mean_depth"].maybe_number(0, 2 * kMostLayers),
          .groups = read_disagreements(in["groups"])};
}

DrawnAgain read_drawn_again(const JsonField& in) {
  return {.risk = in["risk"].number(0, 1),
          .promised = in["promised"].flag(),
          .runs = in["runs"].whole(1, kMost),
          .broken = in["broken"].whole(0, kMost),
          .allowed = in["allowed"].whole(0, kMost)};
}

std::vector<GroupValue> read_group_values(const JsonField& in, const char* field, double most) {
  std::vector<GroupValue> values;
  in.each(kMostGroups, [&](const JsonField& group) {
    if (group[field]) values.push_back({group["name"].text(), group[field].number(0, most)});
  });
  return values;
}

std::vector<Bin> read_bins(const JsonField& in) {
  std::vector<Bin> bins;
  in.each(kMostBins, [&](const JsonField& bin) {
    bins.push_back({.p = bin["p"].number(0, 1),
                    .agreed = bin["agreed"].number(0, 1),
                    .n = bin["n"].maybe_number(0, kLarge).value_or(1)});
  });
  return bins;
}

Matrix read_matrix(const JsonField& in, size_t most_rows, size_t most_columns) {
  Matrix matrix;
  in.each(most_rows, [&](const JsonField& row) {
    std::vector<std::optional<double>>& values = matrix.emplace_back();
    row.each(most_columns, [&](const JsonField& value) { values.push_back(value.maybe_number(-kLarge, kLarge)); });
  });
  return matrix;
}

LayerUtility read_layer_utility(const JsonField& in) {
  LayerUtility utility;
  in["parts"].each(kMostParts, [&](const JsonField& part) { utility.parts.push_back(part.text()); });
  const auto disagreement = [&](const JsonField& of) {
    Matrix matrix = read_matrix(of["disagreement"], kMostParts, kMostLayers);
    if (matrix.size() != utility.parts.size()) {
      of["disagreement"].fault(ErrorCode::format, fmt::format("{} rows: give one for each of the {} parts",
                                                              matrix.size(), utility.parts.size()));
    }
    return matrix;
  };
  in["groups"].each(kMostGroups, [&](const JsonField& group) {
    Matrix matrix = disagreement(group);
    utility.groups.push_back({group["name"].text(), std::move(matrix)});
  });
  for (auto [field, stretches] : {std::pair{"positions", &utility.positions}, {"prompts", &utility.prompts}}) {
    in[field].each(kMostNames, [&, to = stretches](const JsonField& of) {
      Matrix matrix = disagreement(of);
      to->push_back({of["from"].number(0, kLarge), of["to"].number(0, kLarge), std::move(matrix)});
    });
  }
  return utility;
}

ExitDepth read_exit_depth(const JsonField& in) {
  ExitDepth depth;
  if (!in) return depth;
  depth.layers = in["layers"].whole(1, kMostLayers);
  in["groups"].each(kMostGroups, [&](const JsonField& group) {
    std::vector<double> counts;
    group["counts"].each(kMostLayers, [&](const JsonField& n) { counts.push_back(n.number(0, kLarge)); });
    if (static_cast<int64_t>(counts.size()) != depth.layers) {
      group["counts"].fault(ErrorCode::format,
                            fmt::format("{} counts: give one for each of the {} layers", counts.size(), depth.layers));
    }
    depth.groups.push_back({group["name"].text(), std::move(counts)});
  });
  in["positions"].each(kMostRows, [&](const JsonField& p) {
    depth.positions.push_back(
        {p["from"].number(0, kLarge), p["to"].number(0, kLarge), p["mean_depth"].number(0, 2 * kMostLayers)});
  });
  in["token_classes"].each(kMostNames, [&](const JsonField& c) {
    depth.token_classes.push_back({c["name"].text(), c["mean_depth"].number(0, 2 * kMostLayers), count(c["n"])});
  });
  return depth;
}

Attention read_attention(const JsonField& in, int64_t n_tokens) {
  Attention attention{.layer = in["layer"].whole(0, kMostLayers)};
  in["to"].each(kMostTokens, [&](const JsonField& pair) {
    int64_t index = 0;
    double weight = 0;
    size_t i = 0;
    pair.each(2, [&](const JsonField& value) {
      if (i++ == 0)
        index = value.whole(0, n_tokens - 1);
      else
        weight = value.number(0, 1);
    });
    if (i != 2) pair.fault(ErrorCode::format, "give [token, weight]");
    attention.to.emplace_back(index, weight);
  });
  std::stable_sort(attention.to.begin(), attention.to.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (attention.to.size() > kAttended) attention.to.resize(kAttended);
  return attention;
}

Token read_token(const JsonField& in, int64_t n_tokens) {
  Token token{.text = in["text"].text(),
              .depth = in["depth"].maybe_number(0, 2 * kMostLayers),
              .threshold = in["threshold"].maybe_number(-kLarge, kLarge)};
  in["signals"].each_named(kMostNames, [&](const std::string& name, const JsonField& value) {
    if (value) token.signals.emplace_back(name, value.number(-kLarge, kLarge));
  });
  if (const JsonField full = in["full"]) {
    token.full_text = full["text"].text();
    token.full_p = share(full["p"]);
  }
  if (in["agrees"]) token.agrees = in["agrees"].flag();
  in["attention"].each(kMostParts,
                       [&](const JsonField& layer) { token.attention.push_back(read_attention(layer, n_tokens)); });
  return token;
}

Passage read_passage(const JsonField& in) {
  Passage passage{.group = in["group"].text_or("")};
  int64_t n_tokens = 0;
  in["tokens"].each(kMostTokens, [&](const JsonField&) { ++n_tokens; });
  in["tokens"].each(kMostTokens,
                    [&](const JsonField& token) { passage.tokens.push_back(read_token(token, n_tokens)); });
  return passage;
}

std::vector<std::pair<std::string, std::string>> read_names(const JsonField& in) {
  std::vector<std::pair<std::string, std::string>> names;
  in.each_named(kMostNames, [&](const std::string& name, const JsonField& value) {
    if (value) names.emplace_back(name, value.text());
  });
  return names;
}

KvTranslators read_kv_translators(const JsonField& in) {
  if (!in) return {};
  const auto run = [](const JsonField& of) {
    return KvTranslators::Run{share(of["disagreement"]), of["work"].maybe_number(0, 100)};
  };
  KvTranslators out{.policy = in["policy"].text(),
                    .kept = in["kept"].flag(),
                    .bytes = positive(in["bytes"]),
                    .exact_cells = share(in["exact_cells"]),
                    .plain = run(in["plain"]),
                    .translated = run(in["translated"]),
                    .gain = in["gain"]["mean"].maybe_number(-1, 1),
                    .gain_error = in["gain"]["error"].maybe_number(0, 1),
                    .layers = {}};
  in["layers"].each(kMostRows, [&](const JsonField& layer) {
    out.layers.push_back({.exit = layer["exit"].whole(0, kMostLayers),
                          .layer = layer["layer"].whole(0, kMostLayers),
                          .plain = positive(layer["plain"]),
                          .translated = positive(layer["translated"])});
  });
  return out;
}

void read_depths(const JsonField& root, Report& report) {
  root["translators"].each(kMostRows, [&](const JsonField& t) {
    report.translators.push_back({.layer = t["layer"].whole(0, kMostLayers),
                                  .kept = t["kept"].text(),
                                  .work = t["work"].maybe_number(0, 100),
                                  .kinds = read_group_values(t["kinds"], "agreement", 1)});
  });
  report.kv_translators = read_kv_translators(root["kv_translators"]);
  root["reliability"].each(kMostRows, [&](const JsonField& r) {
    report.reliability.push_back({.layer = r["layer"].whole(0, kMostLayers),
                                  .group = r["group"].text_or(""),
                                  .temperature = positive(r["temperature"]),
                                  .ece_before = share(r["ece_before"]),
                                  .ece_after = share(r["ece_after"]),
                                  .before = read_bins(r["before"]),
                                  .after = read_bins(r["after"])});
  });
  report.layer_utility = read_layer_utility(root["layer_utility"]);
  report.head_utility = read_matrix(root["head_utility"], kMostLayers, kMostHeads);
  report.exit_depth = read_exit_depth(root["exit_depth"]);
  root["continuations"]["groups"].each(kMostGroups, [&](const JsonField& c) {
    report.continuations.push_back({.name = c["name"].text(),
                                    .n = count(c["n"]),
                                    .tokens = count(c["tokens"]),
                                    .whole_equal = share(c["whole_equal"]),
                                    .median_first_difference = positive(c["median_first_difference"])});
  });
  root["continuations"]["safeguards"].each(kMostNames, [&](const JsonField& s) {
    report.safeguards.push_back({.policy = s["policy"].text(),
                                 .n = count(s["n"]),
                                 .whole_equal = share(s["whole_equal"]),
                                 .median_first_difference = positive(s["median_first_difference"]),
                                 .mean_depth = s["mean_depth"].maybe_number(0, 2 * kMostLayers)});
  });
  root["passages"].each(kMostGroups, [&](const JsonField& p) { report.passages.push_back(read_passage(p)); });
}

void read_settings(const JsonField& root, Report& report) {
  root["groups"].each(kMostGroups, [&](const JsonField& g) {
    const JsonField pieces = g["pieces"], left_out = g["left_out"];
    report.groups.push_back({.name = g["name"].text(),
                             .documents = count(g["documents"]),
                             .fit = count(pieces["fit"]),
                             .choose = count(pieces["choose"]),
                             .report = count(pieces["report"]),
                             .missing = count(g["missing"]),
                             .duplicates = count(left_out["duplicates"]),
                             .in_other_groups = count(left_out["in_other_groups"]),
                             .too_short = count(left_out["short"]),
                             .long_prompts = count(left_out["long_prompts"]),
                             .unanswered = count(left_out["unanswered"])});
  });
  root["candidates"].each(kMostCandidates, [&](const JsonField& c) { report.candidates.push_back(read_candidate(c)); });
  root["certified"].each(kMostCertified, [&](const JsonField& c) { report.certified.push_back(read_certified(c)); });
  root["drawn_again"].each(kMostParts, [&](const JsonField& d) { report.drawn_again.push_back(read_drawn_again(d)); });
  root["ceilings"].each(kMostNames, [&](const JsonField& c) {
    report.ceilings.push_back({c["what"].text(), c["note"].text_or(""), read_group_values(c["groups"], "work", 100)});
  });
  root["signals"].each(kMostRows, [&](const JsonField& s) {
    report.signals.push_back({.name = s["name"].text(),
                              .layer = s["layer"].maybe_whole(0, kMostLayers),
                              .auc = share(s["auc"]),
                              .work = s["work"].maybe_number(0, 100),
                              .groups = read_group_values(s["groups"], "auc", 1)});
  });
}

void read_nogo(const JsonField& root, const JsonValue& document, Report& report) {
  size_t i = 0;
  root["nogo"].each(kMostNames, [&](const JsonField& n) {
    const JsonValue& value = document["nogo"][i++];
    const auto said = [&](const char* name) {
      if (!value.is_object()) return n[name].text_or("");
      const auto found = value.find(name);
      return words(n[name], found != value.end() ? &*found : nullptr);
    };
    report.nogo.push_back({n["mechanism"].text(), said("ceiling"), said("tried"), said("decided_by"), said("reason")});
  });
}

}  // namespace

Share Candidate::worst_upper() const {
  Share worst;
  for (const Disagreement& group : groups) {
    if (group.upper) worst = std::max(worst.value_or(0), *group.upper);
  }
  return worst;
}

const Candidate* Report::chosen() const {
  const auto found = std::find_if(candidates.begin(), candidates.end(), [](const Candidate& c) { return c.chosen; });
  return found != candidates.end() ? &*found : nullptr;
}

Result<Report> read_report(std::string_view json) {
  FATHOM_TRY(const JsonValue document, parse_json(json, "report"));
  std::optional<Error> error;
  const JsonField root(&document, "", &error);
  root["format"].whole(1, 1);
  Report report;
  if (!error) {
    report.model = read_model(root["model"]);
    report.machine = root["machine"].text_or("");
    report.run = read_run(root["run"]);
    const JsonField promise = root["promise"];
    report.promise = {promise["sentence"].text(), promise["policy"].text_or(""), promise["certified"].flag(),
                      promise["lossless"].flag()};
    read_settings(root, report);
    read_depths(root, report);
    read_nogo(root, document, report);
    report.reproduce = {root["reproduce"]["command"].text_or(""), read_names(root["reproduce"]["splits"]),
                        read_names(root["reproduce"]["fingerprints"])};
  }
  if (error) return Error{error->code, "report: " + error->message};
  return report;
}

}  // namespace fathom::report
