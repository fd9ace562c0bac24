// `fathom embed`: a line of JSON for each text of a file, in its order, as many texts at a time as fill the machine.
// Next: classify.cc.
#include "fathom/engine/embed.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>

#include "fathom/calibrate/embedding_file.h"
#include "fathom/calibrate/report.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/command.h"
#include "src/cli/encoder_options.h"
#include "src/cli/flow_page.h"
#include "src/cli/interrupt.h"
#include "src/cli/lines_file.h"
#include "src/cli/npy_file.h"
#include "src/cli/options.h"
#include "src/cli/run_record.h"
#include "src/cli/text_blocks.h"

namespace fathom::cli {
namespace {

// Each begins with a field that an input may not have: an input is never taken for an earlier output.
constexpr OutputKind kLines = {
    .name = "-o", .first = "{\"line\":", .foreign = "exists and was not written by this verb"};
constexpr OutputKind kPage = {.name = "--page", .first = kReportPageStart, .foreign = "exists and is no page of ours"};
constexpr size_t kExplainedAtOnce = 128;

struct Args {
  ModelArgs model;
  std::string file;
  std::string output;  // empty: standard output, unless --npy is given
  std::string npy, sidecar;
  std::optional<int64_t> max_tokens;
  std::optional<std::string> policy;
  std::string page;   // empty: none
  std::string trace;  // empty: none
  bool explain = false;
  bool skip_bad = false, strict = false;
};

/// Where embeddings go.
struct Outputs {
  std::optional<LinesFile> file;
  std::optional<NpyFile> npy;
  bool prints = false;
  bool explains = false;

  static Result<Outputs> open(const Args& args, int32_t width) {
    Outputs outputs{.prints = args.output == "-" || (args.output.empty() && args.npy.empty()),
                    .explains = args.explain};
    if (!args.output.empty() && !outputs.prints) {
      FATHOM_TRY(LinesFile made, LinesFile::open(args.output, kLines));
      outputs.file.emplace(std::move(made));
    }
    if (!args.npy.empty()) {
      FATHOM_TRY(NpyFile made, NpyFile::open(args.npy, width));
      outputs.npy.emplace(std::move(made));
    }
    return outputs;
  }

  /// Of the block's texts from `first` on.
  Result<void> write(const TextBlock& block, size_t first, std::span<const Embedding> embeddings,
                     const Tokenizer& tokenizer) {
    if (file || prints) {
      std::string text;
      for (size_t i = 0; i < embeddings.size(); ++i) {
        append_line(block, first + i, embeddings[i], explains ? &tokenizer : nullptr, text);
      }
      FATHOM_TRY(file ? file->write(text) : print(text));
    }
    if (!npy) return {};
    std::vector<float> rows;
    for (const Embedding& e : embeddings) rows.insert(rows.end(), e.values.begin(), e.values.end());
    return npy->write(rows);
  }

 private:
  // docs/schema/embed.json; numbers as short as they can be and still be read back as the same f32.
  //   pieces   names the tokens of fates; null: they are left out
  static void append_line(const TextBlock& block, size_t i, const Embedding& e, const Tokenizer* pieces,
                          std::string& text) {
    fmt::format_to(std::back_inserter(text),
                   R"({{"line":{},"id":{},"depth":{},"work":{:.6g},"tokens":{},"tokens_kept":{},"truncated":{},)"
                   R"("embedding":[)",
                   block.numbers[i], to_line(block.lines[i].id), e.depth, e.work, e.tokens, e.tokens_kept, e.truncated);
    for (const float value : e.values) fmt::format_to(std::back_inserter(text), "{},", value);
    text.back() = ']';
    if (pieces != nullptr) append_fates(e.fates, *pieces, text);
    text += "}\n";
  }

