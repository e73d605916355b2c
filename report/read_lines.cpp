// SPDX-License-Identifier: Apache-2.0
#include "report/read_lines.h"

#include <filesystem>
#include <fstream>
#include <vector>

namespace lockstep::report_detail {
namespace {
namespace fs = std::filesystem;
constexpr std::size_t kChunk = std::size_t{1} << 16;
constexpr std::uintmax_t kSmallFile = std::uintmax_t{16} << 20;

// Opening something else, a pipe say, might block.
bool is_plain_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && !error;
}
}  // namespace

LineCount for_each_line(const std::string& path, const std::function<void(std::string_view line, bool whole)>& use) {
  LineCount count;
  if (!is_plain_file(path)) return count;
  std::ifstream file(path, std::ios::binary);
  if (!file) return count;
  std::vector<char> chunk(kChunk);
  std::string line;
  bool skipping = false;  // within a line that is too long
  while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), file.gcount() > 0) {
    std::string_view rest(chunk.data(), static_cast<std::size_t>(file.gcount()));
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      if (!skipping) line.append(rest.substr(0, end));
      if (line.size() > kLongestLine) skipping = true, line.clear();
      if (end == std::string_view::npos) break;
      count.too_long += skipping;
      ++count.lines;
      if (!skipping) use(line, true);
      skipping = false;
      line.clear();
      rest.remove_prefix(end + 1);
    }
  }
  count.readable = file.eof();
  count.ends_within_line = skipping || !line.empty();
  count.too_long += skipping;
  if (!line.empty()) use(line, false);
  return count;
}

std::optional<std::string> read_small_file(const std::string& path) {
  std::error_code error;
  if (!is_plain_file(path) || fs::file_size(path, error) > kSmallFile || error) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return file.bad() || !file.is_open() ? std::nullopt : std::optional(std::move(text));
}

}  // namespace lockstep::report_detail
