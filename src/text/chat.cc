// Chat templates. A template is a program; only its kind and a few literals are read from it, and what a kind writes is
// written here. Texts of messages are separate parts, so that what a user types is never taken for a control token.
#include "fathom/text/chat.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "src/text/utf8.h"

namespace fathom {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::optional<ChatKind> recognise(std::string_view source) {
  if (contains(source, "<|im_start|>")) return ChatKind::chatml;
  if (contains(source, "<start_of_turn>")) return ChatKind::gemma;
  if (contains(source, "<|start_header_id|>")) return ChatKind::llama3;
  if (!contains(source, "[INST]") || contains(source, "[SYSTEM_PROMPT]")) return std::nullopt;
  return contains(source, "<<SYS>>") ? ChatKind::llama2 : ChatKind::mistral;
}

// The inside of the quoted literal around the first `part`, its \n read; `part` itself where it stands in none.
std::string literal_around(std::string_view source, std::string_view part) {
  const size_t at = source.find(part);
  if (at == std::string_view::npos) return std::string(part);
  size_t begin = at, end = at + part.size();
  while (begin > 0 && source[begin - 1] != '\'' && source[begin - 1] != '"') --begin;
  if (begin == 0) return std::string(part);
  end = source.find(source[begin - 1], end);
  if (end == std::string_view::npos) return std::string(part);
  std::string literal;
  for (size_t i = begin; i < end; ++i) {
    const bool newline = source.substr(i, 2) == "\\n";
    literal.push_back(newline ? '\n' : source[i]);
    i += newline ? 1 : 0;
  }
  return literal;
}

// ChatML: the system's text that the template says by itself, empty where it says none.
std::string default_system(std::string_view source) {
  constexpr std::string_view kBegin = "<|im_start|>system\\n", kEnd = "<|im_end|>";
  for (size_t at = source.find(kBegin); at != std::string_view::npos; at = source.find(kBegin, at + 1)) {
    const std::string_view rest = source.substr(at + kBegin.size());
    const size_t end = rest.find(kEnd);
    const std::string_view said = rest.substr(0, end);
    if (end != std::string_view::npos && said.find_first_of("'\"{}\\") == std::string_view::npos)
      return std::string(said);
  }
  return {};
}

// Llama 3.1 and later put dates before the system's text.
std::string llama3_dates(std::string_view source) {
  if (!contains(source, "Cutting Knowledge Date: December 2023")) return {};
  constexpr std::string_view kDate = "date_string = \"";
  std::string_view date = "26 Jul 2024";
  if (const size_t at = source.find(kDate); at != std::string_view::npos) {
    const std::string_view rest = source.substr(at + kDate.size());
    date = rest.substr(0, rest.find('"'));
  }
  return fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n", date);
}

bool white_space(uint32_t c) {
  return (9 <= c && c <= 13) || (28 <= c && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (0x2000 <= c && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// A text without the white space at its ends, as the template language's `trim` takes it off.
std::string trimmed(std::string_view bytes) {
  std::string storage;
  const std::string_view text = text::valid_text(bytes, storage);
  size_t begin = text.size(), end = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t next = i + text::char_bytes(static_cast<unsigned char>(text[i]));
    if (!white_space(text::code_point(text.data() + i))) begin = std::min(begin, i), end = next;
    i = next;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

// Gathers parts, neighbours of one sort together.
class Prompt {
 public:
  Prompt& words(std::string_view text) { return add(text, true); }
  Prompt& said(std::string_view text) { return add(text, false); }
  std::vector<ChatPart> take() { return std::move(parts_); }

 private:
  Prompt& add(std::string_view text, bool special) {
    if (text.empty()) return *this;
    if (parts_.empty() || parts_.back().special != special) parts_.push_back({"", special});
    parts_.back().text += text;
    return *this;
  }
  std::vector<ChatPart> parts_;
};

Error bad_messages(std::string message) { return {ErrorCode::argument, std::move(message)}; }

// Roles are known; the system speaks first or, in ChatML, anywhere; elsewhere user and assistant take turns.
Result<void> check(std::span<const ChatMessage> messages, ChatKind kind) {
  if (messages.empty()) return bad_messages("a chat of no messages: give at least one of role user");
  const bool takes_turns = kind != ChatKind::chatml && kind != ChatKind::llama3;
  const size_t first = messages[0].role == "system" ? 1 : 0;
  if (takes_turns && first == messages.size())
    return bad_messages("message 1 of role system stands alone: give one of role user too");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return bad_messages(
          fmt::format("message {} has role \"{}\": use system, user or assistant", i + 1, text::printable(role)));
    }
    if (!takes_turns || i < first) continue;
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (role != expected) {
      return bad_messages(
          fmt::format("message {} has role {}, a {} template wants {} there: let user and assistant take turns", i + 1,
                      role, name_of(kind), expected));
    }
  }
  return {};
}

void render_chatml(std::span<const ChatMessage> messages, std::string_view system, Prompt& prompt) {
  if (messages[0].role != "system" && !system.empty()) {
    prompt.words("<|im_start|>system\n").words(system).words("<|im_end|>\n");
  }
  for (const ChatMessage& m : messages) {
    prompt.words("<|im_start|>").words(m.role).words("\n").said(m.content).words("<|im_end|>\n");
  }
  prompt.words("<|im_start|>assistant\n");
}

void render_gemma(std::span<const ChatMessage> messages, Prompt& prompt) {
  const bool has_system = messages[0].role == "system";
  const auto turns = messages.subspan(has_system ? 1 : 0);
  for (size_t i = 0; i < turns.size(); ++i) {
    prompt.words("<start_of_turn>").words(turns[i].role == "assistant" ? "model" : "user").words("\n");
    if (i == 0 && has_system) prompt.said(messages[0].content).said("\n\n");
    prompt.said(trimmed(turns[i].content)).words("<end_of_turn>\n");
  }
  prompt.words("<start_of_turn>model\n");
}

void render_llama3(std::span<const ChatMessage> messages, std::string_view dates, Prompt& prompt) {
  const auto begin = [&](std::string_view role) {
    prompt.words("<|start_header_id|>").words(role).words("<|end_header_id|>\n\n");
  };
  if (!dates.empty() && messages[0].role != "system") begin("system"), prompt.words(dates).words("<|eot_id|>");
  for (size_t i = 0; i < messages.size(); ++i) {
    begin(messages[i].role);
    if (i == 0 && messages[0].role == "system") prompt.words(dates);
    prompt.said(trimmed(messages[i].content)).words("<|eot_id|>");
  }
  begin("assistant");
}

void render_llama2(std::span<const ChatMessage> messages, std::string_view bos, std::string_view eos, Prompt& prompt) {
  const bool has_system = messages[0].role == "system";
  const auto turns = messages.subspan(has_system ? 1 : 0);
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role == "assistant") {
      prompt.words(" ").said(trimmed(turns[i].content)).words(" ").words(eos);
      continue;
    }
    prompt.words(bos).words("[INST] ");
    if (i == 0 && has_system) {
      // The markers are part of the text that the template trims as one.
      prompt.words("<<SYS>>\n").said(messages[0].content).words("\n<</SYS>>\n\n");
      const std::string all = trimmed("|" + turns[i].content);
      prompt.said(std::string_view(all).substr(1));
    } else {
      prompt.said(trimmed(turns[i].content));
    }
    prompt.words(" [/INST]");
  }
}

}  // namespace

