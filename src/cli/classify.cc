// `fathom classify`: train a task's heads, label texts with them, and what was found as a page. Next: info.cc.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "fathom/calibrate/report.h"
#include "fathom/calibrate/sidecar_file.h"
#include "fathom/classify/classifier.h"
#include "fathom/classify/task_file.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/command.h"
#include "src/cli/encoder_options.h"
#include "src/cli/interrupt.h"
#include "src/cli/lines_file.h"
#include "src/cli/options.h"
#include "src/cli/text_blocks.h"

namespace fathom::cli {
namespace {

constexpr OutputKind kTask = {.name = "-o", .first = kSidecarStart, .foreign = "exists and is no sidecar"};
constexpr OutputKind kPage = {.name = "-o", .first = kReportPageStart, .foreign = "exists and is no page of a report"};
constexpr OutputKind kLines = {
    .name = "-o", .first = "{\"line\":", .foreign = "exists and was not written by this verb"};

struct Args {
  ModelArgs model;
  std::string file, task, output;
  std::optional<int64_t> max_tokens;
  std::optional<std::string> policy;
  double risk = 0.02, confidence = 0.95;
  uint64_t seed = 1;
  bool by_label = false, drop_rare = false, skip_bad = false, json = false, strict = false;
};

// ---- train --------------------------------------------------------------------------------------------------------

std::string command_of(const Args& args) {
  std::string command = fmt::format("fathom classify train -m {} -f {} -o {} --risk {:g} --confidence {:g} --seed {}",
                                    shell_word(args.model.model), shell_word(args.file), shell_word(args.output),
                                    args.risk, args.confidence, args.seed);
  if (!args.model.precision.empty()) command += " --precision " + args.model.precision;
  if (args.max_tokens) command += fmt::format(" --max-tokens {}", *args.max_tokens);
  for (const auto& [given, flag] :
       {std::pair(args.by_label, " --by-label"), {args.drop_rare, " --drop-rare"}, {args.skip_bad, " --skip-bad"}}) {
    if (given) command += flag;
  }
  return command;
}

void tell_of_data(const LabelledSet& set) {
  if (set.n_bad > 0) spdlog::warn("{} lines left out; the first: {}", set.n_bad, set.first_bad);
  if (set.n_rare > 0) spdlog::warn("{} texts of rare labels left out", set.n_rare);
  if (set.n_contradictions > 0) {
    spdlog::warn("{} texts left out: they are there twice, with different labels", set.n_contradictions);
  }
}

std::string percent(int64_t part, int64_t all) {
  return all > 0 ? fmt::format("{:.2f} %", 100 * double(part) / double(all)) : "-";
}

std::string summary(const TrainedTask& task, const LabelledSet& set) {
  std::string text;
  for (const DepthQuality& d : task.depths) {
    text += fmt::format("{:>12}  {:5.1f} % right, {:5.1f} % as full depth, {:5.1f} % of texts leave\n",
                        d.layer == 0 ? "words alone" : fmt::format("{} layers", d.layer), 100 * d.accuracy,
                        100 * d.agreement, 100 * d.left);
  }
  text += fmt::format(
      "{} held-out texts, {} labels: {} right at full depth, {} under the policy, mean depth {:.2f} of {}\n",
      task.all.n, set.labels.size(), percent(task.all.right_at_full, task.all.n), percent(task.all.right, task.all.n),
      task.all.mean_depth, task.depths.back().layer);
  if (!task.certified) {
    int64_t missing = 0;
    for (const GroupBound& bound : task.choice.refused) missing = std::max(missing, bound.missing());
    return text + (missing > 0
                       ? fmt::format("no setting is certified: {} more texts are needed to choose by\n", missing)
                       : std::string("no-go: no earlier head is surely enough what full depth says\n"));
  }
  return text + fmt::format("policy: {}\n{}\n{:.2f} x the speed of full depth here{}\n", task.policy.text(),
                            task.promise, task.full_seconds / task.policy_seconds,
                            task.pays() ? "" : ": full depth runs unless it is asked for");
}

Result<int> train(const Args& args) {
  FATHOM_TRY(check_place(args.output, kTask));  // before the work
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  FATHOM_TRY(const EncoderOptions encoder, encoder_options(args.model, args.max_tokens, file.config()));
  FATHOM_TRY(const std::string jsonl, read_file(args.file));
  FATHOM_TRY(
      const LabelledSet set,
      read_labelled(jsonl, args.file, {.drop_rare = args.drop_rare, .skip_bad = args.skip_bad, .seed = args.seed}));
  tell_of_data(set);
  FATHOM_TRY(const BoundModel bound,
             binding_of(path, file, rounding_of(args.model), {.cache_folder = digest_folder()}));
  FATHOM_TRY(const Model model, pack(file, args.model));
  Bar bar;
  const InterruptGuard guard;
  const TrainOptions options{.risk = args.risk,
                             .confidence = args.confidence,
                             .by_label = args.by_label,
                             .encoder = encoder,
                             .on_progress = show_progress_bar,
                             .context = &bar};
  const Result<TrainedTask> task = train_task(model, set, options);
  bar.end();
  if (!task) return task.error();
  const TaskOrigin origin{.model_name = args.model.model,
                          .data = args.file,
                          .command = command_of(args),
                          .library = FATHOM_VERSION,
                          .machine = model.tables()[0]->name,
                          .seed = args.seed};
  const std::string report = task_report_json(set, *task, options, origin);
  const int32_t max_tokens = encoder.max_tokens > 0 ? encoder.max_tokens : file.config().usual_tokens;
  FATHOM_TRY(write_task(args.output, *task, options, bound.binding, max_tokens, origin, report));
  FATHOM_TRY(print(args.json ? report + "\n" : summary(*task, set)));
  return kOk;
}

// ---- run ----------------------------------------------------------------------------------------------------------

std::string line_of(const TextBlock& block, size_t i, const Classification& c, const FittedLabels& task) {
  Json labels = Json::array();
  for (const int32_t label : c.labels) labels.push_back(task.labels[static_cast<size_t>(label)]);
  Json line = {{"line", block.numbers[i]}, {"id", block.lines[i].id}};
  if (task.several) {
    line["labels"] = std::move(labels);
  } else {
    line["label"] = std::move(labels.front());
  }
  line["confidence"] = c.confidence;
  line["depth"] = c.depth;
  line["work"] = c.work;
  line["tokens"] = c.tokens;
  line["truncated"] = c.truncated;
  return to_line(line) + "\n";
}

Result<int> label(const Args& args) {
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  FATHOM_TRY(EncoderOptions encoder, encoder_options(args.model, {}, file.config()));
  FATHOM_TRY(TaskFile task,
             open_task(args.task, path, file, rounding_of(args.model), {.cache_folder = digest_folder()}));
  if (!task.warning.empty()) {
    if (args.strict) return Error{ErrorCode::file, fmt::format("{}: {}", args.task, task.warning)};
    spdlog::warn("{}: {}", args.task, task.warning);
  }
  if (args.policy) {
    FATHOM_TRY(task.policy, read_policy(args.policy));
  }
  FATHOM_TRY(task.policy.check(file.config().n_layers));
  FATHOM_TRY(LineSource source, LineSource::open(args.file));
  std::optional<LinesFile> out;
  if (!args.output.empty() && args.output != "-") {
    FATHOM_TRY(LinesFile made, LinesFile::open(args.output, kLines));
    out.emplace(std::move(made));
  }
  FATHOM_TRY(const Model model, pack(file, args.model));
  FATHOM_TRY(const auto heads, LabelHeads::make(file.config(), task.labels));
  encoder.max_tokens = task.max_tokens;
  FATHOM_TRY(Classifier classifier, Classifier::make(model, heads, encoder));
  TextReader reader(std::move(source), args.skip_bad);
  const InterruptGuard guard;
  const auto begin = std::chrono::steady_clock::now();
  int64_t n = 0, cut = 0;
  double depth = 0;
  for (bool ended = false; !ended && !interrupted();) {
    const TextBlock block = reader.next();
    const std::vector<std::string_view> texts = block.texts();
    FATHOM_TRY(const std::vector<Classification> found, classifier.classify(texts, task.policy));
    std::string lines;
    for (size_t i = 0; i < found.size(); ++i) {
      lines += line_of(block, i, found[i], task.labels);
      depth += double{found[i].depth};
      cut += found[i].truncated ? 1 : 0;
    }
    n += std::ssize(found);
    FATHOM_TRY(out ? out->write(lines) : print(lines));
    FATHOM_TRY(block.state);
    ended = block.ended;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  fmt::print(stderr, "{} texts in {:.2f} s, {:.1f} texts/s, mean depth {:.2f} of {}, policy {}{}{}\n", n, took.count(),
             double(n) / std::max(took.count(), 1e-9), depth / double(std::max<int64_t>(n, 1)), file.config().n_layers,
             task.policy.text(), cut > 0 ? fmt::format("; {} cut at {} tokens", cut, task.max_tokens) : "",
             reader.bad() > 0 ? fmt::format("; {} bad lines left out", reader.bad()) : "");
  return interrupted() ? kInterrupted : kOk;
}

// ---- report -------------------------------------------------------------------------------------------------------

Result<int> report(const Args& args) {
  if (args.output.empty() && !args.json) {
    return Error{ErrorCode::argument, "-o is missing: give the page's path, such as -o report.html, or --json"};
  }
  if (!args.output.empty()) FATHOM_TRY(check_place(args.output, kPage));
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(args.task));
  FATHOM_TRY(const std::string_view json, file.json(section::kReport));
  FATHOM_TRY(const std::string page, task_report_html(json));
  if (!args.output.empty()) FATHOM_TRY(write_whole_file(args.output, kPage, page));
  if (args.json) FATHOM_TRY(print(std::string(json) + "\n"));
  return kOk;
}

void add_file(CLI::App& verb, Args& args, const char* help) {
  verb.add_option("-f,--file", args.file, help)->required();
  verb.add_flag("--skip-bad", args.skip_bad, "Leave out lines that cannot be read, and count them");
}

CLI::App* add_train(CLI::App& verb, Args& args) {
  CLI::App* below = verb.add_subcommand("train", "Fit heads at every depth, and exits with a certified label");
  add_encoder_options(*below, args.model);
  add_file(*below, args, "Labelled texts, a line of JSON each: text, label or labels, maybe group and id");
  below->add_option("-o,--output", args.output, "The task's sidecar, NAME.fathom")->required();
  below->add_option("--risk", args.risk, "Share of texts whose label may differ from full depth's")
      ->capture_default_str();
  below->add_option("--confidence", args.confidence, "That it is no more")->capture_default_str();
  below->add_flag("--by-label", args.by_label, "Keep the promise for the texts of each label, not only for all");
  below->add_flag("--drop-rare", args.drop_rare, "Leave out texts of labels that too few texts have");
  add_max_tokens_option(*below, args.max_tokens);
  below->add_option("--seed", args.seed, "Of what each text is used for")->capture_default_str();
  below->add_flag("--json", args.json, "What was found as one line of JSON, docs/schema/classify_report.json");
  return below;
}

CLI::App* add_run(CLI::App& verb, Args& args) {
  CLI::App* below = verb.add_subcommand("run", "Label texts");
  below->add_option("task", args.task, "NAME.fathom, as train wrote it")->required();
  add_encoder_options(*below, args.model);
  add_file(*below, args, "A text a line, as JSON, docs/cli.md; - is standard input");
  below->add_option("-o,--output", args.output,
                    "A line of JSON for each, docs/schema/classify.json; replaces nothing but an earlier one");
  add_policy_option(*below, args.policy);
  below->add_flag("--strict", args.strict,
                  "Refuse a task whose promise does not hold here, rather than run full depth");
  return below;
}

CLI::App* add_report(CLI::App& verb, Args& args) {
  CLI::App* below = verb.add_subcommand("report", "Write what training found as one page that needs no network");
  below->add_option("task", args.task, "NAME.fathom, as train wrote it")->required();
  below->add_option("-o,--output", args.output, "The page; replaces nothing but an earlier one");
  below->add_flag("--json", args.json, "The same numbers as one line of JSON, docs/schema/classify_report.json");
  return below;
}

}  // namespace

Command add_classify(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("classify", "Label texts by as few layers as are surely enough");
  struct Below {
    CLI::App* app;
    Result<int> (*run)(const Args&);
  };
  const std::vector<Below> below = {
      {add_train(*verb, *args), train}, {add_run(*verb, *args), label}, {add_report(*verb, *args), report}};
  verb->allow_extras();  // a verb that there is not is named below
  return {verb, [args, verb, below]() -> Result<int> {
            for (const Below& b : below) {
              if (b.app->parsed()) return b.run(*args);
            }
            const std::vector<std::string> words = verb->remaining();
            return Error{ErrorCode::argument,
                         fmt::format("no verb{}: give train, run or report", words.empty() ? "" : " " + words.front())};
          }};
}

}  // namespace fathom::cli
