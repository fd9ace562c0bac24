// docs/policies.md says what the code does: the table of stages, the error messages and the texts it shows.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "fathom/policy/policy.h"

namespace fathom {
namespace {

std::string page() {
  std::ifstream file(FATHOM_POLICIES_PAGE);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PoliciesPage, ShowsTheTableOfStages) {
  EXPECT_NE(page().find("```text\n" + stage_help() + "```"), std::string::npos) << "put this into docs/policies.md:\n"
                                                                                << stage_help();
}

TEST(PoliciesPage, ShowsTheCanonicalTextOfItsFirstExample) {
  const Policy policy = skip_when{.similarity_above = 0.995f} | exit_when{.confidence_at_least = 0.90f} |
                        budget{.of_full = 0.60f} | min_depth{.layers = 6};
  EXPECT_NE(page().find("    " + policy.text() + "\n"), std::string::npos) << policy.text();
}

TEST(PoliciesPage, ShowsTheMessagesOfItsMalformedTexts) {
  std::istringstream lines(page());
  int n_shown = 0;
  for (std::string line; std::getline(lines, line);) {
    const size_t said = line.find("policy, column ");
    if (!line.starts_with("    ") || said == std::string::npos) continue;
    const auto read = Policy::parse(line.substr(4, said - 4));
    ASSERT_FALSE(read.has_value()) << line;
    EXPECT_EQ(read.error().message, line.substr(said));
    ++n_shown;
  }
  EXPECT_EQ(n_shown, 4);
}

}  // namespace
}  // namespace fathom
