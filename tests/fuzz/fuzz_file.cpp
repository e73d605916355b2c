// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

namespace lockstep::test {

FuzzFile::FuzzFile(std::span<const std::uint8_t> bytes) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  path_ = "/proc/self/fd/" + std::to_string(fd_);
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd_, bytes.data(), bytes.size());
    fuzz_check(wrote > 0);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
}

FuzzFile::~FuzzFile() { ::close(fd_); }

}  // namespace lockstep::test