  static void append_fates(std::span<const TokenFate> fates, const Tokenizer& tokenizer, std::string& text) {
    const auto or_null = [](int32_t x) { return x < 0 ? std::string("null") : fmt::to_string(x); };
    text += ",\"fates\":[";
    for (const TokenFate& fate : fates) {
      fmt::format_to(std::back_inserter(text), R"({{"text":{},"share":{},"removed_at":{},"joined":{},"sources":[)",
                     to_line(std::string(tokenizer.piece(fate.token, true))), fate.share, or_null(fate.removed_at),
                     or_null(fate.joined));
      for (const auto& [place, much] : fate.sources) {
        fmt::format_to(std::back_inserter(text), "[{},{}],", place, much);
      }
      if (!fate.sources.empty()) text.pop_back();
      text += "]},";
    }
    if (!fates.empty()) text.pop_back();
    text += ']';
  }
};

void show_progress(const EmbedTotals& totals) {
  if (isatty(STDERR_FILENO)) fmt::print(stderr, "\r{} texts, {} tokens", totals.texts, totals.tokens);
}

void summarise(const EmbedTotals& totals, const Encoder& encoder, double seconds, int64_t bad) {
  const auto n = static_cast<double>(std::max<int64_t>(totals.texts, 1));
  std::string line =
      fmt::format("{} texts of {} tokens in {:.2f} s, {:.1f} texts/s, mean depth {:.2f} of {}, work {:.3f}",
                  totals.texts, totals.tokens, seconds, double(totals.texts) / std::max(seconds, 1e-9),
                  totals.depth / n, encoder.model().config().n_layers, totals.work / n);
  if (totals.cut > 0) line += fmt::format("; {} cut at {} tokens", totals.cut, encoder.options().max_tokens);
  if (bad > 0) line += fmt::format("; {} bad line{} left out", bad, bad == 1 ? "" : "s");
  fmt::print(stderr, "{}{}\n", isatty(STDERR_FILENO) ? "\r" : "", line);
}

// The texts are not in it: nothing can run again from the trace alone.
TraceHeader header_of(const ModelFile& file, const ModelArgs& args, const Policy& policy) {
  const Fingerprint print = file.fingerprint(rounding_of(args));
  return {.model_fingerprint = print.model,
          .tokenizer_fingerprint = print.tokenizer,
          .numeric_path = print.numeric_path,
          .policy = policy.text(),
          .run_json = std::string(kEmbedRun),
          .n_layers = file.config().n_layers,
          .encodes = true};
}

/// Texts in, vectors out. What came before an error is written.
struct Run {
  Encoder encoder;  // explains what is drawn, and under --explain every text
  const Policy& policy;
  Outputs outputs;
  std::optional<FlowPage> page;
  std::optional<Trace> trace = {};
  EmbedTotals totals = {};

  Result<void> all(TextReader& reader, const EncoderOptions& options) {
    for (bool ended = false; !ended && !interrupted();) {
      const TextBlock block = reader.next();
      const std::vector<std::string_view> texts = block.texts();
      for (size_t first = 0; first < texts.size() && !interrupted();) {
        const size_t n = std::min(at_once(), texts.size() - first);
        FATHOM_TRY(const std::vector<Embedding> embeddings,
                   encoder.embed(std::span(texts).subspan(first, n), policy, trace ? &*trace : nullptr));
        FATHOM_TRY(outputs.write(block, first, embeddings, encoder.model().tokenizer()));
        if (page) page->add(block, first, embeddings);
        totals.add(embeddings);
        show_progress(totals);
        first += n;
        if (encoder.options().explain && !outputs.explains && page->room() == 0) {
          FATHOM_TRY(encoder, Encoder::make(encoder.model(), options));
        }
      }
      FATHOM_TRY(block.state);
      ended = block.ended;
    }
    return {};
  }

