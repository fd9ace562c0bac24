// Which documents there are once duplicates are gone, and which split may use what of them. Next: piece_pool.h.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "src/calibrate/documents.h"
#include "src/calibrate/piece_cutter.h"
#include "src/calibrate/piece_pool.h"

namespace fathom {

/// Whether groups have names, each its own, and files.
///   errors   argument: the first in the order of their names that does not
Result<void> check_groups(std::span<const GroupData> groups);

/// Sorts documents by group, then content, which depends on neither names nor order of files, and keeps one of those
/// that are equal but for whitespace: in the first group that has it. Counts what goes and what stays.
void drop_duplicates(std::vector<Document>& documents, std::span<PieceGroup> groups);

/// Bytes of a document that is long enough to hold a piece in any script; where fewer than kFewestDocuments are, they
/// are cut into stretches.
constexpr uint64_t usable_bytes(int32_t piece_tokens) { return 4 * static_cast<uint64_t>(piece_tokens); }

/// A split of every document, by its content and the seed alone.
Split split_of(Hash128 content, const PieceOptions& options);

/// What each split may use of one group's documents.
///   documents  all; those from `begin` to `end` are the group's
///   group      `spaced` and `n_short` are set
Result<std::array<PiecePool, kSplits>> split_documents(std::span<const Document> documents, size_t begin, size_t end,
                                                       const PieceOptions& options, PieceCutter& cutter,
                                                       PieceGroup& group);

}  // namespace fathom
