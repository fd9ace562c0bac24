// `fathom replay`: what another policy would have decided in a recorded run, or whether the run can be had again, bit
// for bit. Next: report.cc.
#include "fathom/trace/replay.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <system_error>

#include "src/cli/command.h"
#include "src/cli/compare_traces.h"
#include "src/cli/run_record.h"

namespace fathom::cli {
namespace {

struct Args {
  std::string trace;
  ModelArgs model;
  std::optional<std::string> policy;
  bool check = false;
  bool json = false;
};

std::string_view name(Verdict v) {
  switch (removes(v) ? removal_of(v) : v) {
    case Verdict::run:
      return "run";
    case Verdict::skip_attention:
      return "skip_attention";
    case Verdict::skip_feed_forward:
      return "skip_feed_forward";
    case Verdict::skip_layer:
      return "skip_layer";
    case Verdict::exit:
      return "exit";
    case Verdict::silence_heads:
      return "silence_heads";
    case Verdict::silence_heads_skip_feed_forward:
      return "silence_heads, skip_feed_forward";
    case Verdict::drop:
      return "drop";
    case Verdict::merge:
      return "merge";
  }
  return "unknown";
}

Json result_of(const ReplayReport& r, const std::string& recorded, const std::string& policy) {
  Json difference;
  if (r.first_difference) {
    difference = {{"sequence", r.first_difference->sequence},
                  {"position", r.first_difference->position},
                  {"layer", r.first_difference->layer},
                  {"recorded", name(r.first_difference->recorded)},
                  {"replayed", name(r.first_difference->replayed)}};
  }
  return {{"recorded_policy", recorded},
          {"policy", policy},
          {"rows", r.rows},
          {"decided_same", r.decided_same},
          {"decided_differently", r.decided_differently},
          {"unknown_signal", r.unknown_signal},
          {"unknown_after_divergence", r.unknown_after_divergence},
          {"generated_rows", r.generated_rows},
          {"recorded_depth", r.recorded_depth},
          {"depth_known_rows", r.depth_known_rows},
          {"known_depth", r.depth_known_rows > 0 ? Json(r.known_depth) : Json()},
          {"known_recorded_depth", r.depth_known_rows > 0 ? Json(r.known_recorded_depth) : Json()},
          {"drafted_rows", r.drafted_rows},
          {"settled_rows", r.settled_rows},
          {"rolled_back_rows", r.rolled_back_rows},
          {"not_asked_rows", r.not_asked_rows},
          {"first_difference", difference},
          {"truncated", r.truncated}};
}

Result<int> ask_policy(const Args& args, const Policy& policy, TraceReader& reader) {
  FATHOM_TRY(policy.check(reader.header().n_layers));
  const std::string recorded = reader.header().policy;
  FATHOM_TRY(const ReplayReport r, replay(reader, policy.ref()));
  if (r.truncated) spdlog::warn("the trace is cut off; {} whole rows were read", r.rows);
  if (args.json) {
    FATHOM_TRY(print_json(result_of(r, recorded, policy.text())));
    return kOk;
  }
  std::string text = fmt::format("recorded with  {}\nasked          {}\n\n", recorded, policy.text());
  const auto line = [&](int64_t rows, const char* what) {
    text +=
        fmt::format("{:>9}  {:>5.1f} %  {}\n", rows, r.rows > 0 ? 100.0 * double(rows) / double(r.rows) : 0.0, what);
  };
  line(r.rows, "rows");
  line(r.decided_same, "decided the same");
  line(r.decided_differently, "decided differently");
  line(r.unknown_signal, "unknown: a signal or work that was not recorded");
  line(r.unknown_after_divergence, "unknown: after a different decision of their sequence");
  const auto drafts = [&](int64_t rows, const char* what) {
    if (rows > 0) text += fmt::format("{:>9}           {}\n", rows, what);
  };
  drafts(r.not_asked_rows, "of those decided the same: run in full by a choice, no policy asked");
  drafts(r.drafted_rows, "drafted");
  drafts(r.settled_rows, "settled");
  drafts(r.rolled_back_rows, "taken back");
  text += fmt::format("\nmean depth of {} generated rows as recorded: {:.2f}\n", r.generated_rows, r.recorded_depth);
  if (r.depth_known_rows > 0) {
    text += fmt::format("mean depth of the {} whose depth is known: {:.2f}, recorded {:.2f}\n", r.depth_known_rows,
                        r.known_depth, r.known_recorded_depth);
  }
  if (const auto& d = r.first_difference) {
    text += fmt::format("first difference: position {} of sequence {} at layer {}: {} where {} was recorded\n",
                        d->position, d->sequence, d->layer, name(d->replayed), name(d->recorded));
  }
  FATHOM_TRY(print(text));
  return kOk;
}

// A file that is gone when this is.
struct TemporaryFile {
  std::string path;
  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path.empty()) unlink(path.c_str());
  }
  Result<void> make() {
    const char* folder = std::getenv("TMPDIR");
    path = std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp") + "/fathom-check-XXXXXX";
    const int fd = mkstemp(path.data());
    if (fd >= 0) return close(fd), Result<void>();
    const Error error{ErrorCode::file, fmt::format("{}: {}: set TMPDIR to a folder that can be written", path,
                                                   std::generic_category().message(errno))};
    path.clear();
    return error;
  }
};

