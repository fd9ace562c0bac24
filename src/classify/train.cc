// Training a task: states, heads, maps, the choice among thresholds, and what came of it on text held out.
#include "fathom/classify/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>

#include "fathom/classify/classifier.h"
#include "src/classify/head_fitting.h"
#include "src/classify/task_states.h"

namespace fathom {
namespace {

constexpr int kSettings = 60;        // thresholds from the safest to the boldest, even in their logarithm:
constexpr double kSafest = 1e-3;     // 1 - threshold of the first,
constexpr double kBoldest = 0.5;     // and of the last
constexpr size_t kTimed = 512;       // texts that are timed
constexpr int kTimings = 3;          // of either policy, in turn; the least counts
constexpr size_t kDeepTexts = 12;    // that are told of
constexpr size_t kShownBytes = 400;  // of each

using Said = std::vector<std::vector<LabelAnswer>>;  // [heads][texts]

/// What every head says of every text, and how sure that is to be what the last says.
struct Answers {
  const LabelHeads& heads;
  const LabelledSet& set;
  const Said& said;

  size_t n_heads() const { return said.size(); }
  int32_t layer(size_t head) const { return heads.fitted().heads[head].layer; }
  float agreement(size_t head, size_t text) const {
    return heads.agreement(heads.fitted().heads[head], said[head][text]);
  }
  bool agrees(size_t head, size_t text) const { return said[head][text].same(said.back()[text], heads.several()); }

