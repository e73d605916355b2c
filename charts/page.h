// Page: one self-contained HTML file: headings, paragraphs, tables, charts. Nothing is loaded from anywhere and there is no script. It
// fits a screen and a telephone (each chart is drawn twice, the style shows one), light or dark as the reader's system says, and prints.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "charts/chart.h"

namespace lockstep {

// For text and attributes, in HTML and XML. What is not UTF-8, and control characters, become U+FFFD.
std::string escape_html(std::string_view text);

struct TableCell {
  std::string text;
  bool number = false;   // right-aligned
  bool strong = false;
};

struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<TableCell>> rows;  // each as long as the header
  std::string caption;
};

class Page {
 public:
  explicit Page(std::string title);
  void heading(std::string_view text);            // a section, in the page's table of contents
  void sub_heading(std::string_view text);
  void paragraph(std::string_view text);          // escaped
  void verdict(std::string_view text);            // a paragraph that stands out: the answer
  void warning(std::string_view text);
  void preformatted(std::string_view text);
  void table(const Table& table);                 // scrolls sideways when it is wide
  void details(std::string_view summary, const Table& table);  // folded away, in print too
  void chart(const Chart& chart);                 // charts that follow each other stand side by side where there is room
  void chart(const Heatmap& map);
  // <!DOCTYPE html> ... </html>; styles inside, light and dark, print rules.
  std::string html() const;

 private:
  std::string title_;
  std::string body_;
  std::vector<std::string> sections_;
};

}  // namespace lockstep
