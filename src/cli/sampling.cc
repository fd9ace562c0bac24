// The sampling options and their words. Ranges are checked by the library, which names option, value and range.
#include "src/cli/sampling.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

namespace fathom::cli {
namespace {

// An option that is a whole number of T, nothing before or behind it.
template <class T>
void add_whole_number(CLI::App& verb, const std::string& name, T& value, const std::string& help) {
  const auto read = [name, &value](const std::string& text) {
    const char* const end = text.data() + text.size();
    T parsed{};
    const auto [stopped, error] = std::from_chars(text.data(), end, parsed);
    if (error != std::errc() || stopped != end) {
      using Limits = std::numeric_limits<T>;
      throw CLI::ValidationError(
          name, fmt::format("'{}' is not a whole number from {} to {}: give one", text, Limits::min(), Limits::max()));
    }
    value = parsed;
  };
  verb.add_option_function<std::string>(name, read, help)->type_name("INT")->default_str(fmt::format("{}", value));
}

}  // namespace

void add_sampling_options(CLI::App& verb, RunRecord& run) {
  SampleOptions& s = run.sample;
  verb.add_option("--temperature", s.temperature, "0: greedy; above: token = argmax(logit / T + noise)")
      ->capture_default_str();
  verb.add_option("--top-k", s.top_k, "Keep the k largest; 0: all")->capture_default_str();
  verb.add_option("--top-p", s.top_p, "Keep the fewest whose probabilities reach p; 1: all")->capture_default_str();
  verb.add_option("--min-p", s.min_p, "Keep those with min-p times the largest probability; 0: all")
      ->capture_default_str();
  add_whole_number(verb, "--seed", s.seed, "The same seed gives the same text");
  add_whole_number(verb, "--sequence", run.sequence, "Number of the text: its own noise under one seed");
  verb.add_option("--repeat-penalty", s.repeat_penalty, "Of tokens seen; 1: none")->capture_default_str();
  verb.add_option("--presence-penalty", s.presence_penalty, "Of tokens seen; 0: none")->capture_default_str();
  verb.add_option("--frequency-penalty", s.frequency_penalty, "For each time a token was seen; 0: none")
      ->capture_default_str();
  verb.add_option("--penalty-last", s.penalty_last, "Latest tokens that count as seen; -1: all")->capture_default_str();
  verb.add_option("--stop", run.stop, "End the text before this string; may be given several times")
      ->allow_extra_args(false);
}

}  // namespace fathom::cli
