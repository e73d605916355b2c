// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "charts/chart.h"
#include "core/error.h"

namespace lockstep {

void write_page(const std::string& path, const std::string& text) {
  std::error_code none;
  const bool in_place = std::filesystem::exists(path, none) && !std::filesystem::is_regular_file(path, none);
  const std::string target = in_place ? path : path + ".tmp" + std::to_string(getpid());
  errno = 0;
  std::ofstream file(target, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file && (in_place || std::rename(target.c_str(), path.c_str()) == 0)) return;
  const int error_number = errno;
  if (!in_place) std::remove(target.c_str());
  throw_errno("write", path, error_number, ExitCode::kCantCreate);
}

}  // namespace lockstep
