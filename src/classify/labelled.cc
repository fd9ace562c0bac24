// Reading labelled lines, finding those that are equal, and dealing them out.
#include "fathom/classify/labelled.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "fathom/calibrate/limits.h"
#include "src/calibrate/content_hash.h"
#include "src/model/gguf.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

constexpr size_t kMostLineBytes = size_t{16} << 20;
constexpr size_t kMostLabelBytes = 256, kMostOfAText = 1024;
constexpr std::string_view kShape = R"(give {"text": "..", "label": ".."} on each line)";

/// A line before its names are numbers.
struct Line {
  std::string text, id, group, document;
  std::vector<std::string> labels;
  bool listed = false;
  int64_t number = 0;
  Hash128 words = {};
};

Error in_line(std::string_view name, int64_t number, std::string_view what) {
  return {ErrorCode::format, fmt::format("{} line {}: {}", name, number, what)};
}

std::string id_of(const JsonField& field) {
  if (!field) return {};
  return field.is_text() ? field.text() : fmt::format("{}", field.whole(0, int64_t{1} << 53));
}

Result<Line> read_line(std::string_view text) {
  FATHOM_TRY(const JsonValue document,
             parse_json(text, "what stands there", {.bytes = kMostLineBytes, .remedy = kShape}));
  std::optional<Error> error;
  const JsonField field(&document, "", &error);
  Line line;
  line.text = field["text"].text();
  line.id = id_of(field["id"]);
  line.group = field["group"].text_or("");
  line.document = id_of(field["document"]);
  line.listed = field["labels"].given();
  const auto add = [&](const JsonField& label) {
    line.labels.push_back(label.text());
    if (line.labels.back().empty() || line.labels.back().size() > kMostLabelBytes) {
      label.fault(ErrorCode::format,
                  fmt::format("{} bytes: a label has 1 to {}", line.labels.back().size(), kMostLabelBytes));
    }
  };
  line.listed ? field["labels"].each(kMostOfAText, add) : add(field["label"]);
  if (error) return *std::move(error);
  std::sort(line.labels.begin(), line.labels.end());
  line.labels.erase(std::unique(line.labels.begin(), line.labels.end()), line.labels.end());
  ContentHash hash;
  hash.add(line.text);
  line.words = hash.collapsed();
  return line;
}

Result<std::vector<Line>> read_lines(std::string_view jsonl, std::string_view name, const LabelledOptions& options,
                                     LabelledSet& set) {
  std::vector<Line> lines;
  int64_t number = 0;
  while (!jsonl.empty()) {
    const size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view text = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    ++number;
    if (text.find_first_not_of(kWhitespace) == std::string_view::npos) continue;
    Result<Line> line = read_line(text);
    if (line) {
      line->number = number;
      set.several |= line->listed;
      lines.push_back(*std::move(line));
      continue;
    }
    const Error error = in_line(name, number, line.error().message);
    if (!options.skip_bad) return error;
    if (set.n_bad++ == 0) set.first_bad = error.message;
  }
  return lines;
}

/// Keeps the first of equal texts; none where their labels differ.
void drop_equal(std::vector<Line>& lines, LabelledSet& set) {
  std::map<Hash128, std::pair<size_t, bool>> first;  // of each text, and whether all agree
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto [at, is_new] = first.try_emplace(lines[i].words, i, true);
    if (!is_new) at->second.second &= lines[at->second.first].labels == lines[i].labels;
  }
  std::vector<Line> kept;
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto& [place, agree] = first.at(lines[i].words);
    if (!agree) {
      ++set.n_contradictions;
    } else if (place != i) {
      ++set.n_duplicates;
    } else {
      kept.push_back(std::move(lines[i]));
    }
  }
  lines = std::move(kept);
}

Result<void> drop_rare(std::vector<Line>& lines, std::string_view name, const LabelledOptions& options,
                       LabelledSet& set) {
  std::map<std::string, int64_t> counts;
  const auto is_rare = [&](const std::string& label) { return counts[label] < options.fewest; };
  const auto has_rare = [&](const Line& line) { return std::any_of(line.labels.begin(), line.labels.end(), is_rare); };
  const auto count = [&] {
    counts.clear();
    for (const Line& line : lines) {
      for (const std::string& label : line.labels) ++counts[label];
    }
  };
  count();
  for (const auto& [label, n] : counts) {
    if (n >= options.fewest || options.drop_rare) continue;
    return Error{ErrorCode::format, fmt::format("{}: label \"{}\" is on {} texts, each needs {} at least: give more of "
                                                "it, or leave such labels out (--drop-rare)",
                                                name, gguf::printable(label), n, options.fewest)};
  }
  for (size_t left_out = 1; left_out > 0; count()) {  // what goes may make another label rare
    left_out = std::erase_if(lines, has_rare);
    set.n_rare += static_cast<int64_t>(left_out);
  }
  return {};
}

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

