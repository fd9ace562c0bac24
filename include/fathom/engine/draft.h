// Drafts: guesses of the tokens to come, and the choice of how many a pass takes in. A guess costs rows and never
// changes a token: what full depth does not confirm is rolled back. Next in the flow: engine/generate.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "fathom/core/macros.h"
#include "fathom/engine/pass_costs.h"

namespace fathom {

/// Classes in which a source says how sure it is of a proposal; acceptance is counted for each.
inline constexpr int32_t kDraftClasses = 16;

/// Guesses how one text goes on, from its own tokens or from what its owner knows. It is told every committed token in
/// order and sees no other; calls come from one thread.
class FATHOM_API DraftSource {
 public:
  virtual ~DraftSource() = default;

  /// What the trace and reports call it; a string that lives as long as the source.
  virtual const char* name() const noexcept = 0;

  /// Forgets everything: a text begins with these tokens.
  virtual void begin(std::span<const int32_t> tokens) = 0;

  /// A token was committed behind those before.
  virtual void commit(int32_t token) = 0;

  /// Guesses of the tokens that follow the committed ones, the nearest first.
  ///   dst       room for guesses; ids outside the vocabulary end the proposal
  ///   returns   how many were written, 0 where it has none
  ///   cost      called before every pass: a microsecond is cheap, a millisecond is not
  virtual int32_t propose(std::span<int32_t> dst) = 0;

  /// How sure the last proposal is, 0 .. kDraftClasses - 1. The numbers need no order: what counts is that proposals of
  /// one class are about equally often right.
  virtual int32_t confidence() const noexcept { return 0; }
};

/// What one sequence could do in the coming pass.
struct DraftOffer {
  int32_t max_rows = 1;    // rows of the sequence in the pass that confirms, at most; 1: nothing can be drafted
  bool saves = false;      // the policy has savings: rows can be drafted by it
  int32_t proposed = 0;    // tokens a source proposes
  int32_t confidence = 0;  // the source's class
  int32_t other_rows = 0;  // rows of other sequences in the same pass
  int32_t context = 0;     // cells of the sequence
  const PassCosts* costs = nullptr;  // what passes cost, where that was measured; valid for the call
};

/// What it does. At most one of the two is above 0; both 0: one row at full depth.
struct DraftChoice {
  int32_t own = 0;     // rows run under the policy's savings, one after another, then settled together
  int32_t source = 0;  // proposed tokens that enter as rows beside the certain one

  friend constexpr bool operator==(const DraftChoice&, const DraftChoice&) = default;
};

/// What came of a pass for one sequence.
struct DraftOutcome {
  DraftOffer offer;
  DraftChoice choice;
  int32_t drafted = 0;   // guesses that were put to the test
  int32_t accepted = 0;  // of them, from the first on, those that full depth confirmed
  int32_t would_match =
      -1;  // the source's first guess, taken in or not, was the token that came: 1, 0; -1: it had none
  int32_t own_would_match = -1;  // a row under savings would have guessed that token: 1, 0; -1: nobody can tell
  int32_t rows = 0;              // of the pass that confirms, other sequences' included
  double own_seconds = 0;        // of the rows drafted under savings, all together
  double seconds = 0;            // of the pass that confirms
};

/// Chooses for each pass. Every choice gives the same tokens, so a chooser may look at clocks or throw dice.
class FATHOM_API DraftChooser {
 public:
  virtual ~DraftChooser() = default;
  /// Called before every pass, also where the offer holds nothing to choose from.
  virtual DraftChoice choose(const DraftOffer& offer) = 0;
  /// Called after every pass that confirmed something.
  virtual void learn(const DraftOutcome& outcome) = 0;
};

/// Proposes what followed the longest recent repetition: hashed n-grams of orders 1, 2, 4 and 8 over prompt and own
/// output. A copy that was right so far goes on where it is; one that an edit broke is joined again behind the edit.
/// Classes: length of the match, whether it was joined again, whether three of the last four guesses were right.
///   cost     about 15 slots looked at for each committed token, 0.1 us; up to 70 bytes a token
///   source   Saxena 2023 (prompt lookup decoding), with orders of several lengths and a record of its own hits
FATHOM_API std::unique_ptr<DraftSource> ngram_draft();

/// Maximises expected tokens a second: measured times of passes by rows, acceptance by source and class. What loses is
/// off within 16 tokens; a source or a shortlist that is off is watched for nothing, as its guesses are compared with
/// what comes. Drafts under other savings cannot be watched: twice at the start and then for at most half a percent of
/// the time they are tried. The first three passes draft nothing, so that one row's time is known. What more rows cost
/// is what the first offer says until passes show it. One chooser serves one session.
///   cost     a few microseconds for each sequence and pass
FATHOM_API std::unique_ptr<DraftChooser> goodput_chooser();

}  // namespace fathom