Result<void> same_model(const TraceHeader& trace, const ModelFile& file, const Rounding& rounding) {
  const Fingerprint print = file.fingerprint(rounding);
  const auto differ = [](const char* what) {
    return Error{ErrorCode::format, fmt::format("the trace was recorded with another {}: give the same one", what)};
  };
  if (trace.model_fingerprint != print.model) return differ("model file");
  if (trace.tokenizer_fingerprint != print.tokenizer) return differ("tokenizer");
  if (trace.numeric_path != print.numeric_path) return differ("numeric path");
  return {};
}

// Chooses as the recorded run did.
class RecordedChoices final : public DraftChooser {
 public:
  explicit RecordedChoices(TraceReader reader) : reader_(std::move(reader)) {}

  DraftChoice choose(const DraftOffer& offer) override {
    while (next_ == event_.choices.size()) {
      next_ = 0;
      const Result<bool> more = reader_.next(event_);
      if (!more || !*more) return event_.choices.clear(), DraftChoice{};
    }
    const TraceChoice& recorded = event_.choices[next_];
    if (recorded.position != offer.context) return {};
    ++next_;
    return {.own = recorded.own, .source = recorded.source};
  }
  void learn(const DraftOutcome&) override {}

 private:
  TraceReader reader_;
  TraceEvent event_;
  size_t next_ = 0;
};

// Runs what the trace's header describes, writing a trace of its own.
Result<void> run_again(const Args& args, const TraceHeader& recorded, const std::string& path) {
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(const RunRecord record, read_run(recorded.run_json));
  FATHOM_TRY(const Policy policy, Policy::parse(recorded.policy));
  ModelArgs model_args = args.model;
  model_args.numerics = name_of(record.rounding.numerics);
  if (record.rounding.quantise) model_args.quantise = "q8_0";
  if (args.model.quantise && !record.rounding.quantise) {
    return Error{ErrorCode::argument, "--quantise: the trace was recorded without: leave --quantise out"};
  }
  if (const auto& asked = args.model.numerics; asked && *asked != name_of(record.rounding.numerics)) {
    return Error{ErrorCode::argument, fmt::format("--numerics {}: the trace was recorded with {}: leave --numerics out",
                                                  *asked, name_of(record.rounding.numerics))};
  }
  FATHOM_TRY(same_model(recorded, file, record.rounding));
  GenerateOptions options = options_of(record, policy);
  FATHOM_TRY(check(options, file.config()));
  FATHOM_TRY(const Model model, pack(file, model_args, policy));
  FATHOM_TRY(Session session, make_session(model, record, args.model.threads));
  FATHOM_TRY(Trace trace, Trace::create(path, header_of(file, record, policy)));
  options.trace = &trace;
  FATHOM_TRY(TraceReader choices, TraceReader::open(args.trace));
  RecordedChoices chooser(std::move(choices));
  options.draft_chooser = &chooser;
  FATHOM_TRY(generate(session, record.prompt, options));
  return trace.finish();
}

Result<int> check(const Args& args, TraceReader& reader) {
  if (reader.header().run_json == kEmbedRun) {
    return Error{
        ErrorCode::unsupported,
        "a trace of fathom embed holds no text to run again: --check is for those of generate; --policy P asks "
        "another policy about it"};
  }
  TemporaryFile file;
  FATHOM_TRY(file.make());
  FATHOM_TRY(run_again(args, reader.header(), file.path));
  FATHOM_TRY(TraceReader again, TraceReader::open(file.path));
  FATHOM_TRY(const TraceComparison c, compare_traces(reader, again));
  if (c.truncated) spdlog::warn("the trace is cut off; its {} whole events were compared", c.events);
  if (args.json) {
    FATHOM_TRY(print_json({{"same", c.difference.empty()},
                           {"rows", c.rows},
                           {"decisions", c.decisions},
                           {"first_difference", c.difference.empty() ? Json() : Json(c.difference)},
                           {"truncated", c.truncated}}));
  } else if (c.difference.empty()) {
    FATHOM_TRY(print(fmt::format("the same again: {} rows and {} decisions, bit for bit\n", c.rows, c.decisions)));
  } else {
    FATHOM_TRY(
        print(fmt::format("different: {}\n(another instruction set rounds otherwise: check where the trace was "
                          "recorded, with its --target)\n",
                          c.difference)));
  }
  return c.difference.empty() ? kOk : kFailure;
}

Result<int> run(const Args& args) {
  if (args.check == args.policy.has_value()) {
    return Error{ErrorCode::argument, "give either --policy P, or -m M and --check"};
  }
  if (args.check && args.model.model.empty()) return Error{ErrorCode::argument, "--check: give the model with -m"};
  FATHOM_TRY(const Policy policy, read_policy(args.policy));
  FATHOM_TRY(TraceReader reader, TraceReader::open(args.trace));
  return args.check ? check(args, reader) : ask_policy(args, policy, reader);
}

}  // namespace

Command add_replay(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("replay", "Ask another policy about a recorded run, or run it again and compare");
  verb->add_option("trace", args->trace, "A file that --trace of generate or embed wrote")->required();
  add_policy_option(*verb, args->policy);
  add_model_options(*verb, args->model, false);
  verb->add_flag("--check", args->check, "Run again: the same decisions and tokens, or exit code 1");
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/replay.json or check.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
