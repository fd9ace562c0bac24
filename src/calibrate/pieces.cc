// Groups in the order of their names, their documents in the order of their content, and a seeded stream of places for
// each group and split: nothing depends on the order in which files were given.
#include "fathom/calibrate/pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "fathom/calibrate/limits.h"
#include "src/calibrate/document_splits.h"
#include "src/calibrate/documents.h"
#include "src/calibrate/piece_cutter.h"
#include "src/calibrate/piece_pool.h"
#include "src/calibrate/random.h"

namespace fathom {
namespace {

constexpr int32_t kMostPieces = 1'000'000;  // of a group and split

Result<void> check_range(std::string_view name, int64_t value, int64_t least, int64_t most) {
  if (least <= value && value <= most) return {};
  return Error{ErrorCode::argument, fmt::format("PieceOptions::{} {}: give {} to {}", name, value, least, most)};
}

Result<void> check(const PieceOptions& options) {
  FATHOM_TRY(check_range("piece_tokens", options.piece_tokens, 2, 4096));
  FATHOM_TRY(check_range("n_fit", options.n_fit, 0, kMostPieces));
  FATHOM_TRY(check_range("n_choose", options.n_choose, 0, kMostPieces));
  FATHOM_TRY(check_range("n_report", options.n_report, 0, kMostPieces));
  FATHOM_TRY(check_range("most_prompt_tokens", options.most_prompt_tokens, 1, 1 << 20));
  FATHOM_TRY(check_range("fewest_documents", options.fewest_documents, 1, int64_t{1} << 40));
  if (options.n_fit + options.n_choose + options.n_report == 0) {
    return Error{ErrorCode::argument, "PieceOptions: no pieces are asked for: set n_fit, n_choose or n_report"};
  }
  const auto& [fit, choose, report] = options.shares;
  if (fit >= 0 && choose >= 0 && report >= 0 && std::abs(fit + choose + report - 1) <= 1e-6) return {};
  return Error{ErrorCode::argument,
               fmt::format("PieceOptions::shares {}, {}, {}: give shares that are together 1", fit, choose, report)};
}

std::vector<GroupData> by_name(std::span<const GroupData> groups) {
  std::vector<GroupData> sorted(groups.begin(), groups.end());
  std::sort(sorted.begin(), sorted.end(), [](const GroupData& a, const GroupData& b) { return a.name < b.name; });
  for (GroupData& group : sorted) std::sort(group.paths.begin(), group.paths.end());
  return sorted;
}

// Random numbers of one purpose, whatever other groups there are.
Random stream(uint64_t seed, std::string_view group, Split split, std::string_view purpose) {
  Hash hash;
  hash.add_number(seed);
  hash.add_number(static_cast<uint64_t>(split));
  hash.add(purpose);
  hash.add(group);
  return Random(hash.digest().low);
}

// Draws the pieces of one group and split after the other.
class Sampler {
 public:
  Sampler(std::span<const Document> documents, DocumentFiles& files, PieceCutter& cutter, const PieceOptions& options)
      : documents_(documents), files_(files), cutter_(cutter), options_(options) {}

  Result<void> draw(PiecePool& pool, int32_t group, Split split, int32_t n, Pieces& pieces) {
    PieceGroup& counts = pieces.groups[static_cast<size_t>(group)];
    Random places = stream(options_.seed, counts.name, split, "places");
    Random positions = stream(options_.seed, counts.name, split, "positions");
    int32_t n_drawn = 0;
    while (n_drawn < n) {
      const std::optional<PiecePool::Place> place = pool.draw(places);
      if (!place) break;
      Piece piece;
      piece.group = group;
      piece.split = split;
      const size_t document = pool[place->stretch].document;
      FATHOM_TRY(documents_[document].prompt ? take_prompt(pool, *place, counts, piece)
                                             : take_text(pool, *place, counts, piece));
      if (piece.tokens.empty()) continue;
      FATHOM_TRY(piece.document, listed(document, pieces));
      piece.position = static_cast<int32_t>(positions.below(static_cast<uint64_t>(options_.piece_tokens - 1)));
      pieces.pieces.push_back(std::move(piece));
      ++n_drawn;
    }
    counts.n_pieces[static_cast<size_t>(split)] = n_drawn;
    counts.n_missing[static_cast<size_t>(split)] = n - n_drawn;
    return {};
  }

 private:
  Result<void> take_text(PiecePool& pool, const PiecePool::Place& place, PieceGroup& counts, Piece& piece) {
    const Stretch stretch = pool[place.stretch];
    const Document& document = documents_[stretch.document];
    FATHOM_TRY(const uint64_t begin, cutter_.word_start(document, place.offset, stretch.limit));
    FATHOM_TRY(Cut cut, cutter_.cut(document, begin, stretch.limit));
    if (cut.bytes == 0) {
      pool.refuse(place);
      if (place.offset == 0 && stretch.limit == document.bytes) ++counts.n_short;
      return {};
    }
    pool.take(place, begin, begin + cut.bytes);
    piece.tokens = std::move(cut.tokens);
    piece.offset = static_cast<int64_t>(begin);
    piece.bytes = static_cast<int64_t>(cut.bytes);
    return {};
  }

