// Pre-tokenizers by PCRE2 with JIT. The code is shared, what a match writes belongs to the call.
#include "src/text/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <pcre2.h>

namespace fathom::text {
namespace {

constexpr size_t kJitStackBytes = size_t{1} << 20;
constexpr uint32_t kMatchLimit = 10'000'000;

// Sources: the `pre_tokenizer` of each model's tokenizer.json; `default` and the digits of `smollm` as llama.cpp has
// them.
const std::vector<Pretokenizer::Recipe>& recipes() {
  static constexpr std::string_view kGpt2 =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  static const std::vector<Pretokenizer::Recipe> all = {
      {"qwen2",
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
       true,
       false},
      {"llama-bpe",
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
       false,
       true},
      {"gpt-2", {kGpt2}, false, false},
      {"smollm", {R"(\p{N})", kGpt2}, false, false},
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", R"([0-9][0-9][0-9])"}, false, false},
  };
  return all;
}

// Letters and numbers that came with Unicode 15 and 16; Debian's PCRE2 stops at 14, the references do not.
constexpr std::string_view kNewerLetters =
    R"(\x{1C89}-\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65}\x{10D6F}-\x{10D85})"
    R"(\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B}\x{1138E}\x{11390}-\x{113B5}\x{113B7})"
    R"(\x{113D1}\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02}\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F})"
    R"(\x{13441}-\x{13446}\x{13460}-\x{143FA}\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155})"
    R"(\x{1DF25}-\x{1DF2A}\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739})"
    R"(\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";
constexpr std::string_view kNewerNumbers =
    R"(\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59}\x{16130}-\x{16139})"
    R"(\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3}\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";

// A pattern in PCRE2's words: the newer characters, and white space without U+180E, which PCRE2's \s still counts.
std::string for_pcre2(std::string_view pattern) {
  std::string dst;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    const bool letters = rest.substr(0, 5) == "\\p{L}", numbers = rest.substr(0, 5) == "\\p{N}";
    if (letters || numbers) {
      const std::string_view newer = letters ? kNewerLetters : kNewerNumbers;
      dst.append(in_class ? "" : "[").append(rest.substr(0, 5)).append(newer).append(in_class ? "" : "]");
      i += 4;
    } else if (rest.substr(0, 2) == "\\s" || rest.substr(0, 2) == "\\S") {
      dst += rest[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      i += 1;
    } else {
      if (rest[0] == '[') in_class = true;
      if (rest[0] == ']') in_class = false;
      dst += rest[0];
      if (rest[0] == '\\') dst += rest[1], ++i;
    }
  }
  return dst;
}

// What one split needs besides the code.
class MatchState {
 public:
  explicit MatchState(const pcre2_code* code)
      : data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr)) {
    if (context_ == nullptr) return;
    pcre2_set_match_limit(context_, kMatchLimit);
    if (stack_ != nullptr) pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
  ~MatchState() {
    pcre2_jit_stack_free(stack_);
    pcre2_match_context_free(context_);
    pcre2_match_data_free(data_);
  }
  bool whole() const { return data_ != nullptr && context_ != nullptr; }
  pcre2_match_data* data() const { return data_; }
  pcre2_match_context* context() const { return context_; }

 private:
  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

std::string pcre2_message(int code) {
  char message[256] = "";
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
  return message;
}

// Cuts each of `pieces` at the matches of one pattern; what lies between matches is a piece too.
Result<void> cut(const pcre2_code* code, const std::vector<std::string_view>& pieces,
                 std::vector<std::string_view>& words) {
  const MatchState state(code);
  if (!state.whole()) return Error{ErrorCode::capacity, "pre-tokenizer: out of memory: give shorter texts"};
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.data());
  for (const std::string_view piece : pieces) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(piece.data());
    size_t pos = 0;
    while (pos < piece.size()) {
      const int n = pcre2_match(code, subject, piece.size(), pos, PCRE2_NO_UTF_CHECK, state.data(), state.context());
      if (n == PCRE2_ERROR_NOMATCH) break;
      if (n < 0) {
        return Error{ErrorCode::capacity,
                     fmt::format("pre-tokenizer stopped {} bytes into a text of {} ({}): split the text", pos,
                                 piece.size(), pcre2_message(n))};
      }
      if (found[0] > pos) words.push_back(piece.substr(pos, found[0] - pos));
      if (found[1] > found[0]) words.push_back(piece.substr(found[0], found[1] - found[0]));
      pos = found[1];
    }
    if (pos < piece.size()) words.push_back(piece.substr(pos));
  }
  return {};
}

}  // namespace

const Pretokenizer::Recipe* Pretokenizer::recipe(std::string_view name) {
  for (const Recipe& recipe : recipes()) {
    if (recipe.name == name) return &recipe;
  }
  return nullptr;
}

std::string_view Pretokenizer::name_of(std::string_view pattern) {
  for (const Recipe& recipe : recipes()) {
    if (recipe.patterns.size() == 1 && recipe.patterns[0] == pattern) return recipe.name;
  }
  return {};
}

Result<Pretokenizer> Pretokenizer::make(const Recipe& recipe) {
  Pretokenizer made;
  for (const std::string_view source : recipe.patterns) {
    const std::string pattern = for_pcre2(source);
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
    if (compiled == nullptr) {
      return Error{ErrorCode::unsupported,
                   fmt::format("pre-tokenizer {}: PCRE2 refuses its pattern ({}): build with PCRE2 10.40 or later",
                               recipe.name, pcre2_message(code))};
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where it fails, matching interprets
    made.codes_.emplace_back(compiled,
                             [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); });
  }
  return made;
}

Result<void> Pretokenizer::split(std::string_view text, std::vector<std::string_view>& words) const {
  std::vector<std::string_view> pieces = {text};
  for (const auto& code : codes_) {
    std::vector<std::string_view> next;
    FATHOM_TRY(cut(static_cast<const pcre2_code*>(code.get()), pieces, next));
    pieces = std::move(next);
  }
  words.insert(words.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace fathom::text
