// SPDX-License-Identifier: Apache-2.0
#include "data/random_access.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "data/files.h"

namespace lockstep {

DiskFile::DiskFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a named pipe must not wait for its writer; it changes nothing for a regular file.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0)
    no_input(path, std::strerror(errno), errno == EMFILE ? "Raise the limit of open files: ulimit -n" : "Check the path and its permissions.");
  struct stat status = {};
  const bool known = ::fstat(fd_, &status) == 0;
  const int reason = errno;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_RANDOM);
    return;
  }
  ::close(fd_);  // the destructor does not run
  if (!known) throw_errno("fstat", path, reason);
  no_input(path, "it is not a regular file", "Check the path.");
}

DiskFile::~DiskFile() { ::close(fd_); }

void DiskFile::read(std::uint64_t offset, void* to, std::size_t count) const {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n = ::pread(fd_, static_cast<char*>(to) + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno("read", path_, errno);
    if (n == 0)
      bad_data(path_, "file shrank while it was in use", fmt::format("an end at byte {}", offset + done),
               fmt::format("{} bytes from {} on", count, offset), "The data must not change while it is in use.");
    done += static_cast<std::size_t>(n);
  }
}

void DiskFile::will_read(std::uint64_t offset, std::uint64_t count) const {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(count), POSIX_FADV_WILLNEED);
}

void MemoryFile::read(std::uint64_t offset, void* to, std::size_t count) const {
  LS_CHECK(offset <= bytes_.size() && count <= bytes_.size() - offset, fmt::format("{} bytes at {} of {}", count, offset, bytes_.size()));
  std::copy_n(bytes_.data() + offset, count, static_cast<std::uint8_t*>(to));
}

ByteRange ByteRange::window(std::uint64_t offset, std::uint64_t size) const {
  LS_CHECK(offset <= size_ && size <= size_ - offset, fmt::format("{} bytes at {} of {}", size, offset, size_));
  ByteRange inner = *this;
  inner.begin_ += offset;
  inner.size_ = size;
  return inner;
}

void allow_open_files(std::size_t files) {
  constexpr rlim_t kOthers = 256;  // libraries, sockets, logs
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= files + kOthers) return;
  limit.rlim_cur = std::min<rlim_t>(files + kOthers, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);  // if it fails, opening says so
}

}  // namespace lockstep
