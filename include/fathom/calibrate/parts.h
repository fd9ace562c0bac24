// The section "parts" of a sidecar: what was fitted, as numbers. Next in the flow: head/exit_heads.h, which uses it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/head/exit_heads.h"

namespace fathom {

/// Fitted exits as bytes: little endian; translators in BF16, which is how they are run.
FATHOM_API std::vector<std::byte> parts_bytes(const FittedExits& exits);

/// The exits of such bytes, which may come from anywhere.
///   errors   format: cut off, counts beyond their limits, a map or name that is none; bytes that are left over
///   memory   twice the bytes
FATHOM_API Result<FittedExits> read_parts(std::span<const std::byte> bytes);

}  // namespace fathom
