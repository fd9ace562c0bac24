// What the verbs of the `fathom` command share: their shape, their options, exit codes and output.
// Next: main.cc, then one file for each verb, generate.cc first.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/engine/session.h"
#include "fathom/model/model.h"
#include "fathom/model/model_file.h"
#include "fathom/policy/policy.h"

namespace fathom::cli {

enum ExitCode : int { kOk = 0, kFailure = 1, kUsage = 2, kInterrupted = 130 };

using Json = nlohmann::ordered_json;

/// A verb: its options live in `run`, which main() calls when the verb was chosen. An error of code argument is a
/// usage error.
struct Command {
  CLI::App* app = nullptr;
  std::function<Result<int>()> run;
};

Command add_generate(CLI::App& app);
Command add_chat(CLI::App& app);
Command add_embed(CLI::App& app);
Command add_classify(CLI::App& app);
Command add_info(CLI::App& app);
Command add_tokenize(CLI::App& app);
Command add_perplexity(CLI::App& app);
Command add_replay(CLI::App& app);
Command add_calibrate(CLI::App& app);
Command add_calibrate_embed(CLI::App& app);
Command add_certify(CLI::App& app);
Command add_attack(CLI::App& app);
Command add_report(CLI::App& app);
Command add_policy(CLI::App& app);

// ---- the model ---------------------------------------------------------------------------------------------------

struct ModelArgs {
  std::string model = {};
  int threads = 0;
  bool packed_cache = false;
  std::optional<std::string> numerics = {};  // a path by name; not given: the library's default
  std::optional<std::string> quantise = {};  // a type by name; not given: weights stay as they are
  std::string precision = {};                // of encoders: what the two above were chosen by; empty: not given
  std::string target = {};                   // empty: the machine's best
};
void add_model_options(CLI::App& verb, ModelArgs& args, bool required = true);
/// The same, with `--precision` in place of `--numerics`: what encoders are asked for.
void add_encoder_options(CLI::App& verb, ModelArgs& args);
Rounding rounding_of(const ModelArgs& args);
/// The path of a model that was given by path or by name.
///   errors   file: there is none
Result<std::string> find_model(const std::string& model);
/// Where digests of model files are kept.
std::string digest_folder();
/// Reads the file or folder that `-m` names, a path or a name of the model cache, without packing it.
Result<ModelFile> open_file(const ModelArgs& args);
/// The same of a model that predicts tokens.
///   errors   argument: it is an encoder
Result<ModelFile> open_language_model(const ModelArgs& args);
/// Packs it for a policy, the costly part: what can be wrong with the other options is found before. Says so where
/// there are more threads than CPUs.
Result<Model> pack(const ModelFile& file, const ModelArgs& args, const Policy& policy = {});

/// `--ctx`, whose range is the model's: read_context() checks it.
void add_context_option(CLI::App& verb, std::optional<int64_t>& ctx, const std::string& help);
///   errors   argument: outside least..what the model was made for
Result<int32_t> read_context(int64_t ctx, int32_t least, const ModelConfig& config);

void add_kv_option(CLI::App& verb, std::string& kv);
DType kv_type(const std::string& kv);
CLI::Option* add_policy_option(CLI::App& verb, std::optional<std::string>& policy);
/// `--quality full | lossless`, in place of a policy; a value becomes the text of `policy`.
void add_quality_option(CLI::App& verb, CLI::Option* policy_option, std::optional<std::string>& policy);
/// Reads `--policy`; where it was not given, full depth.
///   errors   argument: an empty text, the path of a sidecar, and those of Policy::parse
Result<Policy> read_policy(const std::optional<std::string>& text);

// ---- text in ------------------------------------------------------------------------------------------------------

struct TextArgs {
  std::optional<std::string> prompt = {};
  std::string file = {};
};
void add_text_options(CLI::App& verb, TextArgs& args);
void add_file_option(CLI::App& verb, TextArgs& args);
/// The text of -p or -f, byte for byte; "-" is standard input.
///   errors   argument: neither is given, or the text is empty; file: what the system says; capacity: over 256 MiB
Result<std::string> read_text(const TextArgs& args);

/// A whole file, byte for byte; "-" is standard input.
///   errors   file: what the system says; capacity: over 256 MiB
Result<std::string> read_file(const std::string& path);

// ---- results out --------------------------------------------------------------------------------------------------

/// Writes to stdout and flushes.
///   errors   file: the system's reason
Result<void> print(std::string_view text);
/// One line of JSON; bytes that are no UTF-8 become U+FFFD.
std::string to_line(const Json& json);
Result<void> print_json(const Json& json);

}  // namespace fathom::cli
