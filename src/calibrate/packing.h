// Packer and Unpacker: values as bytes that only the same build on the same kind of machine reads back.
// Next in the flow: src/calibrate/journal.h, which keeps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace fathom {

/// Values one behind the other. A type that is no plain memory says how beside itself, once for both ways:
///   template <class P> void pack(P& p, MyType& value) { p(value.a), p(value.b); }
class Packer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) {
      raw(&value, sizeof value);
    } else {
      pack(*this, const_cast<T&>(value));  // a Packer changes nothing
    }
  }
  void operator()(const std::string& text) {
    (*this)(uint64_t{text.size()});
    raw(text.data(), text.size());
  }
  template <class T>
  void operator()(const std::vector<T>& list) {
    (*this)(uint64_t{list.size()});
    if constexpr (std::is_trivially_copyable_v<T>) {
      raw(list.data(), list.size() * sizeof(T));
    } else {
      for (const T& value : list) (*this)(value);
    }
  }
  std::vector<std::byte> bytes;

 private:
  void raw(const void* data, size_t n) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + n);
  }
};

/// The same backwards. Bytes that do not fit leave at_end() false.
class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : left_(bytes) {}

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) {
      raw(&value, sizeof value);
    } else {
      pack(*this, value);
    }
  }
  void operator()(std::string& text) {
    text.resize(count(1));
    raw(text.data(), text.size());
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    if constexpr (std::is_trivially_copyable_v<T>) {
      list.resize(count(sizeof(T)));
      raw(list.data(), list.size() * sizeof(T));
    } else {
      list.resize(count(1));
      for (T& value : list) (*this)(value);
    }
  }

  void fail() { ok_ = false, left_ = {}; }
  bool at_end() const { return ok_ && left_.empty(); }

 private:
  // Of elements that take so many bytes at least: no count asks for more memory than the bytes can fill.
  size_t count(size_t least) {
    uint64_t n = 0;
    (*this)(n);
    if (ok_ && n <= left_.size() / least) return static_cast<size_t>(n);
    fail();
    return 0;
  }
  void raw(void* dst, size_t n) {
    if (!ok_ || n > left_.size()) return fail();
    if (n > 0) std::memcpy(dst, left_.data(), n);
    left_ = left_.subspan(n);
  }
  std::span<const std::byte> left_;
  bool ok_ = true;
};

}  // namespace fathom
