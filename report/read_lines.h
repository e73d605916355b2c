// Reading files that nobody vouches for: of any size, cut off, or not files at all. Private to report.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep::report_detail {

inline constexpr std::size_t kLongestLine = std::size_t{1} << 20;

struct LineCount {
  bool readable = false;       // a plain file that could be read to its end
  std::size_t lines = 0;       // whole ones
  std::size_t too_long = 0;    // passed over
  bool ends_within_line = false;
};

// Calls `use` with each line, the last one too where its end is missing (`whole` is false then). Needs no more memory than a line.
LineCount for_each_line(const std::string& path, const std::function<void(std::string_view line, bool whole)>& use);

// A small text file; nothing when it is missing, not a plain file, unreadable or larger than 16 MiB.
std::optional<std::string> read_small_file(const std::string& path);

}  // namespace lockstep::report_detail
