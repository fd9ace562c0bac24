// Escaping, the words of numbers, and the few elements that reports are made of.
#include "src/calibrate/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/text/utf8.h"

namespace fathom::html {
namespace {

enum class Whitespace : uint8_t { shown, kept, shown_and_kept };

constexpr std::string_view kDash = "\xE2\x80\x93";
constexpr std::string_view kThinSpace = "\xE2\x80\xAF";  // U+202F, does not break

// Embeddings, overrides, isolates and marks of direction; they would reorder the page around them.
bool turns_direction(uint32_t c) {
  return c == 0x61C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

void append_escaped(std::string& dst, uint32_t c, Whitespace whitespace) {
  switch (c) {
    case '&':
      dst += "&amp;";
      return;
    case '<':
      dst += "&lt;";
      return;
    case '>':
      dst += "&gt;";
      return;
    case '"':
      dst += "&quot;";
      return;
    case '\'':
      dst += "&#39;";
      return;
    default:
      break;
  }
  if (c == '\n' || c == '\t') {
    if (whitespace != Whitespace::kept) dst += c == '\n' ? "\xE2\x8F\x8E" : "\xE2\x87\xA5";  // U+23CE, U+21E5
    if (whitespace != Whitespace::shown) dst += static_cast<char>(c);
  } else if (c < 0x20) {
    text::append_code_point(dst, 0x2400 + c);  // its picture
  } else if (c == 0x7F) {
    text::append_code_point(dst, 0x2421);
  } else if ((c >= 0x80 && c < 0xA0) || turns_direction(c) || c == 0x2028 || c == 0x2029 || c == 0xFEFF ||
             (c & 0xFFFE) == 0xFFFE) {
    dst += fmt::format("[U+{:04X}]", c);
  } else {
    text::append_code_point(dst, c);
  }
}

std::string escaped(std::string_view bytes, Whitespace whitespace) {
  std::string storage, dst;
  const std::string_view text = text::valid_text(bytes, storage);
  dst.reserve(text.size() + text.size() / 8);
  for (size_t i = 0; i < text.size(); i += text::char_bytes(static_cast<unsigned char>(text[i]))) {
    append_escaped(dst, text::code_point(text.data() + i), whitespace);
  }
  return dst;
}

std::string grouped(std::string digits) {
  for (auto at = static_cast<ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), kThinSpace);
  }
  return digits;
}

}  // namespace

std::string escape(std::string_view text) { return escaped(text, Whitespace::shown); }
std::string escape_lines(std::string_view text) { return escaped(text, Whitespace::kept); }
std::string escape_token(std::string_view text) { return escaped(text, Whitespace::shown_and_kept); }
std::string isolated(std::string_view text) { return "<bdi>" + escape(text) + "</bdi>"; }
std::string code(std::string_view text) { return "<code>" + escape(text) + "</code>"; }

std::string escape_short(std::string_view bytes, size_t most) {
  std::string storage;
  const std::string_view text = text::valid_text(bytes, storage);
  size_t n = 0, cut = 0;  // bytes before the last character that has room
  for (size_t i = 0; i < text.size(); i += text::char_bytes(static_cast<unsigned char>(text[i]))) {
    if (++n == most) cut = i;
    if (n > most) return escape(text.substr(0, cut)) + "\xE2\x80\xA6";
  }
  return escape(text);
}

std::string percent(std::optional<double> share) {
  if (!share) return std::string(kDash);
  const double x = *share * 100;
  const double size = std::abs(x);
  if (size > 0 && size < .005) return fmt::format("{:.1g}{}%", x, kThinSpace);
  const int decimals = x == 0 || size == 100 ? 0 : size < 1 ? 2 : size < 100 && size > 99.9 ? 2 : 1;
  return fmt::format("{:.{}f}{}%", x, decimals, kThinSpace);
}

std::string percent_asked(double share) { return fmt::format("{:.6g}{}%", share * 100, kThinSpace); }

std::string number(std::optional<double> value, int digits) {
  if (!value) return std::string(kDash);
  const double x = *value, size = std::abs(x);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return fmt::format("{:.{}g}", x, digits);
  if (x == std::floor(x)) return count(static_cast<int64_t>(x));
  const int before =
      1 + static_cast<int>(std::floor(std::log10(size)));  // digits before the point; below 1 none and less
  return fmt::format("{:.{}f}", x, std::max(digits - before, 0));
}

std::string count(std::optional<int64_t> n) {
  if (!n) return std::string(kDash);
  const std::string digits = fmt::to_string(*n < 0 ? -*n : *n);
  return (*n < 0 ? "-" : "") + (digits.size() > 4 ? grouped(digits) : digits);
}

std::string ratio(double value) { return fmt::format("{:.2f}\xC3\x97", value); }

void Table::row(std::vector<std::string> cells, bool chosen) {
  rows_ += chosen ? "<tr class=\"chosen\">" : "<tr>";
  for (size_t i = 0; i < cells.size(); ++i) {
    const bool numeric = i < columns_.size() && columns_[i].numeric;
    const char* const tag = i == 0 ? "th" : "td";
    rows_ += fmt::format("<{}{}{}>{}</{}>", tag, i == 0 ? " scope=\"row\"" : "", numeric ? " class=\"n\"" : "",
                         cells[i], tag);
  }
  rows_ += "</tr>\n";
  ++n_rows_;
}

std::string Table::html() const {
  std::string head;
  for (const Column& column : columns_) {
    head += fmt::format("<th scope=\"col\"{}>{}</th>", column.numeric ? " class=\"n\"" : "", column.title);
  }
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{0}\"><table><caption><span>{0}</span></caption>"
      "<thead><tr>{1}</tr></thead>\n<tbody>\n{2}</tbody></table></div>\n",
      escape(caption_), head, rows_);
}

std::string details(std::string_view summary, std::string_view body, bool open) {
  return fmt::format("<details{}><summary>{}</summary>\n{}</details>\n", open ? " open" : "", summary, body);
}

std::string paragraph(std::string_view body, std::string_view css_class) {
  if (css_class.empty()) return fmt::format("<p>{}</p>\n", body);
  return fmt::format("<p class=\"{}\">{}</p>\n", css_class, body);
}

std::string figure(std::string_view caption, std::string_view body, std::string_view note) {
  const std::string under = note.empty() ? "" : paragraph(note, "note");
  return fmt::format("<figure><figcaption>{}</figcaption>\n{}{}</figure>\n", caption, body, under);
}

std::string grid(const std::vector<std::string>& figures) {
  std::string all = figures.size() == 1 ? "<div class=\"grid one\">\n" : "<div class=\"grid\">\n";
  for (const std::string& one : figures) all += one;
  return all + "</div>\n";
}

std::string ramp_class(double level) { return fmt::format("q{}", std::clamp(static_cast<int>(level * 10), 0, 9)); }

std::string shaded_text(const std::vector<ShadedToken>& tokens, std::string_view id, std::string_view label) {
  std::string text =
      fmt::format("<div class=\"text\" dir=\"auto\" id=\"{}\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">",
                  escape(id), escape(label));
  for (const ShadedToken& token : tokens) {
    text += fmt::format("<span class=\"{}{}\">{}</span>", token.level ? ramp_class(*token.level) : "qx",
                        token.marked ? " wrong" : "", escape_token(token.text));
  }
  return text + "</div>\n";
}

}  // namespace fathom::html
