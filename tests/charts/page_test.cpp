// Pages: self-contained, escaped; and charts for a terminal.
// SPDX-License-Identifier: Apache-2.0
#include "charts/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "tests/charts/gallery.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Page full_page() {
  Page page("A <title> & more");
  page.heading("Charts <1>");
  for (const auto& [name, chart] : chart_gallery()) page.chart(chart);
  page.heading("Maps");
  for (const auto& [name, map] : heatmap_gallery()) page.chart(map);
  page.verdict("<b>verdict</b>");
  page.warning("<b>warning</b>");
  page.preformatted("<b>pre</b>");
  page.sub_heading("<b>sub</b>");
  page.table({.header = {"<h>", "n"}, .rows = {{{.text = "<c>", .strong = true}, {.text = "1", .number = true}}}, .caption = "<caption>"});
  page.details("<summary>", {.header = {"a"}, .rows = {}, .caption = ""});
  return page;
}

TEST(Page, LoadsNothingAndRunsNothing) {
  const std::string html = full_page().html();
  for (const char* word : {"<script", "src=", "url(", "@import", "<iframe", "<object", "javascript:"})
    EXPECT_THAT(html, Not(HasSubstr(word)));
  for (std::size_t at = html.find("href=\""); at != std::string::npos; at = html.find("href=\"", at + 1))
    EXPECT_TRUE(html.compare(at + 6, 2, "#s") == 0 || html.compare(at + 6, 5, "data:") == 0) << html.substr(at, 60);
  for (std::size_t at = html.find("http"); at != std::string::npos; at = html.find("http", at + 1))
    EXPECT_EQ(html.substr(at, 26), "http://www.w3.org/2000/svg");  // a name, not a place
}

TEST(Page, EscapesAllText) {
  const std::string html = full_page().html();
  for (const char* word : {"<b>", "<h>", "<c>", "<1>", "A <title>"}) EXPECT_THAT(html, Not(HasSubstr(word)));
  EXPECT_THAT(html, HasSubstr("A &lt;title&gt; &amp; more"));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;verdict&lt;/b&gt;"));
}

TEST(Page, HasEachChartForAWideAndANarrowScreen) {
  Page page("t");
  page.chart(chart_gallery()[8].chart);
  const std::string html = page.html();
  EXPECT_THAT(html, HasSubstr("width=\"720\""));
  EXPECT_THAT(html, HasSubstr("width=\"344\""));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(html, HasSubstr("@media print"));
}

TEST(EscapeHtml, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(escape_html("a<b>&\"'\u00fc\n"), "a&lt;b&gt;&amp;&quot;&#39;\u00fc\n");
  EXPECT_EQ(escape_html("\xff"), "\uFFFD");
  EXPECT_EQ(escape_html("\xc0\xaf"), "\uFFFD\uFFFD");          // overlong
  EXPECT_EQ(escape_html("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(escape_html("\xe2\x82"), "\uFFFD\uFFFD");          // cut off
  EXPECT_EQ(escape_html(std::string("\0\x1b", 2)), "\uFFFD\uFFFD");
  EXPECT_EQ(escape_html("\U0001F600"), "\U0001F600");
}

TEST(WritePage, ReplacesTheFileAndLeavesNothingBeside) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("write_page_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "page.html").string();
  write_page(path, "one");
  write_page(path, "two");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
}

TEST(WritePage, FailureLeavesNothingBeside) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("write_page_failure_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder / "page.html");  // no file can take its name
  EXPECT_THROW(write_page((folder / "page.html").string(), "text"), EnvironmentError);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::remove_all(folder);
}

TEST(WritePage, DevicesAreWrittenToNotReplaced) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("write_page_device_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::filesystem::create_symlink("/dev/null", folder / "page.html");
  write_page((folder / "page.html").string(), "text");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "page.html"));
  std::filesystem::remove_all(folder);
}

TEST(WritePage, SaysWhereItCantWrite) {
  try {
    write_page("/nowhere/at/all/page.html", "text");
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/at/all/page.html"));
  }
}

TEST(TextChart, FitsTheTerminalAndShowsEverySeries) {
  for (const auto& [name, chart] : chart_gallery()) {
    for (const int width : {1, 40, 100}) {
      const std::string text = text_chart(chart, width, 20);
      SCOPED_TRACE(name);
      EXPECT_EQ(text_chart(chart, width, 20), text);
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);)
        if (line.find('|') != std::string::npos) {
          EXPECT_LE(line.size(), static_cast<std::size_t>(std::max(width, 40))) << line;
        }
    }
  }
  const Chart two{.title = "Two",
                  .x = {.title = "epoch"},
                  .series = {{.name = "up", .points = {{.x = 0, .y = 0}, {.x = 1, .y = 1}}},
                             {.name = "down", .points = {{.x = 0, .y = 1}, {.x = 1, .y = 0}}, .dashed = true}}};
  const std::string text = text_chart(two, 60, 12);
  EXPECT_THAT(text, HasSubstr("* up   . down"));
  EXPECT_GT(std::count(text.begin(), text.end(), '*'), 20);
  EXPECT_GT(std::count(text.begin(), text.end(), '.'), 20);
}

}  // namespace
}  // namespace lockstep::testing
