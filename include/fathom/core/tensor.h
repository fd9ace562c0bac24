// View<T, N>: typed memory that carries its shape; Tensor: a weight as it lies in the file; Buffer: owned, aligned
// memory. Next in the flow: core/threads.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fathom/core/dtype.h"
#include "fathom/core/macros.h"

namespace fathom {

/// A row-major, contiguous, non-owning array of N dimensions.
template <class T, int N>
class View {
 public:
  constexpr View() = default;
  constexpr View(T* data, std::array<int64_t, N> shape) : data_(data), shape_(shape) {}

  constexpr T* data() const { return data_; }
  constexpr int64_t dim(int i) const { return shape_[i]; }
  constexpr const std::array<int64_t, N>& shape() const { return shape_; }
  constexpr int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape_) n *= d;
    return n;
  }
  constexpr bool empty() const { return size() == 0; }

  /// Row `i` of the first dimension.
  constexpr decltype(auto) operator[](int64_t i) const {
    FATHOM_ASSERT(0 <= i && i < shape_[0]);
    if constexpr (N == 1) {
      return (data_[i]);
    } else {
      std::array<int64_t, N - 1> rest{};
      int64_t stride = 1;
      for (int d = 1; d < N; ++d) stride *= rest[d - 1] = shape_[d];
      return View<T, N - 1>(data_ + i * stride, rest);
    }
  }
  constexpr std::span<T> flat() const { return {data_, static_cast<size_t>(size())}; }

 private:
  T* data_ = nullptr;
  std::array<int64_t, N> shape_{};
};

/// A weight as the file stores it: rows of `cols` elements, the last dimension contiguous.
/// `data` points into the mapped file and lives as long as the Model.
struct Tensor {
  std::string name;
  DType type = DType::f32;
  int64_t rows = 0;  // outputs of a matrix, entries of a table; 1 for a vector
  int64_t cols = 0;  // inputs of a matrix
  const std::byte* data = nullptr;

  size_t bytes() const { return static_cast<size_t>(rows) * row_bytes(type, static_cast<size_t>(cols)); }
};

/// Whether a large buffer asks the system for huge pages: dense data wants them; memory that may stay partly unused
/// does not, since a touched huge page is resident whole.
enum class Pages : uint8_t { huge, small };

/// Owned memory, 64-byte aligned, zeroed on first touch.
class FATHOM_API Buffer {
 public:
  Buffer() : data_(nullptr, Free{0}) {}
  /// Allocates `bytes`; `data()` is null when the system refuses.
  explicit Buffer(size_t bytes, Pages pages = Pages::huge);

  std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Free {
    size_t mapped_bytes;
    void operator()(std::byte* p) const noexcept;
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t size_ = 0;
};

}  // namespace fathom