  /// The head that a text leaves at under a threshold.
  size_t leaves_at(size_t text, float threshold) const {
    size_t head = 0;
    while (head + 1 < n_heads() && !(agreement(head, text) >= threshold)) ++head;
    return head;
  }
  /// Whether the label is the one that came with the text; of several, all of them.
  bool right(size_t head, size_t text) const {
    const LabelAnswer& answer = said[head][text];
    const std::vector<int32_t>& given = set.texts[text].labels;
    if (!heads.several()) return std::find(given.begin(), given.end(), answer.best) != given.end();
    for (size_t i = 0; i < answer.probability.size(); ++i) {
      const bool has = std::binary_search(given.begin(), given.end(), static_cast<int32_t>(i));
      if (has != (answer.probability[i] > 0.5f)) return false;
    }
    return true;
  }
  /// Labels that full depth gives a text.
  std::vector<int32_t> full_labels(size_t text) const { return said.back()[text].labels(heads.several()); }
};

float threshold_of(int setting) {
  const double share = static_cast<double>(setting) / (kSettings - 1);
  return static_cast<float>(1 - kSafest * std::pow(kBoldest / kSafest, share));
}

Policy policy_of(const LabelHeads& heads, float threshold) {
  const Policy between = exit_when{.agreement_at_least = threshold};
  return heads.at(0) == nullptr ? between : Policy(word_exit{threshold} | exit_when{.agreement_at_least = threshold});
}

constexpr const char* kNoLabel = "(no label)";  // of texts that full depth gives none

/// Texts by name: those of each group, or of each label that full depth gives. Names without texts are left out.
struct Promised {
  std::vector<std::string> names;
  std::vector<std::vector<size_t>> texts;
};

Promised by_name(const Answers& answers, const std::vector<size_t>& texts, bool by_label) {
  const LabelledSet& set = answers.set;
  std::vector<std::string> names = by_label ? set.labels : set.groups;
  if (by_label && answers.heads.several()) names.emplace_back(kNoLabel);
  std::vector<std::vector<size_t>> parts(names.size());
  for (const size_t text : texts) {
    if (!by_label) {
      parts[static_cast<size_t>(set.texts[text].group)].push_back(text);
      continue;
    }
    const std::vector<int32_t> labels = answers.full_labels(text);
    for (const int32_t label : labels) parts[static_cast<size_t>(label)].push_back(text);
    if (labels.empty()) parts.back().push_back(text);
  }
  Promised all;
  for (size_t i = 0; i < names.size(); ++i) {
    if (parts[i].empty()) continue;
    all.names.push_back(std::move(names[i]));
    all.texts.push_back(std::move(parts[i]));
  }
  return all;
}

// The first text of each document: what a bound counts must not depend on one another.
std::vector<size_t> one_of_each(const LabelledSet& set, const std::vector<size_t>& texts) {
  std::vector<size_t> kept;
  std::set<int64_t> seen;
  for (const size_t text : texts) {
    if (seen.insert(set.texts[text].document).second) kept.push_back(text);
  }
  return kept;
}

LossTable losses_of(const Answers& answers, const Promised& about) {
  LossTable table{.groups = about.names, .losses = {}};
  for (int setting = 0; setting < kSettings; ++setting) {
    auto& groups = table.losses.emplace_back();
    for (const std::vector<size_t>& texts : about.texts) {
      auto& losses = groups.emplace_back();
      for (const size_t text : texts) {
        losses.push_back(answers.agrees(answers.leaves_at(text, threshold_of(setting)), text) ? 0.0f : 1.0f);
      }
    }
  }
  return table;
}

TaskCount count(const Answers& answers, std::string name, const std::vector<size_t>& texts, float threshold) {
  TaskCount out{.name = std::move(name)};
  for (const size_t text : texts) {
    const size_t head = answers.leaves_at(text, threshold);
    ++out.n;
    out.differing += !answers.agrees(head, text);
    out.right += answers.right(head, text);
    out.right_at_full += answers.right(answers.n_heads() - 1, text);
    out.mean_depth += answers.layer(head);
  }
  if (out.n > 0) out.mean_depth /= static_cast<double>(out.n);
  return out;
}

double share(int64_t part, int64_t all) { return all > 0 ? static_cast<double>(part) / static_cast<double>(all) : 0; }

std::vector<TaskSetting> settings_of(const Answers& answers, const std::vector<size_t>& choose,
                                     const std::vector<size_t>& report) {
  std::vector<TaskSetting> settings;
  for (int i = 0; i < kSettings; ++i) {
    const TaskCount chosen = count(answers, "", choose, threshold_of(i));
    const TaskCount reported = count(answers, "", report, threshold_of(i));
    settings.push_back({.agreement_at_least = threshold_of(i),
                        .mean_depth = chosen.mean_depth,
                        .differing = share(chosen.differing, chosen.n),
                        .report_depth = reported.mean_depth,
                        .report_differing = share(reported.differing, reported.n),
                        .report_accuracy = share(reported.right, reported.n)});
  }
  return settings;
}

std::vector<DepthQuality> depths_of(const Answers& answers, const std::vector<size_t>& texts, float threshold) {
  std::vector<DepthQuality> depths;
  for (size_t head = 0; head < answers.n_heads(); ++head) {
    DepthQuality q{.layer = answers.layer(head), .temperature = answers.heads.fitted().heads[head].temperature};
    int64_t right = 0, agree = 0, left = 0;
    for (const size_t text : texts) {
      right += answers.right(head, text);
      agree += answers.agrees(head, text);
      left += answers.leaves_at(text, threshold) == head;
    }
    q.accuracy = share(right, std::ssize(texts));
    q.agreement = share(agree, std::ssize(texts));
    q.left = share(left, std::ssize(texts));
    depths.push_back(q);
  }
  return depths;
}

// Of texts that ran all layers, those that the heads before were least sure of.
std::vector<DeepText> deep_texts(const Answers& answers, const std::vector<size_t>& texts, float threshold) {
  std::vector<std::pair<float, size_t>> deep;
  for (const size_t text : texts) {
    if (answers.leaves_at(text, threshold) + 1 < answers.n_heads()) continue;
    float surest = 0;
    for (size_t head = 0; head + 1 < answers.n_heads(); ++head)
      surest = std::max(surest, answers.agreement(head, text));
    deep.emplace_back(surest, text);
  }
  std::sort(deep.begin(), deep.end());
  deep.resize(std::min(deep.size(), kDeepTexts));
  std::vector<DeepText> out;
  for (const auto& [surest, text] : deep) {
    DeepText one{.text = answers.set.texts[text].text.substr(0, kShownBytes), .id = answers.set.texts[text].id};
    for (size_t head = 0; head < answers.n_heads(); ++head) {
      const std::vector<int32_t> labels = answers.said[head][text].labels(answers.heads.several());
      std::vector<std::string> names;
      for (const int32_t label : labels) names.push_back(answers.set.labels[static_cast<size_t>(label)]);
      one.said.push_back(names.empty() ? std::string(kNoLabel) : fmt::format("{}", fmt::join(names, ", ")));
      one.agreement.push_back(answers.agreement(head, text));
    }
    out.push_back(std::move(one));
  }
  return out;
}

Result<double> seconds(Classifier& classifier, std::span<const std::string_view> texts, const Policy& policy) {
  const auto start = std::chrono::steady_clock::now();
  FATHOM_TRY(classifier.classify(texts, policy));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Result<void> time_policies(Classifier& classifier, const LabelledSet& set, const std::vector<size_t>& report,
                           TrainedTask& task) {
  std::vector<std::string_view> texts;
  for (size_t i = 0; i < std::min(report.size(), kTimed); ++i) texts.push_back(set.texts[report[i]].text);
  for (int i = 0; i < kTimings; ++i) {
    FATHOM_TRY(const double full, seconds(classifier, texts, Policy()));
    FATHOM_TRY(const double early, seconds(classifier, texts, task.policy));
    task.full_seconds = i == 0 ? full : std::min(task.full_seconds, full);
    task.policy_seconds = i == 0 ? early : std::min(task.policy_seconds, early);
  }
  return {};
}

// Of many names, how many.
std::string listed(const std::vector<std::string>& names, std::string_view what) {
  constexpr size_t kShown = 16;
  return names.size() <= kShown ? fmt::format("{}", fmt::join(names, ", ")) : fmt::format("{} {}", names.size(), what);
}

std::string promise_of(const TrainOptions& options, const TrainedTask& task) {
  if (!task.certified) return {};
  const bool named = task.promised.size() > 1 || !task.promised.front().empty();
  const std::string of = !named             ? std::string()
                         : options.by_label ? fmt::format(", among those that full depth labels {}, in each,",
                                                          listed(task.promised, "labels"))
                                            : fmt::format(" of each of {}", listed(task.promised, "groups"));
  return fmt::format("With confidence {:g} %, at most {:g} % of distinct texts{} get another label than at full depth.",
                     100 * options.confidence, 100 * options.risk, of);
}

Result<void> check(const TrainOptions& options) {
  for (const auto& [name, value] : {std::pair("risk", options.risk), std::pair("confidence", options.confidence)}) {
    if (value > 0 && value < 1) continue;
    return Error{ErrorCode::argument, fmt::format("TrainOptions::{} {:g}: give a share between 0 and 1", name, value)};
  }
  return {};
}

}  // namespace

Result<TrainedTask> train_task(const Model& model, const LabelledSet& set, const TrainOptions& options) {
  FATHOM_TRY(check(options));
  FATHOM_TRY(TextSteps steps, TextSteps::make(model, options.encoder));
  FATHOM_TRY(const TaskStates states, TaskStates::collect(steps, set, options));
  ThreadPool& pool = steps.session().pool();
  TrainedTask task;
  FATHOM_TRY(task.labels, fit_heads(set, states, pool));
  FATHOM_TRY(const auto unmapped, LabelHeads::make(model.config(), task.labels));
  const Said said = ask_heads(*unmapped, states, pool);
  FATHOM_TRY(fit_maps(set, said, task.labels));
  FATHOM_TRY(const auto heads, LabelHeads::make(model.config(), task.labels));

  const Answers answers{*heads, set, said};
  const std::vector<size_t> choose = one_of_each(set, texts_of(set, TaskSplit::choose));
  const std::vector<size_t> report = texts_of(set, TaskSplit::report);
  const Promised about = by_name(answers, choose, options.by_label);
  FATHOM_TRY(const std::vector<Choice> choices,
             certify_for_all(losses_of(answers, about),
                             {.risks = {options.risk}, .confidence = options.confidence, .bound = Bound::binomial}));
  task.choice = choices.front();
  task.promised = about.names;
  task.settings = settings_of(answers, choose, report);
  const bool saves =
      task.choice.certified() && task.settings[static_cast<size_t>(task.choice.candidate)].mean_depth < states.n_layers;
  const float threshold = saves ? threshold_of(task.choice.candidate) : 2.0f;  // above every probability: nobody leaves
  task.certified = saves;
  if (saves) task.policy = policy_of(*heads, threshold);
  task.promise = promise_of(options, task);

  task.all = count(answers, "", report, threshold);
  task.depths = depths_of(answers, report, threshold);
  if (heads->at(0) != nullptr) task.words_accuracy = task.depths.front().accuracy;
  const Promised groups = by_name(answers, report, false), labels = by_name(answers, report, true);
  for (size_t i = 0; i < groups.names.size(); ++i) {
    task.by_group.push_back(count(answers, groups.names[i], groups.texts[i], threshold));
  }
  for (size_t i = 0; i < labels.names.size(); ++i) {
    task.by_label.push_back(count(answers, labels.names[i], labels.texts[i], threshold));
  }
  task.deep = deep_texts(answers, report, threshold);
  if (!saves) return task;
  FATHOM_TRY(Classifier classifier, Classifier::make(model, heads, options.encoder));
  FATHOM_TRY(time_policies(classifier, set, report, task));
  return task;
}

}  // namespace fathom
