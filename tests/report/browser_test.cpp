// Pages as a reader sees them: tests/report/browser_check.py shows them in a headless Chromium and measures. Skipped without one.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "charts/page.h"
#include "report/report.h"
#include "tests/charts/gallery.h"
#include "tests/report/fixtures.h"

namespace lockstep::testing {
namespace {

constexpr int kNoBrowser = 77;

// The script's exit code; what it says goes to the file `said`. $LOCKSTEP_PICTURES: a folder for pictures of the pages.
int check(const std::vector<std::string>& pages, const std::string& said) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  std::string command = std::string("python3 '") + (source != nullptr ? source : ".") + "/tests/report/browser_check.py'";
  if (const char* pictures = std::getenv("LOCKSTEP_PICTURES")) command += std::string(" --keep '") + pictures + "'";
  for (const std::string& page : pages) command += " '" + page + "'";
  const int status = std::system((command + " > '" + said + "' 2>&1").c_str());  // NOLINT: paths are ours
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string gallery_page() {
  Page page("All kinds of charts");
  page.heading("Charts");
  for (auto [name, chart] : chart_gallery()) {
    chart.width = 560;
    chart.height = 370;
    page.chart(chart);
  }
  page.heading("Maps");
  for (const auto& [name, map] : heatmap_gallery()) page.chart(map);
  page.verdict("A verdict.");
  page.preformatted(text_chart(chart_gallery()[8].chart));
  return page.html();
}

TEST(Browser, PagesAreWholeOnScreenOnATelephoneInTheDarkAndInPrint) {
  TestFolder folder;
  write_text(folder / "gallery.html", gallery_page());
  make_run(folder / "fashion");
  make_run(folder / "fashion_large_batch", {.batch = 1024, .lr = 1.6, .images_per_second = 1800, .loss = 2.4, .final_top1 = 0.915, .energy = false});
  make_run(folder / "<b>a run with a name that is quite a bit longer than one would think it wise to give to a folder<b>",
           {.batch = 256, .epochs = 7, .band = false, .resumed = false, .noise = false});
  write_text(folder / "cut/metrics.jsonl", "{\"t\":1,\"step\":5,\"ep");
  write_text(folder / "sweep/sweep.json", sweep_json(made_sweep()));
  const std::string long_name = folder / "<b>a run with a name that is quite a bit longer than one would think it wise to give to a folder<b>";
  write_text(folder / "runs.html", make_report({folder / "fashion", folder / "fashion_large_batch", long_name, folder / "cut"}).html);
  write_text(folder / "run.html", make_report({folder / "fashion"}).html);
  write_text(folder / "sweep.html", make_report({folder / "sweep"}).html);
  std::vector<std::string> many;
  for (int i = 0; i < 9; ++i) {
    many.push_back(folder / std::string("many_runs_of_one_kind_").append(std::to_string(i)));
    make_run(many.back(), {.batch = 32 << i, .lr = 0.1 * (i + 1), .epochs = 5});
  }
  write_text(folder / "many.html", make_report(many).html);
  const int code =
      check({folder / "gallery.html", folder / "runs.html", folder / "run.html", folder / "sweep.html", folder / "many.html"}, folder / "said");
  if (code == kNoBrowser) GTEST_SKIP() << read_text(folder / "said");
  EXPECT_EQ(code, 0) << read_text(folder / "said");
}

// The measurement must be able to fail: each of these pages has one fault.
TEST(Browser, FaultsAreFound) {
  TestFolder folder;
  const auto page = [](const std::string& body) {
    return "<!DOCTYPE html><meta charset=utf-8><link rel=icon href='data:,'><style>body{margin:0;background:#fff}</style><p>text</p>" + body;
  };
  const std::vector<std::pair<std::string, std::string>> faults{
      {"is cut off", "<svg width=200 height=100><text x=150 y=50>much too long a text</text></svg>"},
      {"is on text", "<svg width=200 height=100><text x=20 y=50>one</text><text x=25 y=52>two</text></svg>"},
      {"a contrast of", "<svg width=200 height=100><text x=20 y=50 fill='#ccc'>pale</text></svg>"},
      {"the page is", "<div style='width:3000px'>wide</div>"},
      {"console: ", "<script>console.error('oh')</script>"},
      {"asks for", "<img src='missing.png'>"}};
  std::vector<std::string> pages;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    pages.push_back(folder / (std::string("fault").append(std::to_string(i)).append(".html")));
    write_text(pages.back(), page(faults[i].second));
  }
  const int code = check(pages, folder / "said");
  if (code == kNoBrowser) GTEST_SKIP() << read_text(folder / "said");
  EXPECT_EQ(code, 1);
  for (std::size_t i = 0; i < faults.size(); ++i)
    EXPECT_THAT(read_text(folder / "said"),
                ::testing::ContainsRegex("fault" + std::to_string(i) + ".html at 1280 light screen: .*" + faults[i].first));
}

}  // namespace
}  // namespace lockstep::testing