int32_t index_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<int32_t>(std::lower_bound(names.begin(), names.end(), name) - names.begin());
}

TaskSplit split_of(const Line& line, const LabelledOptions& options) {
  Hash hash;
  hash.add_number(options.seed);
  if (line.document.empty()) {
    hash.add_number(line.words.high);
    hash.add_number(line.words.low);
  } else {
    hash.add(line.document);
  }
  double place = static_cast<double>(hash.digest().high >> 11) * 0x1p-53;
  for (size_t s = 0; s + 1 < kTaskSplits; ++s) {
    if (place < options.shares[s]) return static_cast<TaskSplit>(s);
    place -= options.shares[s];
  }
  return TaskSplit::report;
}

Result<void> check_names(const LabelledSet& set, std::string_view name) {
  if (set.labels.size() > static_cast<size_t>(kMostLabels) || set.groups.size() > kMostGroups) {
    return Error{ErrorCode::format, fmt::format("{}: {} labels and {} groups, at most {} and {} are read: merge some",
                                                name, set.labels.size(), set.groups.size(), kMostLabels, kMostGroups)};
  }
  for (const std::string& group : set.groups) {
    if (!group.empty()) FATHOM_TRY(check_group_name(group));
  }
  return {};
}

Result<void> check(const LabelledOptions& options) {
  const double sum = std::accumulate(options.shares.begin(), options.shares.end(), 0.0);
  const bool positive = std::all_of(options.shares.begin(), options.shares.end(), [](double s) { return s > 0; });
  if (positive && std::abs(sum - 1) < 1e-9) return {};
  return Error{ErrorCode::argument,
               fmt::format("LabelledOptions::shares sum to {:g}: give shares above 0 that sum to 1", sum)};
}

}  // namespace

Result<LabelledSet> read_labelled(std::string_view jsonl, std::string_view name, const LabelledOptions& options) {
  FATHOM_TRY(check(options));
  LabelledSet set;
  FATHOM_TRY(std::vector<Line> lines, read_lines(jsonl, name, options, set));
  drop_equal(lines, set);
  FATHOM_TRY(drop_rare(lines, name, options, set));
  for (const Line& line : lines) {
    set.labels.insert(set.labels.end(), line.labels.begin(), line.labels.end());
    set.groups.push_back(line.group);
  }
  set.labels = sorted(std::move(set.labels));
  set.groups = sorted(std::move(set.groups));
  if (set.groups.size() > 1 && set.groups.front().empty()) {
    set.groups.front() = kNoGroup;
    set.groups = sorted(std::move(set.groups));
  }
  FATHOM_TRY(check_names(set, name));
  if (lines.empty()) return Error{ErrorCode::format, fmt::format("{}: holds no labelled text: {}", name, kShape)};
  if (set.labels.size() < 2 && !set.several) {
    return Error{ErrorCode::format,
                 fmt::format("{}: every text has the label \"{}\": give texts of two labels at least", name,
                             gguf::printable(set.labels.front()))};
  }
  std::map<std::string, int64_t> documents;
  for (Line& line : lines) {
    if (set.groups.size() > 1 && line.group.empty()) line.group = kNoGroup;
    LabelledText text{.text = std::move(line.text),
                      .id = std::move(line.id),
                      .group = index_of(set.groups, line.group),
                      .labels = {},
                      .line = line.number,
                      .split = split_of(line, options)};
    for (const std::string& label : line.labels) text.labels.push_back(index_of(set.labels, label));
    const auto own = -static_cast<int64_t>(set.texts.size()) - 1;
    text.document =
        line.document.empty() ? own : documents.try_emplace(line.document, std::ssize(documents)).first->second;
    set.texts.push_back(std::move(text));
  }
  for (size_t s = 0; s < kTaskSplits; ++s) {
    const bool there = std::any_of(set.texts.begin(), set.texts.end(),
                                   [&](const LabelledText& t) { return t.split == static_cast<TaskSplit>(s); });
    if (there) continue;
    return Error{ErrorCode::format, fmt::format("{}: {} texts are too few to be divided into {} parts: give more", name,
                                                set.texts.size(), kTaskSplits)};
  }
  return set;
}

}  // namespace fathom
