// A manifest from JSON and back, as a list of fields. Next in the flow: compare_manifests.cc.
#include "fathom/calibrate/manifest.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <string_view>

#include "fathom/calibrate/limits.h"
#include "src/calibrate/hex.h"
#include "src/text/json_fields.h"
#include "src/text/utf8.h"

namespace fathom {
namespace {

constexpr int32_t kMaxLayers = 4096;
constexpr int32_t kMaxWidth = 1 << 24;  // of rows and of vocabularies
constexpr size_t kMaxNumbers = 65536;   // thresholds or temperatures of a group
constexpr size_t kMaxText = 4096;       // bytes, as Policy::parse() has it

std::string short_words(const JsonField& field, std::string text) {
  if (text.size() > kMaxText) {
    field.fault(ErrorCode::capacity, fmt::format("{} bytes of at most {}: leave some out", text.size(), kMaxText));
  }
  return text;
}

std::string words(const JsonField& field) { return short_words(field, field.text()); }
std::string maybe_words(const JsonField& field) { return short_words(field, field.text_or("")); }

std::string hex(const JsonField& field, size_t digits) {
  std::string text = field.text();
  if (!is_hex(text, digits)) {
    field.fault(ErrorCode::format, fmt::format("{}: give {} hex digits", text::printable(text.substr(0, 80)), digits));
  }
  return text;
}

int32_t count(const JsonField& field, int32_t most) { return static_cast<int32_t>(field.whole(1, most)); }

std::vector<double> numbers(const JsonField& field) {
  constexpr double kMost = std::numeric_limits<double>::max();
  std::vector<double> values;
  field.each(kMaxNumbers, [&](const JsonField& value) { values.push_back(value.number(-kMost, kMost)); });
  return values;
}

SidecarBinding read_binding(const JsonField& in) {
  SidecarBinding model{.name = maybe_words(in["name"]),
                       .sha256 = hex(in["sha256"], kSha256Digits),
                       .numeric_path = words(in["numerics"]),
                       .n_layers = count(in["layers"], kMaxLayers),
                       .d_model = count(in["d_model"], kMaxWidth),
                       .vocab = count(in["vocab"], kMaxWidth)};
  const std::string tokenizer = hex(in["tokenizer"], 16);
  std::from_chars(tokenizer.data(), tokenizer.data() + tokenizer.size(), model.tokenizer, 16);
  return model;
}

ManifestBound read_bound(const JsonField& in) {
  return {.name = words(in["name"]),
          .pieces = in["pieces"].whole(0, int64_t{1} << 53),
          .mean = in["mean"].number(0, 1),
          .upper = in["upper"].number(0, 1)};
}

std::vector<ManifestBound> read_bounds(const JsonField& in) {
  std::vector<ManifestBound> bounds;
  in.each(kMostGroups, [&](const JsonField& bound) { bounds.push_back(read_bound(bound)); });
  return bounds;
}

std::vector<ManifestOwn> read_own(const JsonField& in) {
  std::vector<ManifestOwn> own;
  in.each(kMostGroups, [&](const JsonField& one) { own.push_back({words(one["policy"]), read_bound(one)}); });
  return own;
}

ManifestCertificate read_certificate(const JsonField& in) {
  ManifestCertificate certificate{.certified = in["certified"].flag(), .lossless = in["lossless"].flag()};
  // Where it is lossless nothing is risked, and nothing need be said about it.
  const auto share = [&](const char* name) {
    return certificate.lossless ? in[name].maybe_number(0, 1).value_or(0) : in[name].number(0, 1);
  };
  certificate.risk = share("risk");
  certificate.confidence = share("confidence");
  certificate.temperature = in["temperature"].maybe_number(0, kMostTemperature).value_or(0);
  certificate.piece_tokens = static_cast<int32_t>(in["piece_tokens"].maybe_whole(0, 1 << 20).value_or(0));
  certificate.groups = read_bounds(in["groups"]);
  certificate.own = read_own(in["own"]);
  in["levels"].each(kMostLevels, [&](const JsonField& level) {
    certificate.levels.push_back({.risk = level["risk"].number(0, 1),
                                  .policy = maybe_words(level["policy"]),
                                  .groups = read_bounds(level["groups"]),
                                  .own = read_own(level["own"])});
  });
  return certificate;
}

Manifest read_fields(const JsonField& in) {
  Manifest manifest{.library = maybe_words(in["library"]),
                    .policy = words(in["policy"]),
                    .model = read_binding(in["model"]),
                    .promise = maybe_words(in["promise"]),
                    .seed = in["seed"].maybe_seed(),
                    .splits = in["splits"].dump()};
  in["groups"].each(kMostGroups, [&](const JsonField& group) {
    manifest.groups.push_back({.name = words(group["name"]),
                               .thresholds = numbers(group["thresholds"]),
                               .temperatures = numbers(group["temperatures"])});
  });
  if (in["certificate"]) manifest.certificate = read_certificate(in["certificate"]);
  return manifest;
}

JsonValue json_of(const ManifestBound& b) {
  return {{"name", b.name}, {"pieces", b.pieces}, {"mean", b.mean}, {"upper", b.upper}};
}

JsonValue json_of(const std::vector<ManifestBound>& bounds) {
  JsonValue json = JsonValue::array();
  for (const ManifestBound& bound : bounds) json.push_back(json_of(bound));
  return json;
}

JsonValue json_of(const std::vector<ManifestOwn>& own) {
  JsonValue json = JsonValue::array();
  for (const ManifestOwn& one : own) {
    json.push_back(json_of(one.bound));
    json.back()["policy"] = one.policy;
  }
  return json;
}

JsonValue json_of(const ManifestCertificate& c) {
  JsonValue levels = JsonValue::array();
  for (const ManifestLevel& level : c.levels) {
    levels.push_back({{"risk", level.risk},
                      {"policy", level.policy},
                      {"groups", json_of(level.groups)},
                      {"own", json_of(level.own)}});
  }
  JsonValue json = {{"risk", c.risk},         {"confidence", c.confidence},  {"certified", c.certified},
                    {"lossless", c.lossless}, {"groups", json_of(c.groups)}, {"own", json_of(c.own)},
                    {"levels", levels}};
  if (c.temperature > 0) json["temperature"] = c.temperature;
  if (c.piece_tokens > 0) json["piece_tokens"] = c.piece_tokens;
  return json;
}

int32_t format_of(const Manifest& manifest) {
  return manifest.certificate && manifest.certificate->temperature > 0 ? 2 : 1;
}

}  // namespace

Result<Manifest> read_manifest(const SidecarFile& sidecar) {
  const std::string where = sidecar.path().empty() ? "sidecar" : "sidecar " + sidecar.path();
  FATHOM_TRY(const std::string_view section, sidecar.json(section::kManifest));
  FATHOM_TRY(const JsonValue json, parse_json(section, where));
  std::optional<Error> error;
  const JsonField in(&json, "", &error);
  // Another format may have other fields: it is looked at first.
  const int64_t format = in["format"].whole(1, std::numeric_limits<int32_t>::max());
  if (!error && format > kManifestFormat) {
    return Error{ErrorCode::unsupported, fmt::format("{}: its manifest was written by a newer Fathom (format {}, this "
                                                     "one reads {}): update Fathom or calibrate again",
                                                     where, format, kManifestFormat)};
  }
  Manifest manifest;
  if (!error) manifest = read_fields(in);
  if (!error) return manifest;
  return Error{error->code, fmt::format("{}: manifest: {}", where, error->message)};
}

std::string manifest_json(const Manifest& manifest) {
  const SidecarBinding& m = manifest.model;
  JsonValue json = {{"format", format_of(manifest)},
                    {"library", manifest.library},
                    {"policy", manifest.policy},
                    {"model",
                     {{"name", m.name},
                      {"sha256", m.sha256},
                      {"tokenizer", fmt::format("{:016x}", m.tokenizer)},
                      {"numerics", m.numeric_path},
                      {"layers", m.n_layers},
                      {"d_model", m.d_model},
                      {"vocab", m.vocab}}},
                    {"groups", JsonValue::array()}};
  for (const ManifestGroup& group : manifest.groups) {
    json["groups"].push_back(
        {{"name", group.name}, {"thresholds", group.thresholds}, {"temperatures", group.temperatures}});
  }
  if (manifest.certificate) json["certificate"] = json_of(*manifest.certificate);
  json["promise"] = manifest.promise;
  if (manifest.seed) json["seed"] = *manifest.seed;
  const auto splits = JsonValue::parse(manifest.splits, nullptr, false);
  if (splits.is_object()) json["splits"] = splits;
  return json.dump(-1, ' ', false, JsonValue::error_handler_t::replace);
}

}  // namespace fathom
