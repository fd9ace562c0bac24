// Real models, where `./dev model NAME` has put them. Next: the tests of golden/.
#pragma once

#include <optional>
#include <string>

#include "fathom/model/model.h"

namespace fathom::testing {

/// The path of a model by name, a file or a folder; empty when it is not in the cache.
std::string real_model_path(const std::string& name);

/// The model, opened once for each (name, numerics, target); nothing when it is not in the cache.
std::optional<Model> real_model(const std::string& name, const OpenOptions& options = {.threads = 2});

}  // namespace fathom::testing

/// Leaves a test as skipped, with its reason, when a real model is absent.
#define FATHOM_NEEDS_MODEL(name)                                                  \
  if (::fathom::testing::real_model_path(name).empty()) {                         \
    GTEST_SKIP() << "model " << (name) << " is not here: ./dev model " << (name); \
  }
