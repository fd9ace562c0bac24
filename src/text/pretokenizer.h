// Pretokenizer: cuts text into words as the file's `tokenizer.ggml.pre` says. Next in the flow: text/nfc.h.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"

namespace fathom::text {

/// The compiled patterns of one pre-tokenizer; immutable, used by any number of threads.
class Pretokenizer {
 public:
  /// What a pre-tokenizer's name means.
  struct Recipe {
    std::string_view name;
    std::vector<std::string_view> patterns;  // each cuts the pieces of the one before
    bool nfc = false;                        // the model's tokenizer normalises to NFC first
    bool whole_words = false;                // a word that is a token is not merged
  };

  /// The recipe of a name, null where it is not known.
  static const Recipe* recipe(std::string_view name);

  /// The name of the recipe that is this one pattern; empty where there is none.
  static std::string_view name_of(std::string_view pattern);

  /// Compiles a recipe.
  ///   errors   unsupported: the system's PCRE2 refuses a pattern
  static Result<Pretokenizer> make(const Recipe& recipe);

  /// Appends the words of a valid text to `words`; together they are the text.
  ///   errors   capacity: PCRE2's match limit or memory
  ///   cost     linear
  Result<void> split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  std::vector<std::shared_ptr<const void>> codes_;  // pcre2_code
};

}  // namespace fathom::text
