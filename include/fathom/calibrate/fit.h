// The fits of calibration: pure functions of rows of numbers, with no engine in them, in one thread, and the same bits
// for the same input, seed, build and machine (Eigen cuts large products by the caches that it finds). In the order in
// which `calibrate` runs them:
//
//   hidden states -> ridge.h (translators: affine) -> mlp.h (with a hidden layer) -> temperature.h (their heads' T)
//   features of rows -> logistic.h (routers) ----+
//   signals of rows -----------------------------+-> agreement.h (score -> P(agrees with full depth)) -> thresholds
#pragma once

#include "fathom/calibrate/agreement.h"
#include "fathom/calibrate/logistic.h"
#include "fathom/calibrate/mlp.h"
#include "fathom/calibrate/ridge.h"
#include "fathom/calibrate/temperature.h"
