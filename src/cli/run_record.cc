// RunRecord to and from JSON, and to what the library takes. Next: replay.cc, which compares two runs.
#include "src/cli/run_record.h"

#include <fmt/format.h>

namespace fathom::cli {
namespace {

constexpr std::string_view kQuantised = "q8_0";

// Strings as arrays of bytes: a stop string need not be UTF-8.
Json bytes_of(const std::string& s) {
  Json bytes = Json::array();
  for (unsigned char c : s) bytes.push_back(c);
  return bytes;
}

std::string text_of(const Json& bytes) {
  std::string s;
  for (const Json& b : bytes) s.push_back(static_cast<char>(b.get<uint8_t>()));
  return s;
}

Result<RunRecord> parse(const std::string& text) {
  const Json j = Json::parse(text);
  RunRecord run;
  run.prompt = j.at("prompt").get<std::vector<int32_t>>();
  run.max_new_tokens = j.at("max_new_tokens").get<int32_t>();
  run.ctx = j.at("ctx").get<int32_t>();
  run.kv = j.at("kv").get<std::string>();
  const auto numerics = numerics_named(j.at("numerics").get<std::string>());
  if (!numerics) return Error{ErrorCode::format, "numerics is none of fast, faithful, exact, bf16"};
  run.rounding.numerics = *numerics;
  if (j.contains("quantise")) {
    if (j.at("quantise") != kQuantised) return Error{ErrorCode::format, "quantise is not q8_0"};
    run.rounding.quantise = DType::q8_0;
  }
  run.sequence = j.at("sequence").get<int64_t>();
  run.special = j.at("special").get<bool>();
  const Json& s = j.at("sample");
  run.sample.temperature = s.at("temperature").get<float>();
  run.sample.top_k = s.at("top_k").get<int32_t>();
  run.sample.top_p = s.at("top_p").get<float>();
  run.sample.min_p = s.at("min_p").get<float>();
  run.sample.seed = s.at("seed").get<uint64_t>();
  run.sample.repeat_penalty = s.at("repeat_penalty").get<float>();
  run.sample.presence_penalty = s.at("presence_penalty").get<float>();
  run.sample.frequency_penalty = s.at("frequency_penalty").get<float>();
  run.sample.penalty_last = s.at("penalty_last").get<int32_t>();
  for (const Json& stop : j.at("stop")) run.stop.push_back(text_of(stop));
  return run;
}

}  // namespace

std::string to_json(const RunRecord& run) {
  Json stop = Json::array();
  for (const std::string& s : run.stop) stop.push_back(bytes_of(s));
  const SampleOptions& s = run.sample;
  Json record = {{"prompt", run.prompt},
                 {"max_new_tokens", run.max_new_tokens},
                 {"ctx", run.ctx},
                 {"kv", run.kv},
                 {"numerics", name_of(run.rounding.numerics)},
                 {"sequence", run.sequence},
                 {"special", run.special},
                 {"sample",
                  {{"temperature", s.temperature},
                   {"top_k", s.top_k},
                   {"top_p", s.top_p},
                   {"min_p", s.min_p},
                   {"seed", s.seed},
                   {"repeat_penalty", s.repeat_penalty},
                   {"presence_penalty", s.presence_penalty},
                   {"frequency_penalty", s.frequency_penalty},
                   {"penalty_last", s.penalty_last}}},
                 {"stop", stop}};
  if (run.rounding.quantise) record["quantise"] = kQuantised;
  return to_line(record);
}

Result<RunRecord> read_run(const std::string& json) {
  const auto unclear = [](std::string_view why) {
    return Error{
        ErrorCode::format,
        fmt::format("the trace does not say how to run again ({}): record it with fathom generate --trace", why)};
  };
  try {
    Result<RunRecord> run = parse(json);
    return run ? run : unclear(run.error().message);
  } catch (const Json::exception& error) {
    return unclear(error.what());
  }
}

Result<Session> make_session(const Model& model, const RunRecord& run, int threads) {
  return Session::make(model, {.max_tokens = run.ctx, .kv = kv_type(run.kv), .threads = threads});
}

GenerateOptions options_of(const RunRecord& run, const Policy& policy) {
  return {.max_new_tokens = run.max_new_tokens,
          .sample = run.sample,
          .policy = policy,
          .stop = run.stop,
          .sequence = run.sequence,
          .special = run.special};
}

TraceHeader header_of(const ModelFile& file, const RunRecord& run, const Policy& policy) {
  const Fingerprint print = file.fingerprint(run.rounding);
  return {.model_fingerprint = print.model,
          .tokenizer_fingerprint = print.tokenizer,
          .numeric_path = print.numeric_path,
          .policy = policy.text(),
          .run_json = to_json(run),
          .n_layers = file.config().n_layers};
}

}  // namespace fathom::cli
