// Options that several verbs have, reading of texts, writing of results.
#include "src/cli/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "src/cli/options.h"
#include "src/cli/policy_choice.h"

namespace fathom::cli {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;
constexpr int kMaxThreads = 256;
constexpr std::string_view kModelNames[] = {"gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "minilm-l6",
                                            "tiny-spare"};

std::string reason() { return std::generic_category().message(errno); }

int cpus() { return std::max(static_cast<int>(std::thread::hardware_concurrency()), 1); }

std::string cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return cache;
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "") + "/.cache";
}

std::string packed_folder() { return cache_folder() + "/fathom/packed"; }

// Everything a descriptor gives.
Result<std::string> read_all(int fd, const std::string& name) {
  std::string text;
  for (;;) {
    const size_t old = text.size();
    if (old > kMaxTextBytes) {
      return Error{ErrorCode::capacity,
                   fmt::format("{}: longer than {} bytes: give a shorter text", name, kMaxTextBytes)};
    }
    text.resize(old + (size_t{1} << 16));
    const ssize_t got = ::read(fd, text.data() + old, text.size() - old);
    text.resize(old + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{ErrorCode::file, fmt::format("{}: {}: give a file that can be read", name, reason())};
    if (got == 0) return text;
  }
}

}  // namespace

Result<std::string> find_model(const std::string& model) {
  if (access(model.c_str(), F_OK) == 0 || model.find('/') != std::string::npos) return model;
  for (std::string_view name : kModelNames) {
    if (model != name) continue;
    const std::string folder = fmt::format("{}/fathom/models/{}", cache_folder(), name);
    if (access((folder + "/config.json").c_str(), F_OK) == 0) return folder;
    std::string path = fmt::format("{}/{}.gguf", folder, name);
    if (access(path.c_str(), F_OK) == 0) return path;
    return Error{ErrorCode::file, fmt::format("model {} is not at {}: run ./dev model {}", name, path, name)};
  }
  return Error{ErrorCode::file,
               fmt::format("model {}: no such file: give a path or one of {}", model, fmt::join(kModelNames, ", "))};
}

std::string digest_folder() { return cache_folder() + "/fathom/sha256"; }

Result<std::string> read_file(const std::string& path) {
  if (path == "-") return read_all(STDIN_FILENO, "standard input");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{ErrorCode::file, fmt::format("{}: {}: give a file that can be read", path, reason())};
  Result<std::string> text = read_all(fd, path);
  close(fd);
  return text;
}

namespace {

CLI::Option* add_model_option(CLI::App& verb, ModelArgs& args) {
  return verb.add_option("-m,--model", args.model, "GGUF file, model folder, or a name that ./dev model knows");
}

void add_machine_options(CLI::App& verb, ModelArgs& args) {
  args.threads = std::min(cpus(), kMaxThreads);
  add_whole_number(verb, "--threads", args.threads, fmt::format("Threads, 1 to {}", kMaxThreads), 1, kMaxThreads);
  verb.add_flag("--packed-cache,!--no-packed-cache", args.packed_cache,
                "Keep packed weights in the cache folder, as large as the model, and load them from there");
  verb.add_option("--target", args.target, "Kernels by name, for example ref or cpu/avx2; default: the machine's best");
}

}  // namespace

void add_model_options(CLI::App& verb, ModelArgs& args, bool required) {
  add_model_option(verb, args)->required(required);
  add_machine_options(verb, args);
  auto* numerics = verb.add_option(
      "--numerics", args.numerics,
      "How products are rounded: fast (8-bit activations), faithful (12-bit), exact (f32, slow) or bf16");
  let_be_one_of(*numerics->default_str(std::string(name_of(OpenOptions{}.numerics))),
                {"fast", "faithful", "exact", "bf16"});
  auto* quantise =
      verb.add_option("--quantise", args.quantise, "Round F32, F16 and BF16 weights to q8_0 while loading");
  let_be_one_of(*quantise, {"q8_0"});
}

void add_encoder_options(CLI::App& verb, ModelArgs& args) {
  add_model_option(verb, args)->required();
  add_machine_options(verb, args);
  args.numerics = name_of(Numerics::exact);
  const auto set = [&args](const std::string& precision) {
    args.precision = precision;
    args.numerics = name_of(precision == "int8"   ? Numerics::fast
                            : precision == "bf16" ? Numerics::bf16
                                                  : Numerics::exact);
    if (precision == "int8") args.quantise = "q8_0";
  };
  auto* option = verb.add_option_function<std::string>("--precision", set, "Of weights and of what goes into products");
  let_be_one_of(*option->type_name("TEXT")->default_str("f32"), {"f32", "bf16", "int8"});
}

Rounding rounding_of(const ModelArgs& args) {
  return {args.numerics ? numerics_named(*args.numerics).value() : OpenOptions{}.numerics,
          args.quantise ? std::optional(DType::q8_0) : std::nullopt};
}

Result<ModelFile> open_file(const ModelArgs& args) {
  FATHOM_TRY(const std::string path, find_model(args.model));
  return ModelFile::open(path);
}

