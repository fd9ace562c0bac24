// PieceRunner: pieces of text through a session, every token predicted from the true ones before it.
// Next in the flow: src/calibrate/exit_fitting.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "fathom/engine/session.h"
#include "src/calibrate/journal.h"
#include "src/calibrate/loss.h"

namespace fathom {

inline constexpr int32_t kRunnerRows = 64;  // of one step, all of which may predict

/// A piece as it is run: places are tokens but the last, and each predicts the token behind it.
struct PieceText {
  int32_t group = 0;
  Split split = Split::fit;
  int64_t unit = 0;             // pieces of one unit depend on one another: a document's, or a piece by itself where
                                // the splits share the documents
  bool prompt = false;          // the model wrote the tokens behind the lead
  std::vector<int32_t> lead;    // what begins a text, or the prompt: run at full depth, and no place
  std::vector<int32_t> tokens;  // 2 and more
  int32_t first = 0;            // of the places that are compared with full depth, as Piece::position
  int32_t most_compared = std::numeric_limits<int32_t>::max();

  int32_t places() const { return static_cast<int32_t>(tokens.size()) - 1; }
  int32_t n_compared() const { return std::min(most_compared, places()); }
  /// [n_compared] places, rising: even steps from `first` on, round the piece. Where `first` is uniform each place is
  /// as likely as any other, so that their mean loss is the piece's on average.
  std::vector<int32_t> compared() const;
};

/// Of how many places of a piece heads are asked where a policy is compared with full depth: as many as take a quarter
/// of the layers' multiply-adds, and 16 in any case.
int32_t compared_places(const ModelConfig& config, int32_t places);

template <class P>
void pack(P& p, PieceText& text) {
  p(text.lead), p(text.tokens);  // the rest is the piece's
}

/// What a step says of consecutive places of one piece.
struct PieceStep {
  int32_t first = 0;                  // place of the first row
  std::span<const RowResult> rows;    // [rows] work without a head where a row does not predict
  std::span<const int32_t> places;    // [n] those that predict: all, or those that were asked
  std::span<const LogitStats> stats;  // [n] of what is predicted
  View<const float, 2> logits;        // [n, vocab]

  const RowResult& row_of(int32_t place) const { return rows[static_cast<size_t>(place - first)]; }
};

/// What policies ask for, made ready for sessions.
struct SessionParts {
  std::shared_ptr<const ExitHeads> exits = {};
  std::shared_ptr<const Routers> routers = {};

  /// Gives it to a session.
  ///   group    whose temperatures and maps are used; empty: those of all together
  ///   errors   those of Session::use() and use_routers()
  Result<void> attach(Session& session, std::string_view group = {}) const {
    FATHOM_TRY(session.use(exits, group));
    return session.use_routers(routers);
  }
};

class PieceRunner {
 public:
  /// A session in which every piece finds room.
  ///   errors   those of Session::make
  static Result<PieceRunner> make(const Model& model, const Pieces& pieces, int threads);

  /// A piece as it is run. Behind a prompt the model writes Pieces::piece_tokens, or until it ends the text; fewer than
  /// two are none.
  Result<PieceText> text_of(const Piece& piece);

  /// Sets what a text has of its piece: all but lead, tokens and unit.
  void belong(PieceText& text, const Piece& piece) const;

  /// Runs one piece from its beginning under a policy; each(PieceStep) sees its steps, and may end the run by an error.
  ///   errors   those of Session::step(); format: logits that are not finite; that of each()
  template <class F>
  Result<void> run(const PieceText& text, const Policy& policy, F&& each) {
    return run_through(text, policy, nullptr, each);
  }

  /// The same with heads at some places only, unless the policy reads what rows before a row predicted.
  ///   asked    of those places, rising
  template <class F>
  Result<void> run_at(const PieceText& text, std::span<const int32_t> asked, F&& each,
                      const Policy& policy = Policy()) {
    return run_through(text, policy, &asked, each);
  }

  /// The same step by step: what stands in front of the piece, then at most 64 places a call.
  ///   asked    places with heads; null: all
  Result<void> begin(const PieceText& text, const Policy& policy);
  Result<PieceStep> next(const PieceText& text, const Policy& policy, const std::span<const int32_t>* asked);

  Session& session() { return session_; }

  /// What was run before, where the same calibration is begun again; keeps nothing unless it is given a file.
  Journal& journal() { return journal_; }
  void keep(Journal journal) { journal_ = std::move(journal); }

  /// By which policies are compared with full depth.
  const Loss& loss() const { return loss_; }
  void compare_by(const Loss& loss) { loss_ = loss; }

  /// A second one for the same texts, made when it is first asked for: with a session of its own, without fitted parts.
  ///   errors   those of Session::make()
  Result<PieceRunner*> beside();

 private:
  PieceRunner(Session session, int32_t piece_tokens) : session_(std::move(session)), piece_tokens_(piece_tokens) {}
  template <class F>
  Result<void> run_through(const PieceText& text, const Policy& policy, const std::span<const int32_t>* asked,
                           F& each) {
    FATHOM_TRY(begin(text, policy));
    while (at_ < text.places()) {
      FATHOM_TRY(const PieceStep step, next(text, policy, asked));
      if constexpr (std::is_void_v<decltype(each(step))>) {
        each(step);
      } else {
        FATHOM_TRY(each(step));
      }
    }
    return {};
  }

  Session session_;
  Journal journal_;
  Loss loss_;
  std::unique_ptr<PieceRunner> beside_;
  int32_t piece_tokens_;
  int32_t at_ = 0;  // the coming place
  std::vector<Row> rows_;
  std::vector<int32_t> places_;
  std::vector<LogitStats> stats_;
};

}  // namespace fathom
