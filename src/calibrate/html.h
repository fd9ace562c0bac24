// Text, numbers and tables as HTML. Whatever comes from a file goes through escape(). Next: html.cc, then svg.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::html {

/// Text for an element or an attribute in quotes, also inside SVG. What would steer a reader's display and not be read
/// (control characters, marks that turn the direction of text) becomes a visible sign; bytes that are no UTF-8, U+FFFD.
std::string escape(std::string_view text);
/// The same, but newlines and tabs stay, for <pre>.
std::string escape_lines(std::string_view text);
/// A token in running text: newlines and tabs are shown and obeyed.
std::string escape_token(std::string_view text);
/// escape() where text of another direction must not disturb what is around it.
std::string isolated(std::string_view text);
/// escape() of at most `most` characters, the last an ellipsis where there are more.
std::string escape_short(std::string_view text, size_t most);

/// Numbers as people read them: "1.9 %", "4.31", "12 345", "1.94×"; not measured: a dash.
std::string percent(std::optional<double> share);
/// One that was asked for and not measured: "2 %".
std::string percent_asked(double share);
std::string number(std::optional<double> value, int digits = 3);
std::string count(std::optional<int64_t> n);
std::string ratio(double value);

/// `<code>` with escaped text.
std::string code(std::string_view text);

/// A table that scrolls sideways where the page is narrow. Cells are HTML.
class Table {
 public:
  struct Column {
    std::string title;  // HTML
    bool numeric = false;
  };
  Table(std::string caption, std::vector<Column> columns)
      : caption_(std::move(caption)), columns_(std::move(columns)) {}
  /// The first cell names the row.
  void row(std::vector<std::string> cells, bool chosen = false);
  bool empty() const { return rows_.empty(); }
  size_t size() const { return n_rows_; }
  std::string html() const;

 private:
  std::string caption_;
  std::vector<Column> columns_;
  std::string rows_;
  size_t n_rows_ = 0;
};

/// Folded up under a line; opened for print.
std::string details(std::string_view summary, std::string_view body, bool open = false);
std::string paragraph(std::string_view body, std::string_view css_class = {});
/// `<figure>` with its caption above. Both HTML.
std::string figure(std::string_view caption, std::string_view body, std::string_view note = {});
/// Figures side by side where there is room.
std::string grid(const std::vector<std::string>& figures);

/// Text in which each token has a ground that says how deep it went.
struct ShadedToken {
  std::string_view text;
  std::optional<double> level = {};  // 0 to 1; null: unknown
  bool marked = false;               // underlined: wrong, whatever colours can be seen
};
std::string shaded_text(const std::vector<ShadedToken>& tokens, std::string_view id, std::string_view label);

/// The step of the ramp of ten, "q0" to "q9", for a level from 0 to 1.
std::string ramp_class(double level);

}  // namespace fathom::html
