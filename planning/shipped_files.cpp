// SPDX-License-Identifier: Apache-2.0
#include "planning/shipped_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/suggest.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargest = std::size_t{1} << 20;
constexpr std::string_view kEnding = ".pbtxt";

// Where configs/ may be, the likeliest first.
std::vector<fs::path> config_folders() {
  std::vector<fs::path> folders;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) {
    folders.push_back(program.parent_path().parent_path() / "share" / "lockstep" / "configs");
    for (fs::path above = program.parent_path(); above.has_relative_path(); above = above.parent_path()) folders.push_back(above / "configs");
  }
  folders.emplace_back(fs::path(LOCKSTEP_CONFIGS_OF_THE_BUILD));
  return folders;
}

// The first of them that has such a folder; empty: none.
fs::path find_folder(std::string_view folder) {
  for (const fs::path& each : config_folders()) {
    std::error_code ignored;
    if (fs::is_directory(each / folder, ignored)) return each / folder;
  }
  return {};
}

std::string read_small_file(std::string_view kind, const std::string& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored))
    throw UserError(fmt::format("{} {}: there is no such file\n  give a name or the path of a description in text format", kind, path),
                    ExitCode::kNoInput);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_errno("open", path, errno, ExitCode::kNoInput);
  std::string text(kLargest + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad()) throw_errno("read", path, errno);
  if (text.size() > kLargest) throw UserError(fmt::format("{} {}: larger than 1 MiB: it is no description", kind, path));
  return text;
}

bool is_path(const std::string& name) { return name.find('/') != std::string::npos || name.ends_with(kEnding); }

}  // namespace

std::vector<std::string> shipped_names(std::string_view folder) {
  std::vector<std::string> names;
  const fs::path found = find_folder(folder);
  if (found.empty()) return names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(found, error))
    if (entry.path().extension() == kEnding) names.push_back(entry.path().stem().string());
  std::ranges::sort(names);
  return names;
}

NamedText read_shipped(std::string_view kind, std::string_view folder, const std::string& name_or_path) {
  if (is_path(name_or_path)) return {name_or_path, read_small_file(kind, name_or_path)};
  const std::vector<std::string> names = shipped_names(folder);
  if (std::ranges::find(names, name_or_path) == names.end()) {
    const std::string near = nearest(name_or_path, names);
    throw UserError(fmt::format("there is no {} \"{}\"{}\n  {}s: {}\n  or give the path of a file such as those in configs/{}", kind, name_or_path,
                                near.empty() ? "" : fmt::format("\n  did you mean \"{}\"?", near), kind,
                                names.empty() ? "none (configs/ was not found)" : fmt::format("{}", fmt::join(names, ", ")), folder));
  }
  const std::string path = (find_folder(folder) / (name_or_path + std::string(kEnding))).string();
  return {path, read_small_file(kind, path)};
}

}  // namespace lockstep
