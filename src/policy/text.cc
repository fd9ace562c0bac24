// Printing and checking of stages, and their help text, all from the table. Next in the flow: parse.cc.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "src/policy/stage_table.h"

namespace fathom::policy_text {
namespace {

template <class T>
const T& as(const void* value) {
  return *static_cast<const T*>(value);
}

std::string number_text(float value) {
  char digits[32];            // the shortest form of a float has at most 15 characters
  if (value == 0) value = 0;  // -0 and 0 are one value with one text
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  return std::string(digits, end);
}

std::string layers_text(const LayerSet& layers) {
  std::string list;
  for (int32_t layer = 1, last = layers.last(); layer <= last; ++layer) {
    if (layers.has(layer)) list.append(list.empty() ? "" : ",").append(std::to_string(layer));
  }
  return fmt::format("[{}]", list);
}

std::string heads_text(const HeadSet& heads) {
  std::string list;
  for (const HeadName& name : heads) list += fmt::format("{}{}:{}", list.empty() ? "" : ",", name.layer, name.head);
  return fmt::format("[{}]", list);
}

std::string shares_text(const ShareList& shares) {
  std::string list;
  for (const float share : shares) list.append(list.empty() ? "" : ",").append(number_text(share));
  return shares.size() == 1 ? list : fmt::format("[{}]", list);
}

int32_t last_layer(int32_t n_layers) {
  return n_layers >= 1 && n_layers < kMaxPolicyLayers ? n_layers : kMaxPolicyLayers;
}

bool in_range(const Field& field, double value, int32_t n_layers) {
  const double high = field.type == FieldType::layer ? last_layer(n_layers) : field.high;
  return value >= field.low && value <= high;  // false for NaN
}

std::string range_error(const Field& field, const std::string& value, int32_t n_layers) {
  const bool model = n_layers >= 1 && (field.type == FieldType::layer || field.type == FieldType::layers ||
                                       field.type == FieldType::heads);
  return fmt::format("{}={}{}: write {}", field.name, value,
                     model ? fmt::format(" in a model of {} layers", n_layers) : "", value_range(field, n_layers));
}

std::string layers_error(const Field& field, const LayerSet& layers, int32_t n_layers) {
  if (layers.has_refused()) return range_error(field, fmt::format("[{}]", layers.refused()), n_layers);
  if (layers.last() > last_layer(n_layers)) return range_error(field, fmt::format("[{}]", layers.last()), n_layers);
  if (field.required && layers.empty()) return range_error(field, "[]", n_layers);
  return {};
}

std::string heads_error(const Field& field, const HeadSet& heads, int32_t n_layers) {
  if (heads.has_refused()) {
    return range_error(field, fmt::format("[{}:{}]", heads.refused_layer(), heads.refused_head()), n_layers);
  }
  if (heads.empty()) return range_error(field, "[]", n_layers);
  if (heads.last_layer() <= last_layer(n_layers)) return {};
  const HeadName& last = *(heads.end() - 1);
  return range_error(field, fmt::format("[{}:{}]", last.layer, last.head), n_layers);
}

std::string shares_error(const Field& field, const ShareList& shares) {
  const bool good = shares.size() > 0 && !shares.is_too_long() &&
                    std::all_of(shares.begin(), shares.end(), [&](float x) { return in_range(field, double(x), 0); });
  return good ? std::string() : range_error(field, shares_text(shares), 0);
}

}  // namespace

std::string value_text(const Field& field, const void* value) {
  switch (field.type) {
    case FieldType::count:
    case FieldType::layer:
      return std::to_string(as<int32_t>(value));
    case FieldType::number:
      return number_text(as<float>(value));
    case FieldType::condition: {
      const auto& condition = as<std::optional<float>>(value);
      return condition ? number_text(*condition) : "";
    }
    case FieldType::layers:
      return layers_text(as<LayerSet>(value));
    case FieldType::heads:
      return heads_text(as<HeadSet>(value));
    case FieldType::shares:
      return shares_text(as<ShareList>(value));
    case FieldType::word: {
      const size_t word = as<uint8_t>(value);
      return word < field.words.size() ? std::string(field.words[word]) : std::to_string(word);
    }
    case FieldType::signal: {
      const auto signal = as<Signal>(value);
      if (signal == kNoSignal) return "";
      return is_signal(signal) ? std::string(field.words[static_cast<size_t>(signal)])
                               : std::to_string(static_cast<int>(signal));
    }
  }
  return {};
}

bool is_named(const Field& field, const void* value) {
  if (field.type == FieldType::condition) return as<std::optional<float>>(value).has_value();
  if (field.type == FieldType::signal) return as<Signal>(value) != kNoSignal;
  if (field.type == FieldType::layers) return !as<LayerSet>(value).empty() || as<LayerSet>(value).has_refused();
  if (field.type == FieldType::heads) return !as<HeadSet>(value).empty() || as<HeadSet>(value).has_refused();
  return true;
}

std::string value_range(const Field& field, int32_t n_layers) {
  switch (field.type) {
    case FieldType::layer:
      return fmt::format("1..{}", last_layer(n_layers));
    case FieldType::layers:
      return fmt::format("a list such as [2,3] of layers 1..{}", last_layer(n_layers));
    case FieldType::heads:
      return fmt::format("a list such as [2:1,3:4] of layers 1..{} and their heads, at most {}", last_layer(n_layers),
                         kMaxPolicyHeads);
    case FieldType::word:
    case FieldType::signal: {
      std::string all;
      for (std::string_view word : field.words) all.append(all.empty() ? "" : "|").append(word);
      return all;
    }
    case FieldType::count:
      return fmt::format("{}..{}", field.low, field.high);
    default:
      break;
  }
  return fmt::format("{}..{}", number_text(static_cast<float>(field.low)), number_text(static_cast<float>(field.high)));
}

std::string value_error(const Field& field, const void* value, int32_t n_layers) {
  bool good = true;
  switch (field.type) {
    case FieldType::count:
    case FieldType::layer:
      good = in_range(field, as<int32_t>(value), n_layers);
      break;
    case FieldType::number:
      good = in_range(field, as<float>(value), n_layers);
      break;
    case FieldType::condition:
      good = !is_named(field, value) || in_range(field, *as<std::optional<float>>(value), n_layers);
      break;
    case FieldType::layers:
      return layers_error(field, as<LayerSet>(value), n_layers);
    case FieldType::heads:
      return heads_error(field, as<HeadSet>(value), n_layers);
    case FieldType::shares:
      return shares_error(field, as<ShareList>(value));
    case FieldType::word:
      good = as<uint8_t>(value) < field.words.size();
      break;
    case FieldType::signal:
      good = as<Signal>(value) == kNoSignal || is_signal(as<Signal>(value));
      break;
  }
  return good ? std::string() : range_error(field, value_text(field, value), n_layers);
}

std::string one_of(const StageInfo& info) {
  std::string all;
  for (size_t i = 0; i < info.one_of_first; ++i) {
    all.append(i == 0 ? "" : i + 1 < info.one_of_first ? ", " : " or ").append(info.fields[i].name);
  }
  return all;
}

std::string print_stage(const StageInfo& info, const void* stage) {
  std::string all;
  for (const Field& field : info.fields) {
    const void* value = value_of(field, stage);
    const std::string text = value_text(field, value);
    if (!field.required && text == value_text(field, value_of(field, info.defaults))) continue;
    const bool bare = field.type == FieldType::word && field.required;  // kv(fill) reads better than kv(mode=fill)
    all.append(all.empty() ? "" : ", ").append(bare ? text : fmt::format("{}={}", field.name, text));
  }
  return all.empty() ? std::string(info.name) : fmt::format("{}({})", info.name, all);
}

Result<void> check_stage(const StageInfo& info, const void* stage, int32_t n_layers) {
  for (const Field& field : info.fields) {
    const std::string error = value_error(field, value_of(field, stage), n_layers);
    if (!error.empty()) return Error{ErrorCode::argument, fmt::format("{}: {}", info.name, error)};
  }
  const auto choices = info.fields.first(info.one_of_first);
  const bool any = std::any_of(choices.begin(), choices.end(),
                               [&](const Field& field) { return is_named(field, value_of(field, stage)); });
  if (!choices.empty() && !any) {
    return Error{ErrorCode::argument, fmt::format("{}: nothing is named: give {}", info.name, one_of(info))};
  }
  if (std::string unfit = info.unfit != nullptr ? info.unfit(stage) : ""; !unfit.empty()) {
    return Error{ErrorCode::argument, fmt::format("{}: {}", info.name, unfit)};
  }
  return {};
}

}  // namespace fathom::policy_text

namespace fathom {

std::string stage_help() {
  using namespace policy_text;
  std::string help = "full_depth\n    every row runs every layer; joined with others it changes nothing\n";
  for (const StageInfo& info : stage_table()) {
    const char* kinds[] = {"proposal", "limit", "setting"};
    help += fmt::format("{}\n    {}: {}\n", info.name, kinds[static_cast<int>(info.kind)], info.doc);
    for (size_t i = 0; i < info.fields.size(); ++i) {
      const Field& field = info.fields[i];
      const std::string fallback = value_text(field, value_of(field, info.defaults));
      const std::string use = field.required          ? "required"
                              : i < info.one_of_first ? "one at least"
                                                      : fmt::format("default {}", fallback.empty() ? "none" : fallback);
      const std::string range = field.type == FieldType::layers   ? "list of layers"
                                : field.type == FieldType::heads  ? "list of layer:head"
                                : field.type == FieldType::signal ? "a signal's name"
                                                                  : value_range(field, 0);
      help += fmt::format("    {:<20} {:<29} {:<18} {}\n", field.name, range, use, field.doc);
    }
  }
  return help;
}

}  // namespace fathom