 private:
  // Fates are larger than texts: fewer of them are held.
  size_t at_once() const {
    if (!encoder.options().explain) return std::numeric_limits<size_t>::max();
    return outputs.explains ? kExplainedAtOnce : page->room();
  }
};

// The policy as it is written, or that of a sidecar, which says where texts are cut too.
Result<Policy> choose_policy(const Args& args, const ModelFile& file, EncoderOptions& options) {
  if (args.sidecar.empty()) return read_policy(args.policy);
  if (access(args.sidecar.c_str(), F_OK) != 0) {
    return Error{ErrorCode::file,
                 fmt::format("--sidecar {}: no such file: fathom calibrate-embed writes one", args.sidecar)};
  }
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  const std::optional<int32_t> max_tokens =
      args.max_tokens ? std::optional(options.max_tokens) : std::optional<int32_t>();
  const EmbeddingFile opened =
      open_embedding(args.sidecar, path, file, rounding_of(args.model), max_tokens, {.cache_folder = digest_folder()});
  if (!opened.warning.empty()) {
    if (args.strict) return Error{ErrorCode::file, opened.warning};
    spdlog::warn(opened.warning);
  }
  if (!args.max_tokens) options.max_tokens = opened.max_tokens;
  return opened.policy;
}

Result<int> run(const Args& args) {
  if (!args.page.empty()) FATHOM_TRY(check_place(args.page, kPage));  // before the work
  FATHOM_TRY(LineSource source, LineSource::open(args.file));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  FATHOM_TRY(EncoderOptions plain, encoder_options(args.model, args.max_tokens, file.config()));
  FATHOM_TRY(const Policy policy, choose_policy(args, file, plain));
  FATHOM_TRY(policy.check(file.config().n_layers));
  EncoderOptions options = plain;
  options.explain = args.explain || !args.page.empty();
  FATHOM_TRY(Outputs outputs, Outputs::open(args, file.config().d_model));
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(Encoder encoder, Encoder::make(model, options));

  Run run{.encoder = std::move(encoder), .policy = policy, .outputs = std::move(outputs)};
  if (!args.page.empty()) run.page.emplace(model, args.model.model, policy);
  if (!args.trace.empty()) {
    FATHOM_TRY(Trace trace, Trace::create(args.trace, header_of(file, args.model, policy)));
    run.trace.emplace(std::move(trace));
  }
  TextReader reader(std::move(source), args.skip_bad);
  const InterruptGuard guard;
  const auto begin = std::chrono::steady_clock::now();
  const Result<void> state = run.all(reader, plain);
  if (run.page) FATHOM_TRY(write_whole_file(args.page, kPage, run.page->html(run.totals)));
  FATHOM_TRY(state);
  if (run.trace) FATHOM_TRY(run.trace->finish());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  summarise(run.totals, run.encoder, took.count(), reader.bad());
  return interrupted() ? kInterrupted : kOk;
}

}  // namespace

Command add_embed(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("embed", "Make vectors of texts, with an encoder");
  add_encoder_options(*verb, args->model);
  verb->add_option("-f,--file", args->file, "A text a line, as JSON, docs/cli.md; - is standard input")->required();
  verb->add_option(
      "-o,--output", args->output,
      "A line of JSON for each, docs/schema/embed.json; - is standard output, as is giving neither this nor "
      "--npy; replaces nothing but an earlier one");
  verb->add_option("--npy", args->npy, "The vectors alone, as numpy's f32 [texts, width]");
  verb->add_flag("--explain", args->explain,
                 "Say of every token what became of it, and how much of the vector comes from it");
  verb->add_option("--page", args->page,
                   "The same of the first 40 texts, drawn over them as a page that needs no network; replaces nothing "
                   "but an earlier one");
  verb->add_option("--trace", args->trace,
                   "Record every decision in a file, under --explain what became of each token too");
  CLI::Option* policy = add_policy_option(*verb, args->policy);
  verb->add_option("--sidecar", args->sidecar, "What fathom calibrate-embed wrote: its policy, and where texts are cut")
      ->excludes(policy);
  verb->add_flag("--strict", args->strict, "Fail where a sidecar does not fit, in place of running at full depth");
  add_max_tokens_option(*verb, args->max_tokens);
  verb->add_flag("--skip-bad", args->skip_bad, "Leave out lines that cannot be read, and count them");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
