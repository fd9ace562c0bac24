// Normalisation form C, for models whose own tokenizer asks for it. Next in the flow: text/sentencepiece.h.
#pragma once

#include <string>
#include <string_view>

namespace fathom::text {

/// The NFC of a valid text: the text itself where nothing changes, else `storage`. Marks and compositions that came to
/// Unicode after version 9 stay as they are: the tables models were trained with (`tokenizers`) stop there.
///   cost     linear, and n log n in the length of runs of combining marks
///   source   Unicode Standard Annex 15
std::string_view nfc(std::string_view text, std::string& storage);

}  // namespace fathom::text
