// Chat templates: messages to a prompt in the words of the model file's own template.
// Next in the flow: model/model.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/text/tokenizer.h"

namespace fathom {

/// The kinds of templates that are recognised.
enum class ChatKind : uint8_t { chatml, gemma, llama2, llama3, mistral };

/// A kind as messages and `fathom info` spell it.
FATHOM_API std::string_view name_of(ChatKind kind) noexcept;

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

/// A stretch of a rendered prompt; `special` stretches come from the template, the others from messages.
struct ChatPart {
  std::string text;
  bool special = false;
};

/// A recognised template, with the details in which templates of a kind differ read from the file's text.
class FATHOM_API ChatTemplate {
 public:
  /// Recognises the tokenizer's template.
  ///   errors   unsupported: the file has none, or one of another kind
  static Result<ChatTemplate> make(const Tokenizer& tokenizer);

  ChatKind kind() const noexcept { return kind_; }

  /// The prompt for the assistant's next message, a beginning-of-text token included where the template writes one.
  ///   errors   argument: no messages, an unknown role, or an order that the template refuses
  Result<std::vector<ChatPart>> render(std::span<const ChatMessage> messages) const;

  /// Ids of the rendered prompt: control tokens come from the template only, whatever the messages spell, and the
  /// beginning-of-text token stands there once.
  ///   errors   as render() and Tokenizer::encode()
  Result<std::vector<int32_t>> encode(std::span<const ChatMessage> messages) const;

 private:
  ChatTemplate(const Tokenizer& tokenizer, ChatKind kind);

  Tokenizer tokenizer_;
  ChatKind kind_;
  bool writes_bos_;
  std::string system_;      // chatml: said where no message does; llama3: what stands before the system's text
  std::string user_begin_;  // mistral: "[INST] " and its like
  std::string user_end_;
  std::string assistant_begin_;
  std::string assistant_end_;      // after the end-of-text token
  bool trims_assistant_ = false;   // mistral
  bool system_with_last_ = false;  // mistral: the system's text goes into the last message, not the first
};

}  // namespace fathom
