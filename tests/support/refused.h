// What is wrong is refused with a message of one line that names it. Used by tests of what is read.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fathom/core/result.h"

namespace fathom::testing {

/// The result is an error of this code, in one line that has all the words.
template <class T>
void expect_refused(const Result<T>& result, ErrorCode code, const std::vector<const char*>& words) {
  if (result) {
    ADD_FAILURE() << "was opened";
    return;
  }
  const std::string& message = result.error().message;
  EXPECT_EQ(result.error().code, code) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const char* word : words) EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
}

}  // namespace fathom::testing
