// libFuzzer entry for tokenizers: any tables and any text give ids or an error; ids of valid tables spell the text
// again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fathom/text/chat.h"
#include "fathom/text/tokenizer.h"

namespace {

using namespace fathom;

// Takes an input apart: numbers, then strings with a length byte, then the rest.
struct Input {
  const uint8_t* data;
  size_t size;
  uint8_t byte() { return size == 0 ? 0 : (--size, *data++); }
  std::string string() {
    const size_t n = std::min<size_t>(byte() % 24, size);
    std::string s(reinterpret_cast<const char*>(data), n);
    data += n, size -= n;
    return s;
  }
  std::string_view rest() const { return {reinterpret_cast<const char*>(data), size}; }
};

TokenizerTables tables_from(Input& in) {
  constexpr const char* kModels[] = {"llama", "gpt2", "no_vocab"};
  constexpr const char* kPres[] = {"qwen2", "llama-bpe", "gpt-2", "default", "smollm"};
  TokenizerTables t;
  t.model = kModels[in.byte() % 3];
  t.pre = kPres[in.byte() % 5];
  t.add_space_prefix = in.byte() % 2 == 0;
  t.add_bos = in.byte() % 2 == 0;
  t.bos = static_cast<int8_t>(in.byte());
  t.unknown = static_cast<int8_t>(in.byte());
  for (int n = in.byte(); n > 0; --n) {
    t.tokens.push_back(in.string());
    t.kinds.push_back(static_cast<TokenKind>(in.byte() % 8));
    t.scores.push_back(static_cast<float>(static_cast<int8_t>(in.byte())));
  }
  for (int n = in.byte() % 32; n > 0; --n) t.merges.push_back(in.string());
  t.chat_template = in.string() + "<|im_start|>[INST]<start_of_turn>";
  return t;
}

// All bytes as tokens, so that every text has ids.
TokenizerTables whole_tables(const char* model) {
  TokenizerTables t;
  t.model = model;
  t.pre = "qwen2";
  t.add_space_prefix = false;
  int next = 256;
  for (int b = 0; b < 256; ++b) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    const bool printable = (0x21 <= b && b <= 0x7E) || (0xA1 <= b && b <= 0xAC) || (0xAE <= b && b <= 0xFF);
    const int c = printable ? b : next++;
    std::string name = c < 0x80 ? std::string(1, static_cast<char>(c))
                                : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    if (t.model == "llama") name = std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + ">";
    t.tokens.push_back(name);
    t.kinds.push_back(t.model == "llama" ? TokenKind::byte : TokenKind::normal);
    t.scores.push_back(0);
  }
  return t;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in{data, size};
  if (const auto tokenizer = Tokenizer::make(tables_from(in))) {
    for (const bool special : {false, true}) {
      const auto ids = tokenizer->encode(in.rest(), {.special = special});
      if (!ids) continue;
      for (const int32_t id : *ids) {
        if (id < 0 || id >= tokenizer->vocab()) __builtin_trap();
      }
      StreamDecoder decoder(*tokenizer);
      std::string streamed;
      for (const int32_t id : *ids) streamed += decoder.push(id);
      if (streamed + decoder.finish() != tokenizer->decode(*ids)) __builtin_trap();
    }
    if (const auto chat = ChatTemplate::make(*tokenizer)) {
      (void)chat->encode(std::vector<ChatMessage>{{"user", std::string(in.rest())}});
    }
  }

  static const Tokenizer pieces = Tokenizer::make(whole_tables("llama")).value();
  static const Tokenizer bytes = Tokenizer::make(whole_tables("gpt2")).value();
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  const std::string valid = pieces.decode(pieces.encode(text).value());
  if (pieces.decode(pieces.encode(valid).value()) != valid) __builtin_trap();
  const std::string composed = bytes.decode(bytes.encode(text).value());
  if (bytes.decode(bytes.encode(composed).value()) != composed) __builtin_trap();
  return 0;
}
