// Writer: what the caller sees of a text as its tokens become certain, and what ends it. Next in the flow: decoder.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fathom/engine/generate.h"

namespace fathom {

/// The text so far, the part of it that is certain, and whether a stop string has come.
class Output {
 public:
  Output(const Tokenizer& tokenizer, const GenerateOptions& options);

  /// Appends a token; true when a stop string is complete.
  bool push(int32_t id) { return append(decoder_.push(id)); }
  /// Appends what the decoder held back; true as above.
  bool finish();
  /// Text that became certain since the last call.
  std::string_view take();
  std::string text() && { return std::move(text_); }

 private:
  bool append(std::string_view more);
  size_t held_back() const;

  StreamDecoder decoder_;
  const std::vector<std::string>& stop_;
  std::string text_;
  size_t certain_ = 0, taken_ = 0;
};

/// A token that full depth, or the policy where it has the last word, has chosen.
struct Chosen {
  int32_t token = 0;
  float depth = 0;       // layers the row that predicted it ran
  bool drafted = false;  // it had been guessed, and entered as a row before it was certain
};

/// Takes tokens one by one until something ends the text.
class Writer {
 public:
  Writer(const Tokenizer& tokenizer, const GenerateOptions& options)
      : tokenizer_(tokenizer), options_(options), output_(tokenizer, options) {}

  /// Commits a token; false when it ends the text.
  bool take(const Chosen& chosen);
  /// Ends the text for a reason of the caller's.
  void end(StopReason reason);

  std::optional<StopReason> ended() const { return ended_; }
  int64_t n_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t room() const { return options_.max_new_tokens - n_tokens(); }
  /// The last token is behind the text's rows: end of text came after it.
  bool ran_all() const { return ran_all_; }
  /// Hands over text, tokens, depths and the reason.
  void finish(Generation& out) &&;

 private:
  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  Output output_;
  std::vector<int32_t> tokens_;
  std::vector<float> depths_;
  std::vector<bool> drafted_;
  std::optional<StopReason> ended_;
  bool ran_all_ = false;
};

}  // namespace fathom
