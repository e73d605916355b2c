// Appending with write(), and cutting back after a failure.
// SPDX-License-Identifier: Apache-2.0
#include "train/metrics/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/error.h"

namespace lockstep {

AppendFile::AppendFile(std::string path, std::string prologue)
    : path_(std::move(path)), prologue_(std::move(prologue)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) throw_errno("open", path_, errno, ExitCode::kCantCreate);
  struct stat status {};
  if (::fstat(fd_, &status) == 0) good_bytes_ = status.st_size;
}

AppendFile::~AppendFile() {
  flush();
  ::close(fd_);
}

void AppendFile::append(std::string_view record) {
  waiting_ += record;
  ++waiting_records_;
}

int AppendFile::flush() {
  if (good_bytes_ == 0) waiting_.insert(0, prologue_);
  size_t done = 0;
  int error = 0;
  while (done < waiting_.size() && error == 0) {
    const ssize_t written = ::write(fd_, waiting_.data() + done, waiting_.size() - done);
    if (written > 0) done += static_cast<size_t>(written);
    if (written < 0 && errno != EINTR) error = errno;
    if (written == 0) error = ENOSPC;
  }
  if (error == 0) {
    good_bytes_ += static_cast<int64_t>(done);
  } else {
    lost_records_ += waiting_records_;
    // A half record would spoil the file for its readers. If even this fails, they see one damaged record at the end.
    [[maybe_unused]] const int ignored = done > 0 ? ::ftruncate(fd_, good_bytes_) : 0;
  }
  waiting_.clear();
  waiting_records_ = 0;
  return error;
}

}  // namespace lockstep
