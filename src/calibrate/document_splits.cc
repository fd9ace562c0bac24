// Duplicates by sorting, splits by hashing, and stretches that take turns where documents are few. Next: piece_pool.cc.
#include "src/calibrate/document_splits.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "fathom/calibrate/limits.h"

namespace fathom {
namespace {

constexpr uint64_t kPiecesInStretch = 8;  // one of them is the gap before it
constexpr uint64_t kFewestStretches = 4;  // of a document with the text: the least that gives the default shares
constexpr uint64_t kMostStretches = 1024;

// The split whose share is furthest behind what it has got.
class Turns {
 public:
  explicit Turns(const PieceOptions& options) : shares_(options.shares) {
    Random random(options.seed);
    for (double& due : due_) due = 0.01 * random.uniform();  // who comes first among equals
  }
  Split next() {
    for (size_t s = 0; s < kSplits; ++s) due_[s] += shares_[s];
    const auto first = std::max_element(due_.begin(), due_.end());
    *first -= 1;
    return static_cast<Split>(first - due_.begin());
  }

 private:
  std::array<double, kSplits> shares_;
  std::array<double, kSplits> due_;
};

Stretch whole_document(size_t index, const Document& document, const PieceOptions& options) {
  // A prompt weighs as much as a piece: it becomes one.
  const uint64_t starts = document.prompt ? usable_bytes(options.piece_tokens) : document.bytes;
  const uint64_t limit = document.prompt ? starts + static_cast<uint64_t>(options.piece_tokens) : document.bytes;
  return {.document = index, .begin = 0, .limit = limit, .starts_end = starts};
}

// Cuts a document into stretches, the text of a piece or more left out between any two.
Result<void> take_turns(size_t index, const Document& document, PieceCutter& cutter, Turns& turns, uint64_t piece_bytes,
                        std::array<PiecePool, kSplits>& pools) {
  const uint64_t room = document.bytes / piece_bytes;
  const uint64_t fewest = std::clamp<uint64_t>(room / 2, 1, kFewestStretches);
  const uint64_t n = std::clamp(room / kPiecesInStretch, fewest, kMostStretches);
  uint64_t begin = 0;
  for (uint64_t i = 0; i < n && begin < document.bytes; ++i) {
    uint64_t limit = document.bytes;
    if (i + 1 < n) {
      const uint64_t even = document.bytes / n * (i + 1);
      FATHOM_TRY(limit, cutter.word_start(document, std::max(even, begin), document.bytes));
    }
    pools[static_cast<size_t>(turns.next())].add(
        {.document = index, .begin = begin, .limit = limit, .starts_end = limit});
    FATHOM_TRY(const Cut gap, cutter.cut(document, limit, document.bytes));
    if (gap.bytes == 0) break;
    begin = limit + gap.bytes;
    for (Cut sparse = gap; !sparse.fits() && sparse.bytes > 0; begin += sparse.bytes) {
      FATHOM_TRY(sparse, cutter.cut(document, begin, document.bytes));
      if (sparse.bytes == 0) return {};
    }
  }
  return {};
}

}  // namespace

Result<void> check_groups(std::span<const GroupData> groups) {
  if (groups.empty()) return Error{ErrorCode::argument, "no groups of text: give one, such as prose=a.txt"};
  if (groups.size() > kMostGroups) {
    return Error{ErrorCode::argument, fmt::format("{} groups of text: give at most {}, several kinds under one name",
                                                  groups.size(), kMostGroups)};
  }
  std::vector<const GroupData*> sorted;
  for (const GroupData& group : groups) sorted.push_back(&group);
  std::sort(sorted.begin(), sorted.end(), [](const GroupData* a, const GroupData* b) { return a->name < b->name; });
  for (size_t i = 0; i < sorted.size(); ++i) {
    const GroupData& group = *sorted[i];
    FATHOM_TRY(check_group_name(group.name));
    if (group.paths.empty()) {
      return Error{ErrorCode::argument, fmt::format("group {} has no files: give one, or leave it out", group.name)};
    }
    if (i > 0 && sorted[i - 1]->name == group.name) {
      return Error{ErrorCode::argument, fmt::format("group {} is given twice: give its files together", group.name)};
    }
  }
  return {};
}

void drop_duplicates(std::vector<Document>& documents, std::span<PieceGroup> groups) {
  const auto key = [](const Document& d) { return std::tie(d.content, d.group, d.exact, d.file, d.offset); };
  std::sort(documents.begin(), documents.end(), [&](const Document& a, const Document& b) { return key(a) < key(b); });
  size_t kept = 0;
  for (const Document& document : documents) {
    PieceGroup& group = groups[static_cast<size_t>(document.group)];
    if (kept > 0 && documents[kept - 1].content == document.content) {
      ++(documents[kept - 1].group == document.group ? group.n_duplicates : group.n_in_other_groups);
      continue;
    }
    ++group.n_documents;
    group.bytes += static_cast<int64_t>(document.bytes);
    documents[kept++] = document;
  }
  documents.resize(kept);
  std::stable_sort(documents.begin(), documents.end(),
                   [](const Document& a, const Document& b) { return a.group < b.group; });
}

Split split_of(Hash128 content, const PieceOptions& options) {
  Hash hash;
  hash.add_number(options.seed);
  hash.add_number(content.high);
  hash.add_number(content.low);
  const double place = static_cast<double>(hash.digest().high >> 11) * 0x1p-53;
  if (place < options.shares[0]) return Split::fit;
  return place < options.shares[0] + options.shares[1] ? Split::choose : Split::report;
}

Result<std::array<PiecePool, kSplits>> split_documents(std::span<const Document> documents, size_t begin, size_t end,
                                                       const PieceOptions& options, PieceCutter& cutter,
                                                       PieceGroup& group) {
  const auto least_bytes = static_cast<uint64_t>(options.piece_tokens);  // a token has a byte at least
  const uint64_t usable = usable_bytes(options.piece_tokens);
  int64_t n_usable = 0;
  for (size_t i = begin; i < end; ++i) n_usable += documents[i].prompt || documents[i].bytes >= usable;
  group.spaced = n_usable < options.fewest_documents;

  const PiecePool empty(least_bytes, group.spaced ? Draw::text : Draw::documents);
  std::array<PiecePool, kSplits> pools = {empty, empty, empty};
  Turns turns(options);
  for (size_t i = begin; i < end; ++i) {
    const Document& document = documents[i];
    if (!document.prompt && document.bytes < least_bytes) {
      ++group.n_short;
    } else if (group.spaced && !document.prompt) {
      FATHOM_TRY(take_turns(i, document, cutter, turns, usable, pools));
    } else {
      const Split split = group.spaced ? turns.next() : split_of(document.content, options);
      pools[static_cast<size_t>(split)].add(whole_document(i, document, options));
    }
  }
  return pools;
}

}  // namespace fathom
