// Which kind of translator an exit gets. Next: tests/calibrate/exit_trials_test.cc.
#include "src/calibrate/translator_fitting.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

using Of = std::array<double, kTranslatorKinds>;

TEST(TranslatorKinds, WhatAgreesMoreStaysUnlessItsBytesEatWhatLeavingSaves) {
  const Of bytes = {10, 40, 60};
  EXPECT_EQ(worth_most(Of{.50, .55, .60}, 1000, bytes), TranslatorKind::hidden);
  EXPECT_EQ(worth_most(Of{.50, .55, .56}, 1000, bytes), TranslatorKind::full_rank) << "20 bytes for 10";
  EXPECT_EQ(worth_most(Of{.50, .51, .52}, 1000, bytes), TranslatorKind::low_rank);
  EXPECT_EQ(worth_most(Of{.50, .55, .60}, 100, bytes), TranslatorKind::low_rank) << "little is saved above";
}

TEST(TranslatorKinds, OfEqualsTheCheapestStays) {
  EXPECT_EQ(worth_most(Of{.5, .5, .5}, 1000, Of{40, 40, 40}), TranslatorKind::low_rank);
  EXPECT_EQ(worth_most(Of{.5, .54, .5}, 1000, Of{10, 50, 60}), TranslatorKind::low_rank);
}

TEST(TranslatorKinds, AreToldByWhatWasFittedNotByWhereItStands) {
  FittedExit exit;
  exit.translator.resize(16), exit.bias.resize(4);
  EXPECT_EQ(name(kind_of(exit)), "full rank");
  exit.hidden.offset.resize(2);
  EXPECT_EQ(name(kind_of(exit)), "hidden layer");
  exit.hidden = {}, exit.up.resize(8);
  EXPECT_EQ(name(kind_of(exit)), "low rank");
}

TEST(TranslatorKinds, BytesAreThoseOfTheirMatrices) {
  FittedExit exit;
  exit.translator.resize(12), exit.up.resize(5), exit.hidden.first.resize(7), exit.hidden.second.resize(8);
  EXPECT_EQ(translator_bytes(exit), 2 * (12 + 5 + 7 + 8));
}

}  // namespace
}  // namespace fathom