  Result<void> take_prompt(PiecePool& pool, PiecePool::Place place, PieceGroup& counts, Piece& piece) {
    const Document& document = documents_[pool[place.stretch].document];
    place.offset = 0;
    pool.refuse(place);  // a prompt is one piece
    FATHOM_TRY(auto tokens, cutter_.whole(document));
    if (tokens.size() > static_cast<size_t>(options_.most_prompt_tokens)) {
      ++counts.n_long_prompts;
      return {};
    }
    piece.prompt = true;
    piece.tokens = std::move(tokens);
    piece.bytes = static_cast<int64_t>(document.bytes);
    return {};
  }

  Result<int64_t> listed(size_t document, Pieces& pieces) {
    const auto [place, added] = listed_.emplace(document, static_cast<int64_t>(pieces.documents.size()));
    if (added) {
      const Document& from = documents_[document];
      FATHOM_TRY(std::string id, files_.id(from));
      pieces.documents.push_back({.group = from.group,
                                  .path = files_.path(from),
                                  .offset = static_cast<int64_t>(from.offset),
                                  .line = from.line,
                                  .id = std::move(id)});
    }
    return place->second;
  }

  std::span<const Document> documents_;
  DocumentFiles& files_;
  PieceCutter& cutter_;
  const PieceOptions& options_;
  std::unordered_map<size_t, int64_t> listed_;  // by index of the document
};

std::string fingerprint(const Pieces& pieces, Split split) {
  Hash hash;
  for (const Piece& piece : pieces.pieces) {
    if (piece.split != split) continue;
    const std::string& group = pieces.groups[static_cast<size_t>(piece.group)].name;
    hash.add_number(group.size());
    hash.add(group);
    hash.add_number(piece.prompt ? 1 : 0);
    hash.add_number(static_cast<uint64_t>(piece.position));
    hash.add_number(piece.tokens.size());
    for (const int32_t token : piece.tokens) hash.add_number(static_cast<uint64_t>(token));
  }
  const Hash128 digest = hash.digest();
  return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

}  // namespace

std::string_view name(Split split) {
  switch (split) {
    case Split::fit:
      return "fit";
    case Split::choose:
      return "choose";
    case Split::report:
      return "report";
  }
  return "unknown";
}

std::string why_no_piece(const PieceGroup& group, int32_t piece_tokens) {
  if (group.n_documents == 0) {
    return fmt::format("group {}: all its text is in groups before it: give it text of its own, or leave it out",
                       group.name);
  }
  if (group.n_long_prompts > 0) {
    return fmt::format(
        "group {}: its {} prompts are too long: give shorter ones, or raise the tokens that a prompt "
        "may have (--prompt-tokens, PieceOptions::most_prompt_tokens)",
        group.name, group.n_long_prompts);
  }
  return fmt::format(
      "group {}: no piece of {} tokens in {} bytes of text ({} documents): give more text, or leave the "
      "group out",
      group.name, piece_tokens, group.bytes, group.n_documents);
}

Result<Pieces> sample_pieces(const Tokenizer& tokenizer, std::span<const GroupData> groups,
                             const PieceOptions& options) {
  FATHOM_TRY(check(options));
  FATHOM_TRY(check_groups(groups));
  const std::vector<GroupData> sorted = by_name(groups);
  Pieces pieces;
  pieces.piece_tokens = options.piece_tokens;
  DocumentFiles files;
  std::vector<Document> documents;
  for (const GroupData& group : sorted) {
    const auto index = static_cast<int32_t>(pieces.groups.size());
    pieces.groups.push_back({.name = group.name});
    for (const std::string& path : group.paths) FATHOM_TRY(files.add(path, index, documents));
  }
  drop_duplicates(documents, pieces.groups);

  PieceCutter cutter(tokenizer, files, options.piece_tokens);
  Sampler sampler(documents, files, cutter, options);
  const std::array<int32_t, kSplits> wanted = {options.n_fit, options.n_choose, options.n_report};
  size_t begin = 0;
  for (PieceGroup& group : pieces.groups) {
    const size_t end = begin + static_cast<size_t>(group.n_documents);
    FATHOM_TRY(auto pools, split_documents(documents, begin, end, options, cutter, group));
    for (size_t s = 0; s < kSplits; ++s) {
      const auto index = static_cast<int32_t>(&group - pieces.groups.data());
      FATHOM_TRY(sampler.draw(pools[s], index, static_cast<Split>(s), wanted[s], pieces));
    }
    begin = end;
  }
  if (pieces.pieces.empty()) return Error{ErrorCode::format, why_no_piece(pieces.groups[0], options.piece_tokens)};
  for (size_t s = 0; s < kSplits; ++s) pieces.fingerprints[s] = fingerprint(pieces, static_cast<Split>(s));
  return pieces;
}

}  // namespace fathom
