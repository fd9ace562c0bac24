// Pieces of the small model with depth to spare: two kinds of text, enough to certify a large risk.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "tests/calibrate/text_files.h"
#include "tests/support/spare_model.h"

namespace fathom::testing {

inline Pieces spare_pieces(const Tokenizer& tokenizer, const SpareLanguage& language, const TextFiles& files,
                           uint64_t seed) {
  std::vector<GroupData> groups;
  for (const auto& [name, kind] : {std::pair{"prose", SpareText::prose}, {"code", SpareText::code}}) {
    groups.push_back({name, {files.write(std::string(name) + ".txt", spare_text(language, kind, 120))}});
  }
  return sample_pieces(tokenizer, groups,
                       {.piece_tokens = 24, .n_fit = 24, .n_choose = 40, .n_report = 10, .seed = seed})
      .value();
}

}  // namespace fathom::testing
