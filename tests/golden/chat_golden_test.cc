// Chat prompts against jinja2's rendering of the templates (chat_golden.h).
#include "tests/golden/chat_golden.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "fathom/text/chat.h"
#include "tests/text/vocabularies.h"

namespace fathom {
namespace {

// Bytes, and the golden's control tokens.
Tokenizer tokenizer_of(const GoldenChat& golden) {
  TokenizerTables tables = byte_tables({});
  const auto control = [&](std::string token) {
    if (token.empty()) return -1;
    tables.tokens.push_back(std::move(token));
    tables.kinds.push_back(TokenKind::control);
    return static_cast<int32_t>(tables.tokens.size() - 1);
  };
  tables.bos = control(golden.bos);
  tables.eos = control(golden.eos);
  for (const char* token : {"<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>"})
    control(token);
  tables.add_bos = tables.bos >= 0;
  tables.chat_template = golden.source;
  return Tokenizer::make(std::move(tables)).value();
}

std::vector<ChatMessage> messages_of(const GoldenChat& golden) {
  std::vector<ChatMessage> messages;
  for (const GoldenMessage& m : golden.messages) {
    if (m.role != nullptr) messages.push_back({m.role, m.content});
  }
  return messages;
}

class ChatGolden : public ::testing::TestWithParam<GoldenChat> {};

TEST_P(ChatGolden, a_prompt_is_what_jinja_renders) {
  const ChatTemplate chat = ChatTemplate::make(tokenizer_of(GetParam())).value();
  std::string prompt;
  const std::vector<ChatPart> parts = chat.render(messages_of(GetParam())).value();
  for (const ChatPart& part : parts) prompt += part.text;
  EXPECT_EQ(prompt, GetParam().prompt);
}

TEST_P(ChatGolden, ids_spell_the_prompt_and_messages_give_no_control_token) {
  const Tokenizer tokenizer = tokenizer_of(GetParam());
  const ChatTemplate chat = ChatTemplate::make(tokenizer).value();
  std::vector<ChatMessage> messages = messages_of(GetParam());
  const std::vector<int32_t> ids = chat.encode(messages).value();
  EXPECT_EQ(tokenizer.decode(ids, true), GetParam().prompt);
  // The same chat without letters that could spell a control token has as many control tokens.
  const auto controls = [&](const std::vector<int32_t>& all) {
    return std::count_if(all.begin(), all.end(), [&](int32_t id) { return tokenizer.kind(id) == TokenKind::control; });
  };
  for (ChatMessage& m : messages) m.content.assign(1, 'x');
  EXPECT_EQ(controls(ids), controls(chat.encode(messages).value()));
  const std::string bos = GetParam().bos;
  const std::string spelled = tokenizer.decode(ids, true);
  EXPECT_TRUE(bos.empty() || spelled.compare(bos.size(), bos.size(), bos) != 0) << spelled;
}

INSTANTIATE_TEST_SUITE_P(Templates, ChatGolden, ::testing::ValuesIn(kGoldenChats), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name) c = c == '/' || c == '.' ? '_' : c;
  return name;
});

}  // namespace
}  // namespace fathom
