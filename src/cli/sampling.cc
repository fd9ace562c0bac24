// The sampling options and their words. Ranges are checked by the library, which names option, value and range.
#include "src/cli/sampling.h"

#include "src/cli/options.h"

namespace fathom::cli {
void add_sampling_options(CLI::App& verb, RunRecord& run) {
  SampleOptions& s = run.sample;
  verb.add_option("--temperature", s.temperature, "0: greedy; above: token = argmax(logit / T + noise)")
      ->capture_default_str();
  add_whole_number(verb, "--top-k", s.top_k, "Keep the k largest; 0: all", 0);
  verb.add_option("--top-p", s.top_p, "Keep the fewest whose probabilities reach p; 1: all")->capture_default_str();
  verb.add_option("--min-p", s.min_p, "Keep those with min-p times the largest probability; 0: all")
      ->capture_default_str();
  add_whole_number(verb, "--seed", s.seed, "The same seed gives the same text");
  add_whole_number(verb, "--sequence", run.sequence, "Number of the text: its own noise under one seed");
  verb.add_option("--repeat-penalty", s.repeat_penalty, "Of tokens seen; 1: none")->capture_default_str();
  verb.add_option("--presence-penalty", s.presence_penalty, "Of tokens seen; 0: none")->capture_default_str();
  verb.add_option("--frequency-penalty", s.frequency_penalty, "For each time a token was seen; 0: none")
      ->capture_default_str();
  add_whole_number(verb, "--penalty-last", s.penalty_last, "Latest tokens that count as seen; -1: all", -1);
  verb.add_option("--stop", run.stop, "End the text before this string; may be given several times")
      ->allow_extra_args(false);
}

}  // namespace fathom::cli
