// A draft source of one's own: phrases that are known beforehand. What it guesses costs rows and never changes a token.
//   usage: example_04_own_draft MODEL.gguf [PROMPT PHRASE]
#include <algorithm>
#include <cstdio>

#include "fathom/fathom.h"

/// Guesses the rest of a phrase once two tokens of it have been written.
class PhraseDraft final : public fathom::DraftSource {
 public:
  explicit PhraseDraft(std::vector<int32_t> phrase) : phrase_(std::move(phrase)) {}

  const char* name() const noexcept override { return "phrase"; }
  void begin(std::span<const int32_t> tokens) override {
    for (int32_t token : tokens) commit(token);
  }
  void commit(int32_t token) override { before_ = last_, last_ = token; }
  int32_t propose(std::span<int32_t> dst) override {
    const int32_t written[] = {before_, last_};
    auto next = std::search(phrase_.begin(), phrase_.end(), written, written + 2);
    next += std::min<std::ptrdiff_t>(2, phrase_.end() - next);
    const auto n = std::min(phrase_.end() - next, std::ssize(dst));
    std::copy_n(next, n, dst.begin());
    return static_cast<int32_t>(n);
  }

 private:
  std::vector<int32_t> phrase_;
  int32_t before_ = -1, last_ = -1;
};

int main(int argc, char** argv) {
  if (argc != 2 && argc != 4) return std::fputs("usage: example_04_own_draft MODEL.gguf [PROMPT PHRASE]\n", stderr), 2;
  const char* prompt = argc > 3 ? argv[2] : "The months of the year are January, February,";
  const char* phrase =
      argc > 3 ? argv[3] : "January, February, March, April, May, June, July, August, September, October";
  try {
    auto model = fathom::Model::open(argv[1], {.threads = 2}).value();
    auto session = fathom::Session::make(model, {.max_tokens = 512, .threads = 2}).value();
    PhraseDraft draft(model.tokenizer().encode(phrase).value());
    const fathom::Policy policy = fathom::kv{.mode = fathom::KvMode::verify};
    auto out =
        fathom::generate(session, prompt, {.max_new_tokens = 24, .policy = policy, .draft_source = &draft}).value();
    std::printf("%s\n%zu tokens from %d passes, %lld of %lld guesses right\n", out.text.c_str(), out.tokens.size(),
                out.decode_steps + 1, static_cast<long long>(out.accepted), static_cast<long long>(out.proposed));
  } catch (const fathom::Exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
