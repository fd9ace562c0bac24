// Buffer: aligned memory from the system, in huge pages where it gives them.
#include "fathom/core/tensor.h"

#include <sys/mman.h>

#include <new>

namespace fathom {
namespace {
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kPageBytes = size_t{64} << 10;  // of every Linux, ARM's largest included
}  // namespace

Buffer::Buffer(size_t bytes, Pages pages) : data_(nullptr, Free{0}), size_(bytes) {
  if (bytes == 0) return;
  if (bytes < kHugePageBytes) {
    auto* p = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}, std::nothrow));
    if (p != nullptr) __builtin_memset(p, 0, bytes);
    data_ = {p, Free{0}};
    return;
  }
  // Whole small pages only: the rest of a last huge page would be resident and unused.
  const size_t mapped = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return;
  madvise(p, mapped, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  data_ = {static_cast<std::byte*>(p), Free{mapped}};
}

void Buffer::Free::operator()(std::byte* p) const noexcept {
  if (mapped_bytes != 0) {
    munmap(p, mapped_bytes);
  } else {
    ::operator delete (p, std::align_val_t{64});
  }
}

}  // namespace fathom
