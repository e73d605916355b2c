// Filter, write aside, rename.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/keep_lines.h"

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "core/error.h"

namespace lockstep::metrics_detail {

void keep_lines(const std::string& path, const std::function<bool(const std::string& line)>& keep) {
  std::ifstream old_file(path, std::ios::binary);
  if (!old_file) return;
  const std::string aside = path + ".tmp";
  std::ofstream new_file(aside, std::ios::binary | std::ios::trunc);
  if (!new_file) throw_errno("open", aside, errno, ExitCode::kCantCreate);
  for (std::string line; std::getline(old_file, line);) {
    if (old_file.eof()) break;  // no line end: cut off by a crash
    if (keep(line)) new_file << line << '\n';
  }
  new_file.close();
  if (!new_file || old_file.bad()) {
    const int error = errno;
    std::remove(aside.c_str());
    throw_errno("write", aside, error);
  }
  if (std::rename(aside.c_str(), path.c_str()) != 0) throw_errno("rename", aside, errno);
}

}  // namespace lockstep::metrics_detail
