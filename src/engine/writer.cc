// Writer: stop strings, end of text, and the callback for each token. Next in the flow: decoder.cc.
#include "src/engine/writer.h"

#include <algorithm>

namespace fathom {

Output::Output(const Tokenizer& tokenizer, const GenerateOptions& options)
    : decoder_(tokenizer, options.special, /*continues=*/true), stop_(options.stop) {}

bool Output::finish() {
  const bool stopped = append(decoder_.finish());
  certain_ = text_.size();
  return stopped;
}

std::string_view Output::take() {
  const std::string_view fresh = std::string_view(text_).substr(taken_, certain_ - taken_);
  taken_ = certain_;
  return fresh;
}

bool Output::append(std::string_view more) {
  const size_t old = text_.size();
  text_ += more;
  size_t first = std::string::npos;
  for (const std::string& s : stop_) {
    const size_t from = old >= s.size() ? old - s.size() + 1 : 0;
    first = std::min(first, text_.find(s, from));
  }
  if (first != std::string::npos) {
    text_.resize(first);
    certain_ = first;
    return true;
  }
  certain_ = text_.size() - held_back();
  return false;
}

// Length of the longest end of the text that begins some stop string.
size_t Output::held_back() const {
  size_t longest = 0;
  for (const std::string& s : stop_) {
    for (size_t n = std::min(s.size() - 1, text_.size()); n > longest; --n) {
      if (text_.compare(text_.size() - n, n, s, 0, n) == 0) longest = n;
    }
  }
  return std::min(longest, text_.size() - std::min(taken_, text_.size()));
}

bool Writer::take(const Chosen& chosen) {
  if (tokenizer_.ends_text(chosen.token)) {
    ran_all_ = true;
    return end(StopReason::end_of_text), false;
  }
  tokens_.push_back(chosen.token);
  depths_.push_back(chosen.depth);
  drafted_.push_back(chosen.drafted);
  const bool stopped = output_.push(chosen.token);
  const GeneratedToken token{
      .id = chosen.token, .text = output_.take(), .depth = chosen.depth, .drafted = chosen.drafted};
  if (options_.on_token != nullptr && !options_.on_token(options_.context, token)) {
    return end(StopReason::cancelled), false;
  }
  if (stopped) return end(StopReason::stop_string), false;
  if (room() <= 0) return end(StopReason::length), false;
  return true;
}

void Writer::end(StopReason reason) {
  const bool stopped = reason != StopReason::stop_string && output_.finish();
  if (options_.on_token != nullptr) {
    const std::string_view rest = output_.take();
    const float depth = depths_.empty() ? 0 : depths_.back();
    if (!rest.empty()) options_.on_token(options_.context, {.id = -1, .text = rest, .depth = depth});
  }
  ended_ = stopped ? StopReason::stop_string : reason;
}

void Writer::finish(Generation& out) && {
  out.text = std::move(output_).text();
  out.tokens = std::move(tokens_);
  out.depths = std::move(depths_);
  out.drafted = std::move(drafted_);
  out.stop_reason = ended_.value_or(StopReason::cancelled);
}

}  // namespace fathom
