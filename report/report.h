// Report: one page about runs and sweeps, for people: what ran, how well, where time and energy went, what went wrong.
//
// What is damaged costs only itself: a run without metrics, with cut lines, of another version gets a warning on the page.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct Report {
  std::string html;
  std::vector<std::string> warnings;  // those on the page, each with the path it is about
  int runs = 0, sweeps = 0;           // on the page
};

// `paths`: run folders and sweep folders, or files in them (metrics.jsonl, sweep.json). A folder named twice counts once. The same
// folders give the same bytes. Throws UserError when none can be read: kNoInput if none exists, else kData.
Report make_report(const std::vector<std::string>& paths);

}  // namespace lockstep
