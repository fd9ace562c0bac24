// Chat templates: which are recognised, and what is refused. Their renderings are compared in tests/golden.
#include "fathom/text/chat.h"

#include <gtest/gtest.h>

#include "tests/text/vocabularies.h"

namespace fathom {
namespace {

Result<ChatTemplate> chat_of(std::string source) {
  TokenizerTables tables = byte_tables({});
  tables.chat_template = std::move(source);
  return ChatTemplate::make(Tokenizer::make(std::move(tables)).value());
}

Error refused(ChatKind kind, const std::vector<ChatMessage>& messages) {
  const char* sources[] = {"'<|im_start|>'", "'<start_of_turn>'", "'[INST]' <<SYS>>", "'<|start_header_id|>'",
                           "'[INST] ' ' [/INST]'"};
  const ChatTemplate chat = chat_of(sources[static_cast<int>(kind)]).value();
  EXPECT_EQ(chat.kind(), kind);
  const auto parts = chat.render(messages);
  return parts ? Error{ErrorCode::cancelled, "rendered"} : parts.error();
}

TEST(ChatTemplate, a_file_without_template_says_how_to_go_on) {
  const auto chat = chat_of("");
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().code, ErrorCode::unsupported);
  EXPECT_NE(chat.error().message.find("continue raw text"), std::string::npos);
}

TEST(ChatTemplate, another_kind_is_named_by_its_text) {
  for (const char* source : {"{{ 'Human: ' + message }}", "[SYSTEM_PROMPT] [INST]"}) {
    const auto chat = chat_of(source);
    ASSERT_FALSE(chat);
    EXPECT_EQ(chat.error().code, ErrorCode::unsupported);
    EXPECT_NE(chat.error().message.find(source), std::string::npos) << chat.error().message;
  }
}

TEST(ChatTemplate, unknown_roles_and_wrong_orders_are_errors) {
  for (const ChatKind kind :
       {ChatKind::chatml, ChatKind::gemma, ChatKind::llama2, ChatKind::llama3, ChatKind::mistral}) {
    EXPECT_EQ(refused(kind, {}).code, ErrorCode::argument);
    EXPECT_NE(refused(kind, {{"user\n", "x"}}).message.find("message 1 has role \"user\\x0a\""), std::string::npos);
    EXPECT_EQ(refused(kind, {{"system", "x"}, {"user", "y"}}).message, "rendered");
  }
  for (const ChatKind kind : {ChatKind::gemma, ChatKind::llama2, ChatKind::mistral}) {
    EXPECT_NE(refused(kind, {{"user", "x"}, {"user", "y"}}).message.find("message 2 has role user"), std::string::npos);
    EXPECT_NE(refused(kind, {{"assistant", "x"}}).message.find("wants user"), std::string::npos);
    EXPECT_NE(refused(kind, {{"system", "x"}}).message.find("stands alone"), std::string::npos);
  }
}

TEST(ChatTemplate, broken_literals_in_a_template_are_harmless) {
  for (const char* source :
       {"[INST]", "'[INST]", "[INST]'[/INST]", "<|im_start|>system\\n", "<|start_header_id|> date_string = \"",
        "Cutting Knowledge Date: December 2023 <|start_header_id|> date_string = \"x"}) {
    const auto chat = chat_of(source);
    ASSERT_TRUE(chat) << source;
    EXPECT_TRUE(chat->render(std::vector<ChatMessage>{{"user", "x"}})) << source;
  }
}

}  // namespace
}  // namespace fathom
