// Opening tiny models once each. Next: the tests.
#include "tests/support/tiny_model.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <utility>

namespace fathom::testing {
namespace {

struct Kept {
  Bytes bytes;
  Model model;
};

}  // namespace

Model tiny_model(const TinyOptions& options, const OpenOptions& open) {
  static std::mutex mutex;
  static std::map<std::string, Kept> kept;
  const std::lock_guard lock(mutex);
  const TinyOptions& o = options;
  const std::string key = fmt::format(
      "{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} | {} {} {} {} {}", o.family, o.n_layers, o.d_model, o.heads,
      o.kv_heads, o.head_dim, o.feed_forward, o.vocab, o.context, o.window, o.window_pattern, static_cast<int>(o.type),
      o.tied_head, o.rope_factors, static_cast<int>(o.tokenizer), o.seed, static_cast<int>(open.numerics), open.threads,
      open.screen_head, open.quantise.has_value(), open.target == nullptr ? "" : open.target);
  const auto found = kept.find(key);
  if (found != kept.end()) return found->second.model;
  Bytes bytes = tiny_gguf(options);
  Model model = Model::from_bytes(bytes, open).value();
  return kept.emplace(key, Kept{std::move(bytes), std::move(model)}).first->second.model;
}

}  // namespace fathom::testing
