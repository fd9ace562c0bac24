// Settings: stages that configure the step and decide nothing. Next in the flow: policy/pipeline.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// How the KV cells of layers that a row did not run come to be; written `kv(fill)`.
struct kv {
  KvMode mode = KvMode::fill;

  static constexpr StageTraits traits{"kv", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept { settings.kv = mode; }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const kv&, const kv&) = default;
};

}  // namespace fathom