Result<ModelFile> open_language_model(const ModelArgs& args) {
  FATHOM_TRY(ModelFile file, open_file(args));
  if (!file.config().encodes()) return file;
  return Error{ErrorCode::argument, fmt::format("model {}: family {} encodes texts and predicts no token: fathom embed "
                                                "runs it",
                                                args.model, file.config().family)};
}

Result<Model> pack(const ModelFile& file, const ModelArgs& args, const Policy& policy) {
  const Rounding rounding = rounding_of(args);
  FATHOM_TRY(Model model, Model::open(file, {.numerics = rounding.numerics,
                                             .quantise = rounding.quantise,
                                             .threads = args.threads,
                                             .screen_head = policy.settings().screen_head,
                                             .target = args.target.empty() ? nullptr : args.target.c_str(),
                                             .packed_folder = args.packed_cache ? packed_folder() : std::string()}));
  if (model.weights().packed_source == PackedSource::refused) spdlog::warn(model.weights().packed_error);
  if (args.threads > cpus()) {
    spdlog::warn("--threads {}: more than the {} CPUs here, which is slower: give at most {}", args.threads, cpus(),
                 cpus());
  }
  return model;
}

void add_context_option(CLI::App& verb, std::optional<int64_t>& ctx, const std::string& help) {
  const auto set = [&ctx](const std::string& text) {
    ctx = whole_number<int64_t>(text);
    if (!ctx) throw CLI::ValidationError("--ctx", "give a whole number, at most the context of fathom info");
  };
  verb.add_option_function<std::string>("--ctx", set, help + "; at most the model's own, the context of fathom info")
      ->type_name("INT");
}

Result<int32_t> read_context(int64_t ctx, int32_t least, const ModelConfig& config) {
  if (least <= ctx && ctx <= config.context) return static_cast<int32_t>(ctx);
  return Error{ErrorCode::argument, fmt::format("--ctx {}: give {} to {}, the most that the model was made for", ctx,
                                                least, config.context)};
}

void add_kv_option(CLI::App& verb, std::string& kv) {
  auto* option = verb.add_option("--kv", kv, "Numbers of the KV cache: f16, bf16 or f32");
  let_be_one_of(*option->capture_default_str(), {"f16", "bf16", "f32"});
}

DType kv_type(const std::string& kv) { return kv == "f32" ? DType::f32 : kv == "bf16" ? DType::bf16 : DType::f16; }

CLI::Option* add_policy_option(CLI::App& verb, std::optional<std::string>& policy) {
  return verb.add_option("--policy", policy, "What decides each token's depth, docs/policies.md; default: full_depth");
}

void add_quality_option(CLI::App& verb, CLI::Option* policy_option, std::optional<std::string>& policy) {
  const auto set = [&policy](const std::string& quality) {
    policy = quality == "full" ? "full_depth" : "draft_ngram | defer_head | kv(verify, max_rows=16)";
  };
  auto* option = verb.add_option_function<std::string>(
      "--quality", set,
      "full, or lossless: the same tokens from fewer passes where the text allows it, docs/lossless.md");
  let_be_one_of(*option->type_name("TEXT")->excludes(policy_option), {"full", "lossless"});
}

Result<Policy> read_policy(const std::optional<std::string>& text) {
  if (!text) return Policy();
  if (text->find_first_not_of(" \t\r\n") == std::string::npos) {
    return Error{ErrorCode::argument,
                 "--policy is empty: write one such as 'exit_at(layer=12)', or leave it out for full depth"};
  }
  if (is_sidecar(*text)) {
    return Error{ErrorCode::argument, fmt::format("--policy {}: a sidecar, where a policy is wanted: write it, such as "
                                                  "'exit_at(layer=12)'",
                                                  *text)};
  }
  return Policy::parse(*text);
}

void add_text_options(CLI::App& verb, TextArgs& args) {
  auto* prompt = verb.add_option("-p,--prompt", args.prompt, "The text itself");
  auto* file = verb.add_option("-f,--file", args.file, "A file with the text, read byte for byte; - is standard input");
  prompt->excludes(file);
}

void add_file_option(CLI::App& verb, TextArgs& args) {
  verb.add_option("-f,--file", args.file, "A file with the text, read byte for byte; - is standard input")->required();
}

Result<std::string> read_text(const TextArgs& args) {
  if (!args.prompt && args.file.empty()) return Error{ErrorCode::argument, "no text: give -p TEXT or -f FILE"};
  if (args.prompt) {
    if (args.prompt->empty()) return Error{ErrorCode::argument, "-p is empty: give at least one character"};
    return *args.prompt;
  }
  FATHOM_TRY(std::string text, read_file(args.file));
  if (text.empty()) {
    return Error{ErrorCode::argument,
                 fmt::format("-f {} is empty: give a file with at least one character", args.file)};
  }
  return text;
}

Result<void> print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return Error{ErrorCode::file, fmt::format("standard output: {}: give one that can be written", reason())};
  }
  return {};
}

std::string to_line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<void> print_json(const Json& json) { return print(to_line(json) + "\n"); }

}  // namespace fathom::cli
