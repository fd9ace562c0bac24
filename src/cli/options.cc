// The words about wrong options: CLI11 says what is wrong, here it gets the value and the remedy. Next: main.cc.
#include "src/cli/options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstring>

namespace fathom::cli {
namespace {

// "--kv f8", or "--stop ''" where that is clearer; the values as they were given.
std::string with_values(const std::string& name, const std::vector<std::string>& values) {
  std::string text = name;
  for (const std::string& value : values) {
    const bool bare = !value.empty() && value.find_first_of(" \t") == std::string::npos;
    text += bare ? " " + value : " '" + value + "'";
  }
  return text;
}

// CLI11 begins such messages with the option's name.
const CLI::Option* option_of(const CLI::App& verb, const std::string& message) {
  return verb.get_option_no_throw(message.substr(0, message.find_first_of(": ")));
}

std::string behind(const std::string& text, const std::string& mark) {
  const size_t at = text.find(mark);
  return at == std::string::npos ? text : text.substr(at + mark.size());
}

// What is wrong, without where help is.
std::string complaint(const CLI::App& verb, const CLI::ParseError& error) {
  const std::string what = error.what(), kind = error.get_name();
  const bool extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  if (extras || kind == "RequiredError") {  // a name mistyped says more than the name that it leaves missing
    if (const auto words = verb.remaining(); !words.empty()) {
      return fmt::format("{}: not expected here: leave it out", fmt::join(words, " "));
    }
  }
  if (kind == "ConversionError" && what.rfind("Could not convert: ", 0) == 0) {
    const std::string rest = behind(what, ": ");
    const size_t equals = rest.find(" = ");
    return with_values(rest.substr(0, equals), {behind(rest, " = ")}) + ": give a number";
  }
  const CLI::Option* option = option_of(verb, what);
  if (option == nullptr) return what;
  const std::string name = option->get_name();
  if (kind == "RequiredError") return name + ": missing: give it";
  if (kind == "RequiresError") return name + ": goes only with " + behind(what, " requires ") + ": give both";
  if (kind == "ExcludesError") {
    return name + ": does not go with " + behind(what, " excludes ") + ": give one of them";
  }
  if (kind == "ArgumentMismatch" && option->results().size() > 1) {
    return with_values(name, option->results()) + ": given more than once: give it once";
  }
  if (kind == "ArgumentMismatch") {
    return fmt::format("{}: its value is missing: give one, as {}=VALUE where it begins with a dash", name, name);
  }
  return with_values(name, option->results()) + ": " + behind(what, ": ");
}

}  // namespace

std::string shell_word(const std::string& word) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || std::strchr("_@%+=:,./-", c) != nullptr; };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

void let_be_one_of(CLI::Option& option, const std::vector<std::string>& words) {
  const auto check = [words](const std::string& text) {
    const bool known = std::find(words.begin(), words.end(), text) != words.end();
    return known ? std::string() : fmt::format("give one of {}", fmt::join(words, ", "));
  };
  option.check(check, fmt::format("{{{}}}", fmt::join(words, ",")));
}

const CLI::App& chosen(const CLI::App& verb) {
  const std::vector<CLI::App*> below = verb.get_subcommands();
  return below.empty() ? verb : chosen(*below.front());
}

std::string name_of(const CLI::App& verb) {
  if (verb.get_parent() == nullptr) return {};
  const std::string above = name_of(*verb.get_parent());
  return above.empty() ? verb.get_name() : above + " " + verb.get_name();
}

std::string usage_message(const CLI::App& verb, const CLI::ParseError& error) {
  const std::string name = name_of(verb);
  return fmt::format("{}: see fathom {}--help", complaint(verb, error), name.empty() ? "" : name + " ");
}

}  // namespace fathom::cli
