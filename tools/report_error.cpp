// SPDX-License-Identifier: Apache-2.0
#include "tools/report_error.h"

#include <chrono>
#include <cstdio>
#include <thread>

namespace lockstep {

void report_error(int rank, std::string_view kind, std::string_view message) {
  if (rank > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  std::fflush(stdout);
  std::fprintf(stderr, "lockstep: %.*s: %.*s\n", static_cast<int>(kind.size()), kind.data(), static_cast<int>(message.size()),
               message.data());
  std::fflush(stderr);
}

}  // namespace lockstep
