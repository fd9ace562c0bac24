// Documents of groups as texts to embed, in two parts. Next: cosine_sequence.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/calibrate/bound.h"
#include "fathom/calibrate/embedding.h"
#include "fathom/calibrate/limits.h"
#include "src/calibrate/document_splits.h"
#include "src/calibrate/documents.h"

namespace fathom {
namespace {

constexpr double kChooseShare = 0.25;  // of the documents

// Without an error among them so many texts show the risk.
Result<void> check_enough(const EmbeddingGroup& group, const EmbeddingOptions& options) {
  const int64_t needed = pieces_needed(options.risk, 1 - options.confidence, 0, Bound::binomial);
  const auto n = std::ssize(group.certify);
  if (n >= needed && !group.choose.empty()) return {};
  if (options.texts < needed) {
    return Error{ErrorCode::argument,
                 fmt::format("EmbeddingOptions::texts {}: {} of each group are needed to show a risk of {:g} % with "
                             "confidence {:g} %: give as many, or a larger risk",
                             options.texts, needed, 100 * options.risk, 100 * options.confidence)};
  }
  return Error{ErrorCode::format,
               fmt::format("group {}: {} texts, of which {} are to certify on, where {} are needed to show a risk of "
                           "{:g} % with confidence {:g} %: give {} texts or more, or a larger risk",
                           group.name, group.n_documents, n, needed, 100 * options.risk, 100 * options.confidence,
                           static_cast<int64_t>(std::ceil(1.1 * double(needed) / (1 - kChooseShare))))};
}

}  // namespace

Result<std::vector<EmbeddingGroup>> read_embedding_texts(std::span<const GroupData> groups,
                                                         const EmbeddingOptions& options) {
  FATHOM_TRY(check_groups(groups));
  for (const double share : {options.risk, options.confidence}) {
    if (share > 0 && share < 1) continue;
    return Error{ErrorCode::argument, fmt::format("risk {:g}, confidence {:g}: give shares between 0 and 1",
                                                  options.risk, options.confidence)};
  }
  std::vector<PieceGroup> counts;
  DocumentFiles files;
  std::vector<Document> documents;
  for (const GroupData& group : groups) {
    const auto index = static_cast<int32_t>(counts.size());
    counts.push_back({.name = group.name});
    for (const std::string& path : group.paths) FATHOM_TRY(files.add(path, index, documents));
  }
  drop_duplicates(documents, counts);
  std::vector<EmbeddingGroup> read;
  for (const PieceGroup& group : counts) {
    read.push_back({.name = group.name,
                    .choose = {},
                    .certify = {},
                    .n_documents = group.n_documents,
                    .n_duplicates = group.n_duplicates + group.n_in_other_groups});
  }
  const PieceOptions deal{.shares = {0, kChooseShare, 1 - kChooseShare}, .seed = options.seed};
  for (const Document& document : documents) {  // by their hashes within a group: the first are a sample of all
    EmbeddingGroup& group = read[static_cast<size_t>(document.group)];
    const bool chooses = split_of(document.content, deal) == Split::choose;
    std::vector<std::string>& part = chooses ? group.choose : group.certify;
    if (std::ssize(part) >= (chooses ? (options.texts + 2) / 3 : options.texts)) continue;
    FATHOM_TRY(const std::string_view text, files.read(document, 0, document.bytes));
    part.emplace_back(text);
  }
  for (const EmbeddingGroup& group : read) FATHOM_TRY(check_enough(group, options));
  return read;
}

}  // namespace fathom
