// `fathom generate --batch`: a file of prompts side by side, their texts in the file's order as soon as all before them
// are done. Next: chat.cc.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "fathom/engine/batch.h"
#include "src/cli/generate.h"
#include "src/cli/interrupt.h"
#include "src/cli/prompt_lines.h"
#include "src/cli/stream.h"

namespace fathom::cli {
namespace {

struct Texts {
  std::vector<PromptLine> lines;
  std::vector<BatchItem> items;  // [lines]
  size_t longest = 0;            // tokens of a prompt
};

// All lines as prompts. A line's number is its sequence, so that one seed gives each its own noise.
Result<Texts> read_texts(const GenerateArgs& args, const ModelFile& file) {
  const std::string name = args.text.file == "-" ? "standard input" : args.text.file;
  FATHOM_TRY(const std::string jsonl, read_text(args.text));
  FATHOM_TRY(const PromptMaker maker, PromptMaker::make(file, args.prompt));
  Texts texts;
  FATHOM_TRY(texts.lines, read_prompt_lines(jsonl, name));
  for (const PromptLine& line : texts.lines) {
    const auto number = static_cast<int64_t>(texts.items.size()) + 1;
    Result<std::vector<int32_t>> ids = maker.ids(line.text);
    const Result<void> fits = ids ? check_prompt(ids->size(), args.ctx, file.config()) : ids.error();
    if (!fits) {
      return Error{fits.error().code, fmt::format("{}, line {}: {}", name, number, fits.error().message)};
    }
    texts.longest = std::max(texts.longest, ids->size());
    texts.items.push_back(
        {.prompt = *std::move(ids), .seed = line.seed.value_or(args.run.sample.seed), .sequence = number});
  }
  return texts;
}

// A session for n texts at once. Under kv(verify) a text takes about 4 rows of a pass, and more where few share it;
// under kv(settle_later) all of them may settle in one.
SessionOptions session_for(int32_t n, int32_t max_tokens, const GenerateArgs& args, const Settings& settings) {
  SessionOptions options{.max_tokens = max_tokens, .max_sequences = n};
  options.kv = kv_type(args.run.kv);
  options.threads = args.model.threads;
  options.max_logit_rows = std::max(n, std::clamp(4 * n, options.max_logit_rows, 64));
  if (settings.kv == KvMode::settle_later) {
    options.max_rows = std::max(options.max_rows, n * (settings.kv_max_rows + 1));
  }
  return options;
}

// Prints each text when all before it are printed, and keeps the lines of those that wait.
class InOrder {
 public:
  InOrder(const std::vector<PromptLine>& lines, const Model& model, const Policy& policy)
      : lines_(lines), model_(model), policy_(policy) {}

  /// False when no more are wanted: an interrupt, or an output that takes none.
  bool done(size_t item, const Generation& out) {
    waiting_.emplace(item, line_of(item, out));
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_; ++next_) {
      if (state_) state_ = print(first->second);
      first = waiting_.erase(first);
    }
    return state_ && !interrupted();
  }

  /// The texts that an interrupt ended: those that were begun.
  Result<void> finish(std::span<const Generation> all) {
    size_t begun = all.size();
    while (begun > next_ && all[begun - 1].prompt_tokens == 0) --begun;
    for (; next_ < begun && state_; ++next_) {
      const auto waits = waiting_.find(next_);
      state_ = print(waits != waiting_.end() ? waits->second : line_of(next_, all[next_]));
    }
    return state_;
  }

 private:
  std::string line_of(size_t item, const Generation& out) const {
    Json json = {{"line", item + 1}, {"id", lines_[item].id}};
    json.update(result_of(out, model_, policy_));
    return to_line(json) + "\n";
  }

  const std::vector<PromptLine>& lines_;
  const Model& model_;
  const Policy& policy_;
  std::map<size_t, std::string> waiting_;
  size_t next_ = 0;  // the first item that is not printed
  Result<void> state_;
};

}  // namespace

Result<int> generate_lines(const GenerateArgs& args) {
  FATHOM_TRY(PolicyChoice choice, PolicyChoice::read(args.policy));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(choice.bind(args.model, file));
  FATHOM_TRY(choice.cover(args.run.sample));
  const Policy& policy = choice.policy();
  BatchOptions options{.each = options_of(args.run, policy)};
  FATHOM_TRY(check(options.each, file.config()));
  FATHOM_TRY(const Texts texts, read_texts(args, file));
  FATHOM_TRY(const int32_t ctx, context_for(texts.longest, args.run.max_new_tokens, args.ctx, file.config()));
  const auto n = static_cast<int32_t>(std::min(static_cast<size_t>(args.batch), texts.items.size()));
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(Session session, Session::make(model, session_for(n, ctx, args, policy.settings())));
  FATHOM_TRY(choice.attach(session));

  InOrder output(texts.lines, model, policy);
  options.context = &output;
  options.on_done = [](void* context, size_t item, const Generation& out) {
    return static_cast<InOrder*>(context)->done(item, out);
  };
  options.on_pass = [](void*) { return !interrupted(); };
  const InterruptGuard guard;
  FATHOM_TRY(const std::vector<Generation> all, generate_batch(session, texts.items, options));
  FATHOM_TRY(output.finish(all));
  return interrupted() ? kInterrupted : kOk;
}

}  // namespace fathom::cli
