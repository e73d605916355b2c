// Removing the superseded lines of a text file before a run is resumed. Private to train/metrics.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace lockstep::metrics_detail {

// Rewrites `path` with only the whole lines for which `keep` is true (the line without its end is passed); a last line
// without end is dropped. Written aside and renamed: after a crash the old or the new file is there. No file: nothing
// happens. Throws EnvironmentError if the folder can't be written.
void keep_lines(const std::string& path, const std::function<bool(const std::string& line)>& keep);

}  // namespace lockstep::metrics_detail
