// The processor's tile registers: shapes, loads and stores. Included by linear_amx.cc (bf16) and linear_amx_int8.cc;
// x86-64 only.
#pragma once

#include <cstdint>

#include "kernels/cpu/target_region.h"

namespace fathom::kernels::amx {

/// The shapes of all tiles, as LDTILECFG reads them.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int tile_rows, int tile_row_bytes) {
    rows[tile] = static_cast<uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<uint16_t>(tile_row_bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace fathom::kernels::amx

FATHOM_TARGET_BEGIN("amx-tile")

namespace fathom::kernels::amx {

// As text, since g++ 12's own forms do not tell the compiler that a tile is read from memory.
inline void configure(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory"); }
inline void release() { asm volatile("tilerelease" ::: "memory"); }

template <int tile>
FATHOM_INLINE void zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
template <int tile>
FATHOM_INLINE void load(const void* src, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(src), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
FATHOM_INLINE void store(void* dst, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(dst), "r"(stride), "i"(tile) : "memory");
}

}  // namespace fathom::kernels::amx

FATHOM_TARGET_END
