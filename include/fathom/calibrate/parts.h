// The sections "parts" and "routers" of a sidecar: what was fitted, as numbers. Next in the flow: head/exit_heads.h and
// head/routers.h, which use them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/routers.h"

namespace fathom {

/// Fitted exits as bytes: little endian; matrices of translators in BF16, which is how they are run.
FATHOM_API std::vector<std::byte> parts_bytes(const FittedExits& exits);

/// The exits of such bytes, which may come from anywhere.
///   errors   format: cut off, counts beyond their limits, a map or name that is none; bytes that are left over
///   memory   twice the bytes
FATHOM_API Result<FittedExits> read_parts(std::span<const std::byte> bytes);

/// Fitted routers as bytes.
FATHOM_API std::vector<std::byte> router_bytes(std::span<const FittedRouter> routers);

/// The routers of such bytes, which may come from anywhere; Routers::make() says whether they fit a model.
///   errors   format: as read_parts(); unsupported: another format
FATHOM_API Result<std::vector<FittedRouter>> read_routers(std::span<const std::byte> bytes);

}  // namespace fathom
