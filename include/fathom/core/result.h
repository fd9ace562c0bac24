// Result<T>: a value or an error a caller can meet in good faith; every fallible call of Fathom returns one.
// Next in the flow: core/dtype.h.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "fathom/core/macros.h"

namespace fathom {

/// What kind of thing went wrong; the message says which thing, its value, and the remedy.
enum class ErrorCode {
  argument,     ///< an option or argument out of range
  file,         ///< a file that cannot be opened, read, mapped or written
  format,       ///< bytes that are not what they claim to be
  shape,        ///< dimensions that do not fit together
  capacity,     ///< a limit reached: context length, rows of a step, memory
  unsupported,  ///< well formed, but not something this build can run
  cancelled,    ///< the caller asked to stop
};

/// An error by value. `message` is one line: the thing, the value, the remedy.
struct Error {
  ErrorCode code = ErrorCode::argument;
  std::string message;
};

/// Thrown by Result::value() only; the library itself never throws it.
class Exception : public std::runtime_error {
 public:
  explicit Exception(Error error) : std::runtime_error(error.message), error_(std::move(error)) {}
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

/// A value or an Error, in the words of std::expected.
///   errors   value() throws Exception when there is an error; operator* asserts
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & { return require(), *std::get_if<0>(&state_); }
  const T& value() const& { return require(), *std::get_if<0>(&state_); }
  T value() && { return require(), std::move(*std::get_if<0>(&state_)); }

  T& operator*() & { return FATHOM_ASSERT(has_value()), *std::get_if<0>(&state_); }
  const T& operator*() const& { return FATHOM_ASSERT(has_value()), *std::get_if<0>(&state_); }
  T operator*() && { return FATHOM_ASSERT(has_value()), std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return FATHOM_ASSERT(has_value()), std::get_if<0>(&state_); }
  const T* operator->() const { return FATHOM_ASSERT(has_value()), std::get_if<0>(&state_); }

  const Error& error() const& { return FATHOM_ASSERT(!has_value()), *std::get_if<1>(&state_); }
  Error&& error() && { return FATHOM_ASSERT(!has_value()), std::move(*std::get_if<1>(&state_)); }

  template <class U>
  T value_or(U&& other) const& {
    return has_value() ? **this : static_cast<T>(std::forward<U>(other));
  }

 private:
  void require() const {
    if (!has_value()) throw Exception(*std::get_if<1>(&state_));
  }
  std::variant<T, Error> state_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (error_) throw Exception(*error_);
  }
  const Error& error() const& { return FATHOM_ASSERT(!has_value()), *error_; }
  Error&& error() && { return FATHOM_ASSERT(!has_value()), std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace fathom

// FATHOM_TRY(call);            returns the error of a Result from the enclosing function
// FATHOM_TRY(auto x, call);    or binds its value
#define FATHOM_TRY(first, ...)                   \
  FATHOM_TRY_CAT(FATHOM_TRY_, __VA_OPT__(BIND_)) \
  (FATHOM_TRY_CAT(fathom_try_, __LINE__), first __VA_OPT__(, ) __VA_ARGS__)
#define FATHOM_TRY_CAT(a, b) FATHOM_TRY_CAT_(a, b)
#define FATHOM_TRY_CAT_(a, b) a##b
#define FATHOM_TRY_(name, call) \
  if (auto name = (call); !name) return std::move(name).error()
#define FATHOM_TRY_BIND_(name, declaration, ...) \
  auto name = (__VA_ARGS__);                     \
  if (!name) return std::move(name).error();     \
  declaration = *std::move(name)