std::string_view name_of(ChatKind kind) noexcept {
  constexpr std::string_view kNames[] = {"chatml", "gemma", "llama2", "llama3", "mistral"};
  return kNames[static_cast<int>(kind)];
}

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, ChatKind kind) : tokenizer_(tokenizer), kind_(kind) {
  const std::string_view source = tokenizer.tables().chat_template;
  writes_bos_ = tokenizer.bos() >= 0 && (contains(source, "bos_token") || kind == ChatKind::llama2);
  if (kind == ChatKind::chatml) system_ = default_system(source);
  if (kind == ChatKind::llama3) system_ = llama3_dates(source);
  if (kind != ChatKind::mistral) return;
  user_begin_ = literal_around(source, "[INST]");
  user_end_ = literal_around(source, "[/INST]");
  for (const std::string_view space : {"\" \" + message[", "' ' + message["}) {
    if (contains(source, space)) assistant_begin_.assign(1, ' ');
  }
  for (const std::string_view space : {"eos_token + ' '", "eos_token + \" \""}) {
    if (contains(source, space)) assistant_end_.assign(1, ' ');
  }
  trims_assistant_ = contains(source, "|trim + eos_token") || contains(source, "| trim + eos_token");
  system_with_last_ = contains(source, "loop.last and system_message");
}

Result<ChatTemplate> ChatTemplate::make(const Tokenizer& tokenizer) {
  const std::string& source = tokenizer.tables().chat_template;
  if (source.empty()) {
    return Error{
        ErrorCode::unsupported,
        "the model file has no chat template: continue raw text, or take the file of an instruction-tuned model"};
  }
  const std::optional<ChatKind> kind = recognise(source);
  if (!kind) {
    return Error{
        ErrorCode::unsupported,
        fmt::format("chat template \"{}\" is of no known kind (ChatML, Gemma, Llama 2, Llama 3, Mistral): continue "
                    "raw text that already has the model's marks",
                    text::printable(source))};
  }
  return ChatTemplate(tokenizer, *kind);
}

Result<std::vector<ChatPart>> ChatTemplate::render(std::span<const ChatMessage> messages) const {
  FATHOM_TRY(check(messages, kind_));
  const std::string_view bos = tokenizer_.piece(tokenizer_.bos(), true), eos = tokenizer_.piece(tokenizer_.eos(), true);
  Prompt prompt;
  if (writes_bos_ && kind_ != ChatKind::llama2) prompt.words(bos);
  switch (kind_) {
    case ChatKind::chatml:
      render_chatml(messages, system_, prompt);
      break;
    case ChatKind::gemma:
      render_gemma(messages, prompt);
      break;
    case ChatKind::llama3:
      render_llama3(messages, system_, prompt);
      break;
    case ChatKind::llama2:
      render_llama2(messages, writes_bos_ ? bos : "", eos, prompt);
      break;
    case ChatKind::mistral: {
      const bool has_system = messages[0].role == "system";
      const auto turns = messages.subspan(has_system ? 1 : 0);
      const size_t holder = system_with_last_ ? turns.size() - 1 : 0;  // of the system's text
      for (size_t i = 0; i < turns.size(); ++i) {
        if (turns[i].role == "user") {
          prompt.words(user_begin_);
          if (has_system && i == holder) prompt.said(messages[0].content).words("\n\n");
          prompt.said(turns[i].content).words(user_end_);
        } else {
          prompt.words(assistant_begin_).said(trims_assistant_ ? trimmed(turns[i].content) : turns[i].content);
          prompt.words(eos).words(assistant_end_);
        }
      }
      break;
    }
  }
  return prompt.take();
}

Result<std::vector<int32_t>> ChatTemplate::encode(std::span<const ChatMessage> messages) const {
  FATHOM_TRY(const std::vector<ChatPart> parts, render(messages));
  std::vector<TextSegment> segments;
  for (const ChatPart& part : parts) segments.push_back({part.text, part.special});
  return tokenizer_.encode_segments(segments, !writes_bos_);
}

}  // namespace fathom
