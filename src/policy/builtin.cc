// The text and check of each built-in stage: its row of the table applied to it. Next in the flow: policy.cc.
#include "src/policy/stage_table.h"

namespace fathom {
namespace {

template <class S, size_t I = 0>
const policy_text::StageInfo& info_of() {
  if constexpr (std::is_same_v<S, std::variant_alternative_t<I, policy_text::AnyStage>>) {
    return policy_text::stage_table()[I];
  } else {
    return info_of<S, I + 1>();
  }
}

template <class S>
std::string print(const S& stage) {
  return policy_text::print_stage(info_of<S>(), &stage);
}

template <class S>
Result<void> look(const S& stage, int32_t n_layers) {
  return policy_text::check_stage(info_of<S>(), &stage, n_layers);
}

}  // namespace

std::string exit_at::text() const { return print(*this); }
std::string exit_when::text() const { return print(*this); }
std::string patience::text() const { return print(*this); }
std::string skip_layers::text() const { return print(*this); }
std::string skip_sublayers::text() const { return print(*this); }
std::string skip_when::text() const { return print(*this); }
std::string route::text() const { return print(*this); }
std::string silence_heads::text() const { return print(*this); }
std::string min_depth::text() const { return print(*this); }
std::string max_depth::text() const { return print(*this); }
std::string budget::text() const { return print(*this); }
std::string full_depth_first::text() const { return print(*this); }
std::string full_depth_at::text() const { return print(*this); }
std::string full_depth_after::text() const { return print(*this); }
std::string settle_every::text() const { return print(*this); }
std::string kv::text() const { return print(*this); }
std::string draft_ngram::text() const { return print(*this); }
std::string defer_head::text() const { return print(*this); }
std::string screen_head::text() const { return print(*this); }
std::string screen_checks::text() const { return print(*this); }
std::string word_exit::text() const { return print(*this); }
std::string prune_tokens::text() const { return print(*this); }
std::string merge_tokens::text() const { return print(*this); }
std::string fuse_tokens::text() const { return print(*this); }
std::string max_loss::text() const { return print(*this); }

Result<void> exit_at::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> exit_when::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> patience::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> skip_layers::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> skip_sublayers::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> skip_when::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> route::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> silence_heads::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> min_depth::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> max_depth::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> budget::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> full_depth_first::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> full_depth_at::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> full_depth_after::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> settle_every::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> kv::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> draft_ngram::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> defer_head::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> screen_head::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> screen_checks::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> word_exit::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> prune_tokens::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> merge_tokens::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> fuse_tokens::check(int32_t n_layers) const { return look(*this, n_layers); }
Result<void> max_loss::check(int32_t n_layers) const { return look(*this, n_layers); }

}  // namespace fathom
