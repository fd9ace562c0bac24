// Typed, range-checked access to a file's keys, with a note of where each value came from.
// Next in the flow: config_reader.cc, which asks for each value by name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "src/model/gguf.h"

namespace fathom {

/// The keys of one family: "attention.head_count" means "llama.attention.head_count".
class Metadata {
 public:
  Metadata(const gguf::File& file, std::string_view family) : file_(file), family_(family) {}

  /// What a key is called where it comes from.
  std::string key(std::string_view name) const {
    const gguf::Key* const found = file_.find_key(whole(name));
    return found != nullptr && !found->origin.empty() ? std::string(found->origin) : whole(name);
  }
  const gguf::Value* find(std::string_view name) const { return file_.find(whole(name)); }

  /// An integer in [least, most].
  ///   errors   format: missing without a fallback, not an integer, out of range
  Result<int32_t> integer(std::string_view name, int32_t least, int32_t most, std::optional<int32_t> fallback = {});

  /// The same for each layer: one integer for all, or an array of n.
  Result<std::vector<int32_t>> integers(std::string_view name, int32_t n, int32_t least, int32_t most,
                                        std::optional<int32_t> fallback = {});

  /// A finite number above `above` and at most `most`.
  Result<float> number(std::string_view name, float above, float most, std::optional<float> fallback = {});

  Result<std::string> text(std::string_view name, std::string_view fallback) const;

  /// Records where a value came from, for `fathom info`.
  void note(std::string name, std::string value, std::string source) {
    sources_.push_back({std::move(name), std::move(value), std::move(source)});
  }
  std::vector<ValueSource> take_sources() { return std::move(sources_); }

 private:
  std::string whole(std::string_view name) const { return family_ + "." + std::string(name); }
  Error missing(std::string_view name) const;
  Result<int32_t> checked(std::string_view name, const gguf::Value& value, uint64_t i, int32_t least,
                          int32_t most) const;

  const gguf::File& file_;
  std::string family_;
  std::vector<ValueSource> sources_;
};

inline constexpr std::string_view kFamilyDefault = "family default";

}  // namespace fathom
