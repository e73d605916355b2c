// SPDX-License-Identifier: Apache-2.0
#include "charts/page.h"

#include <fmt/format.h>

#include <cstddef>

#include "charts/canvas.h"
#include "charts/drawing.h"

namespace lockstep {
namespace {

constexpr int kNarrowWidth = 344, kNarrowHeight = 300;  // of a telephone's 390 pixels
constexpr std::string_view kReplacement = "\uFFFD";

// Length of the UTF-8 code point at `at`, 0 if there is none (overlong, surrogate, cut off, beyond U+10FFFF).
std::size_t code_point_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0U) != 0x80) return 0;
  const unsigned second = byte(1);
  const bool bad =
      (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return bad ? 0 : length;
}

constexpr std::string_view kStyle = R"(
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1216px;padding:28px 24px 64px;font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
h1{font-size:27px;line-height:1.25;margin:0 0 14px;overflow-wrap:anywhere}
h2{font-size:20px;margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--grid);overflow-wrap:anywhere}
h3{font-size:15.5px;margin:26px 0 8px;overflow-wrap:anywhere}
p{max-width:46rem;margin:8px 0;overflow-wrap:anywhere}
nav{margin:0 0 8px;color:var(--soft)}
nav a{margin-right:18px;display:inline-block}
a{color:var(--c0);text-decoration:none}a:hover{text-decoration:underline}
.verdict,.warning{max-width:none;padding:10px 16px;border-left:4px solid var(--c2);background:var(--shade);border-radius:0 6px 6px 0}
.verdict{font-size:16.5px}
.warning{border-color:var(--c1)}.warning::before{content:"Warning: ";font-weight:600}
.scroll{overflow-x:auto;margin:10px 0 18px}
table{border-collapse:collapse;font-size:13.5px;line-height:1.4;font-variant-numeric:tabular-nums}
.caption{color:var(--soft);font-size:13.5px;margin:14px 0 0}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-bottom:1px solid var(--grid);max-width:34rem;overflow-wrap:break-word}
th{font-weight:600;color:var(--soft);border-color:var(--axis);vertical-align:bottom;max-width:22rem}
.number{text-align:right;white-space:nowrap}th.number{white-space:normal}
.strong{font-weight:650;white-space:nowrap}
pre{overflow-x:auto;font-size:12.5px;line-height:1.45;background:var(--shade);padding:12px 14px;border-radius:6px}
details{margin:10px 0}summary{cursor:pointer;color:var(--soft)}
figure{display:inline-block;vertical-align:top;margin:10px 16px 14px 0;max-width:100%}
figure svg{display:block}
.narrow{display:none}
footer{margin-top:52px;color:var(--soft);font-size:13px}
@media(max-width:640px){body{padding:18px 16px 40px}h1{font-size:22px}figure{margin-right:0}.wide{display:none}.narrow{display:block}}
@page{margin:14mm}
@media print{body{max-width:none;padding:0;font-size:10.5pt}nav{display:none}h2,h3,.caption{break-after:avoid}
figure,tr,.verdict,.warning{break-inside:avoid}.wide{display:block}.narrow{display:none}.scroll,pre{overflow:visible}
table{font-size:7.5pt}th,td,.number,.strong{white-space:normal;overflow-wrap:anywhere;padding-right:7px}
.number{overflow-wrap:normal}pre{white-space:pre-wrap}}
)";

std::string page_style() {
  const std::string light = chart_detail::colour_variables(false) + "--shade:#f5f7f9;",
                    dark = chart_detail::colour_variables(true) + "--shade:#1c2026;";
  return ":root{color-scheme:light dark;" + light + "}@media screen and (prefers-color-scheme:dark){:root{" + dark + "}}" + std::string(kStyle) +
         chart_detail::svg_style();
}

std::string cell_html(const TableCell& cell) {
  std::string classes = cell.number ? "number" : "";
  if (cell.strong) classes += classes.empty() ? "strong" : " strong";
  return (classes.empty() ? "<td>" : "<td class=\"" + classes + "\">") + escape_html(cell.text) + "</td>";
}

// A column of numbers has its heading over the numbers.
bool is_number_column(const Table& table, std::size_t column) {
  for (const auto& row : table.rows)
    if (column < row.size() && !row[column].text.empty()) return row[column].number;
  return false;
}

std::string table_html(const Table& table) {
  std::string html = table.caption.empty() ? "" : "<p class=\"caption\">" + escape_html(table.caption) + "</p>\n";  // outside: it does not scroll
  html += "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>";
  for (std::size_t column = 0; column < table.header.size(); ++column)
    html += (is_number_column(table, column) ? "<th class=\"number\">" : "<th>") + escape_html(table.header[column]) + "</th>";
  html += "</tr></thead><tbody>";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (const TableCell& cell : row) html += cell_html(cell);
    html += "</tr>";
  }
  return html + "</tbody></table></div>\n";
}

template <class Picture>
std::string figure_html(const Picture& picture) {
  Picture narrow = picture;
  narrow.width = kNarrowWidth;
  narrow.height = kNarrowHeight;
  return "<figure><div class=\"wide\">" + chart_detail::draw(picture, false, true) + "</div><div class=\"narrow\">" +
         chart_detail::draw(narrow, false, false) + "</div></figure>\n";
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = code_point_length(text, i);
    const char c = text[i];
    const bool control = length == 1 && static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\t';
    if (length == 0 || control || c == 127) {
      out += kReplacement;
      ++i;
      continue;
    }
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

Page::Page(std::string title) : title_(std::move(title)) {}

void Page::heading(std::string_view text) {
  sections_.emplace_back(text);
  body_ += fmt::format("<h2 id=\"s{}\">{}</h2>\n", sections_.size(), escape_html(text));
}

void Page::sub_heading(std::string_view text) { body_ += "<h3>" + escape_html(text) + "</h3>\n"; }
void Page::paragraph(std::string_view text) { body_ += "<p>" + escape_html(text) + "</p>\n"; }
void Page::verdict(std::string_view text) { body_ += "<p class=\"verdict\">" + escape_html(text) + "</p>\n"; }
void Page::warning(std::string_view text) { body_ += "<p class=\"warning\">" + escape_html(text) + "</p>\n"; }
void Page::preformatted(std::string_view text) { body_ += "<pre tabindex=\"0\">" + escape_html(text) + "</pre>\n"; }
void Page::table(const Table& table) { body_ += table_html(table); }
void Page::chart(const Chart& chart) { body_ += figure_html(chart); }
void Page::chart(const Heatmap& map) { body_ += figure_html(map); }

void Page::details(std::string_view summary, const Table& table) {
  body_ += "<details><summary>" + escape_html(summary) + "</summary>" + table_html(table) + "</details>\n";
}

std::string Page::html() const {
  std::string nav;
  for (std::size_t i = 0; sections_.size() > 1 && i < sections_.size(); ++i)
    nav += fmt::format("<a href=\"#s{}\">{}</a>", i + 1, escape_html(sections_[i]));
  if (!nav.empty()) nav = "<nav aria-label=\"sections\">" + nav + "</nav>\n";
  const std::string title = escape_html(title_);
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
         "content=\"width=device-width,initial-scale=1\">\n"
         "<link rel=\"icon\" href=\"data:,\">\n<title>" +
         title + "</title>\n<style>" + page_style() + "</style>\n</head>\n<body>\n<header><h1>" + title + "</h1></header>\n" + nav + "<main>\n" +
         body_ + "</main>\n</body>\n</html>\n";
}

}  // namespace lockstep
