// What training found, as JSON. Next: task_page.cc, which makes a page of it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "fathom/classify/task_file.h"

namespace fathom {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const TaskCount& c) {
  const auto share = [&](int64_t part) { return c.n > 0 ? Json(double(part) / double(c.n)) : Json(); };
  return {{"name", c.name},
          {"texts", c.n},
          {"differing", share(c.differing)},
          {"accuracy", share(c.right)},
          {"accuracy_at_full_depth", share(c.right_at_full)},
          {"mean_depth", c.n > 0 ? Json(c.mean_depth) : Json()}};
}

Json json_of(const std::vector<TaskCount>& counts) {
  Json all = Json::array();
  for (const TaskCount& c : counts) all.push_back(json_of(c));
  return all;
}

Json bounds_of(const std::vector<GroupBound>& bounds, const TrainedTask& task) {
  Json all = Json::array();
  for (const GroupBound& b : bounds) {
    all.push_back({{"name", task.promised[static_cast<size_t>(b.group)]},
                   {"texts", b.n},
                   {"mean", b.mean},
                   {"upper", b.upper},
                   {"missing", b.missing()}});
  }
  return all;
}

Json settings_of(const TrainedTask& task) {
  Json all = Json::array();
  for (size_t i = 0; i < task.settings.size(); ++i) {
    const TaskSetting& s = task.settings[i];
    all.push_back({{"agreement_at_least", s.agreement_at_least},
                   {"mean_depth", s.mean_depth},
                   {"differing", s.differing},
                   {"report_depth", s.report_depth},
                   {"report_differing", s.report_differing},
                   {"report_accuracy", s.report_accuracy},
                   {"certified", task.choice.candidate >= static_cast<int32_t>(i)},
                   {"chosen", task.certified && task.choice.candidate == static_cast<int32_t>(i)}});
  }
  return all;
}

Json depths_of(const TrainedTask& task) {
  Json all = Json::array();
  for (const DepthQuality& d : task.depths) {
    all.push_back({{"layer", d.layer},
                   {"accuracy", d.accuracy},
                   {"agreement", d.agreement},
                   {"left", d.left},
                   {"temperature", d.temperature}});
  }
  return all;
}

Json deep_of(const TrainedTask& task) {
  Json all = Json::array();
  for (const DeepText& d : task.deep) {
    all.push_back({{"text", d.text}, {"id", d.id}, {"said", d.said}, {"agreement", d.agreement}});
  }
  return all;
}

int64_t count(const LabelledSet& set, TaskSplit split) {
  int64_t n = 0;
  for (const LabelledText& text : set.texts) n += text.split == split;
  return n;
}

}  // namespace

std::string task_report_json(const LabelledSet& set, const TrainedTask& task, const TrainOptions& options,
                             const TaskOrigin& origin) {
  const Json json = {
      {"model", {{"name", origin.model_name}, {"layers", task.depths.empty() ? 0 : task.depths.back().layer}}},
      {"machine", origin.machine},
      {"library", origin.library},
      {"command", origin.command},
      {"data", origin.data},
      {"seed", origin.seed},
      {"risk", options.risk},
      {"confidence", options.confidence},
      {"by_label", options.by_label},
      {"several", set.several},
      {"labels", set.labels},
      {"texts",
       {{"train", count(set, TaskSplit::train)},
        {"tune", count(set, TaskSplit::tune)},
        {"choose", count(set, TaskSplit::choose)},
        {"report", count(set, TaskSplit::report)},
        {"duplicates", set.n_duplicates},
        {"contradictions", set.n_contradictions},
        {"rare", set.n_rare},
        {"bad_lines", set.n_bad}}},
      {"certified", task.certified},
      {"promise", task.promise},
      {"policy", task.policy.text()},
      {"passed", bounds_of(task.choice.passed, task)},
      {"refused", bounds_of(task.choice.refused, task)},
      {"all", json_of(task.all)},
      {"groups", json_of(task.by_group)},
      {"by_label_of_full_depth", json_of(task.by_label)},
      {"words_accuracy", task.words_accuracy},
      {"depths", depths_of(task)},
      {"settings", settings_of(task)},
      {"deep", deep_of(task)},
      {"full_seconds", task.full_seconds},
      {"policy_seconds", task.policy_seconds},
      {"pays", task.pays()},
  };
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace fathom
