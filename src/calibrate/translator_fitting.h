// Kinds of translators: each is fitted at every exit, and the one that is worth most stays.
// Next in the flow: src/calibrate/exit_fitting.cc.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "fathom/core/threads.h"
#include "src/calibrate/exit_collectors.h"
#include "src/calibrate/exit_trials.h"

namespace fathom {

enum class TranslatorKind : uint8_t {
  low_rank,   ///< the ridge map on the leading directions of what it adds
  full_rank,  ///< the ridge map
  hidden,     ///< a hidden layer on top of it
};
inline constexpr int kTranslatorKinds = 3;
std::string_view name(TranslatorKind kind);
/// Of what was fitted; full rank where there is no translator.
TranslatorKind kind_of(const FittedExit& exit);

/// The rank of translators of low rank for states of this width; 0: it would not be low.
int32_t low_rank(int32_t width);

/// A matrix of so many rows in the other order: fits have rows by input, products by output.
std::vector<float> turned(std::span<const float> values, size_t rows);

/// One exit's translators, without temperatures, probe and maps.
using TranslatorKinds = std::array<FittedExit, kTranslatorKinds>;

/// All kinds at every exit: the penalty by the held-out rows, the hidden layer by them too.
///   narrowest   numbers of the narrowest feed-forward half, which bounds ranks and hidden layers
///   returns     [exits]
///   errors      argument: no rows on a side, a state that is not finite; cancelled
///   cost        7 ridge solutions and a low-rank one for each exit; at most 12 epochs over 8,192 rows, 10 d h
///               operations each; a thread for each exit
Result<std::vector<TranslatorKinds>> fit_translators(const StateCollector& states, int32_t narrowest, ThreadPool& pool,
                                                     Progress& progress);

/// Rows that are kept for hidden layers, at most, of those fitted on and of those held out.
inline constexpr int64_t kKeptRows[2] = {8192, 2048};

/// Of kinds of one exit, that which is worth most: agreement times what leaving there saves, less what it costs to
/// ask. Of equals the cheapest.
///   agreement   [kinds] with full depth, on held-out rows
///   saved       bytes of the layers above
///   bytes       [kinds] translator_bytes
TranslatorKind worth_most(std::span<const double, kTranslatorKinds> agreement, double saved,
                          std::span<const double, kTranslatorKinds> bytes);

}  // namespace fathom
