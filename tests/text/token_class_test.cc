// Which class a token's bytes are of.
#include "fathom/text/token_class.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

TEST(TokenClass, IsTheFirstThatFits) {
  using enum TokenClass;
  const std::pair<const char*, TokenClass> cases[] = {
      {"7", digits},         {" 1984", digits},   {"v2", digits},         {"(", delimiters},  {");", delimiters},
      {" =", delimiters},    {"\"", delimiters},  {",", delimiters},      {".", punctuation}, {"?!", punctuation},
      {" the", word_begins}, {"ing", word_parts}, {"n't", word_parts},    {"\n\n", spaces},   {" ", spaces},
      {"", other},           {"\xC3\xA9", other}, {"caf\xC3\xA9", other}, {"\x01", other}};
  for (const auto& [piece, want] : cases) {
    EXPECT_EQ(class_of(piece), want) << "'" << piece << "' is of " << kTokenClassNames[size_t(class_of(piece))];
  }
}

TEST(TokenClass, OfEveryTokenIsThatOfItsPiece) {
  const Model model = testing::tiny_model({});
  const std::vector<TokenClass> classes = classes_of(model.tokenizer());
  ASSERT_EQ(std::ssize(classes), model.tokenizer().vocab());
  for (int32_t id = 0; id < model.tokenizer().vocab(); ++id) {
    EXPECT_EQ(classes[size_t(id)], class_of(model.tokenizer().piece(id)));
  }
}

}  // namespace
}  // namespace fathom
