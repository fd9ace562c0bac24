// Values that options take, and what is said about wrong ones. Next: command.h, which the verbs share.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::cli {

/// A whole number, nothing before or behind it; null: it is none, or too large for T.
template <class T>
std::optional<T> whole_number(std::string_view text) {
  const char* const end = text.data() + text.size();
  T value{};
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end ? std::optional<T>(value) : std::nullopt;
}

/// An option that is a whole number in [least, most].
template <class T>
CLI::Option* add_whole_number(CLI::App& verb, const std::string& names, T& value, const std::string& help,
                              T least = std::numeric_limits<T>::min(), T most = std::numeric_limits<T>::max()) {
  const std::string name = names.substr(names.rfind(',') + 1);
  const auto set = [name, &value, least, most](const std::string& text) {
    const std::optional<T> read = whole_number<T>(text);
    if (!read || *read < least || *read > most) {
      throw CLI::ValidationError(name, fmt::format("give a whole number from {} to {}", least, most));
    }
    value = *read;
  };
  return verb.add_option_function<std::string>(names, set, help)
      ->type_name("INT")
      ->default_str(fmt::format("{}", value));
}

/// A word as a POSIX shell reads it back: as it is, or in single quotes.
std::string shell_word(const std::string& word);

/// Lets an option be one of some words.
void let_be_one_of(CLI::Option& option, const std::vector<std::string>& words);

/// The verb that a command line came to: `verb`, or the one below it that was given.
const CLI::App& chosen(const CLI::App& verb);
/// Its name as it is typed: "replay", "policy list"; empty: the command itself.
std::string name_of(const CLI::App& verb);

/// What is wrong with a command line, for people: option, value, remedy. `verb` is the one the error was met in, or
/// the command itself.
std::string usage_message(const CLI::App& verb, const CLI::ParseError& error);

}  // namespace fathom::cli
