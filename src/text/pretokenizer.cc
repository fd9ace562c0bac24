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

Result<Pretokenizer> Pretokenizer::make(const Recipe& recipe) {
  Pretokenizer made;
  for (const std::string_view pattern : recipe.patterns) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
    if (compiled == nullptr) {
      return Error{ErrorCode::unsupported,
                   fmt::format("pre-tokenizer {}: PCRE2 refuses its pattern ({}): use PCRE2 10.30 or later",
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
