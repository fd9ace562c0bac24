// Text becomes pieces: 64 to 256 tokens at random places of random documents, in three splits that share no document.
// Next in the flow: calibrate/fit.h, whose rows come from the pieces of Split::fit.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/text/tokenizer.h"

namespace fathom {

/// What a piece is for: nothing that is chosen has seen the text that it is chosen or reported on.
enum class Split : uint8_t {
  fit,     ///< translators, routers, temperatures
  choose,  ///< thresholds, and the certificate
  report,  ///< what is said of the result
};
inline constexpr size_t kSplits = 3;
FATHOM_API std::string_view name(Split split);

/// Files of one kind of text, such as prose=a.txt: a domain, a language.
///   name   as check_group_name() has it
///   paths  NAME.jsonl: one object a line, with `text`, or with `prompt` where the model is to write on, and maybe
///   `id`.
///          Any other: UTF-8 text, in documents between form feeds; without a form feed it is one document.
struct GroupData {
  std::string name;
  std::vector<std::string> paths;
};

/// The least of PieceOptions::fewest_documents that gives each split one with some certainty.
inline constexpr int64_t kFewestDocuments = 8;

struct PieceOptions {
  int32_t piece_tokens = 64;  // 2 to 4096; certificates speak of 64 to 256
  int32_t n_fit = 200;        // pieces of each group, here and below
  int32_t n_choose = 600;
  int32_t n_report = 200;
  std::array<double, kSplits> shares = {0.25, 0.5, 0.25};  // of the documents, by Split; together 1
  int32_t most_prompt_tokens = 512;
  int64_t fewest_documents = kFewestDocuments;  // that can hold a piece, from which on each is in one split alone
  uint64_t seed = 1;
};

/// Where a piece is from.
struct PieceDocument {
  int32_t group = 0;   // index into Pieces::groups
  std::string path;    // as it was given
  int64_t offset = 0;  // bytes from the file's beginning: of the text, or of the line
  int64_t line = 0;    // of a JSONL file, from 1; 0: of no such file
  std::string id;      // as the line says; empty: it does not
};

struct Piece {
  int32_t group = 0;     // index into Pieces::groups
  int64_t document = 0;  // index into Pieces::documents
  int64_t offset = 0;    // bytes from the document's beginning
  int64_t bytes = 0;     // of text that no other piece touches: that of the tokens, and a few tokens more
  Split split = Split::fit;
  bool prompt = false;          // the tokens are a whole prompt, and the model writes the piece behind them
  std::vector<int32_t> tokens;  // [piece_tokens], or [1 to most_prompt_tokens] of a prompt; without BOS
  int32_t position = 0;         // uniform in 0 to piece_tokens - 2: the one that counts where only one does, and from
                                // which on some do. In tokens, or in what is written behind a prompt
};

struct PieceGroup {
  std::string name;
  int64_t n_documents = 0;                     // that are left when duplicates are gone
  int64_t bytes = 0;                           // of their text
  int64_t n_duplicates = 0;                    // equal, but for whitespace, to a document of the group
  int64_t n_in_other_groups = 0;               // equal to a document of a group before it, which keeps it
  int64_t n_short = 0;                         // found to have fewer tokens than a piece
  int64_t n_long_prompts = 0;                  // found to have more than most_prompt_tokens
  bool spaced = false;                         // too few documents to keep them apart: the splits share them
  std::array<int64_t, kSplits> n_pieces = {};  // by Split
  std::array<int64_t, kSplits> n_missing = {};
};

struct Pieces {
  int32_t piece_tokens = 64;                      // as PieceOptions said; of what is written behind a prompt too
  std::vector<PieceGroup> groups;                 // by name
  std::vector<PieceDocument> documents;           // that have pieces
  std::vector<Piece> pieces;                      // by group, then split, then in the order in which they were drawn
  std::array<std::string, kSplits> fingerprints;  // XXH3-128 of the pieces of each split, 32 hex digits
};

/// Reads the files and draws the pieces. A document's split is a hash of its content and the seed, so that adding files
/// moves no document to another split. Within a split every document is as likely as any other while it has room for a
/// piece, and the place in it is uniform, moved on to the next word. A group with fewer documents than
/// PieceOptions::fewest_documents is `spaced`: its text is cut into stretches that take turns, the text of at least one
/// piece lies between pieces of different splits, and every place of the text is as likely as any other. Pieces do not
/// overlap.
///   groups   in any order: the same pieces come of the same content, names, options and seed
///   returns  as many pieces as there are, of some groups maybe none; what is missing is counted
///   errors   argument: no groups or more than kMostGroups, no files, names given twice or refused by
///            check_group_name(), options out of range;
///            file: a file that cannot be read, or changes meanwhile;
///            format: what is no text, a line that is no document (file and line or byte are named), no piece in any
///            group;
///            capacity: a line of more than 16 MiB; those of Tokenizer::encode()
///   memory   about 100 bytes for each document, one line, and the pieces
///   cost     one pass over the files; then a few reads and encodings for each piece
FATHOM_API Result<Pieces> sample_pieces(const Tokenizer& tokenizer, std::span<const GroupData> groups,
                                        const PieceOptions& options = {});

/// Why a group has no piece, and what to do, in one line.
FATHOM_API std::string why_no_piece(const PieceGroup& group, int32_t piece_tokens);

}  // namespace fathom
