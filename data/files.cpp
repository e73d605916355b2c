// SPDX-License-Identifier: Apache-2.0
#include "data/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace lockstep {

void bad_data(std::string_view file, std::string_view what, std::string_view got, std::string_view want,
              std::string_view fix) {
  throw UserError(fmt::format("{}: {}: got {}, want {}.\n{}", file, what, got, want, fix), ExitCode::kData);
}

void no_input(std::string_view file, std::string_view reason, std::string_view fix) {
  throw UserError(fmt::format("{}: cannot be read: {}.\n{}", file, reason, fix), ExitCode::kNoInput);
}

namespace {

constexpr std::string_view kAgain = "Fetch or unpack the file again.";

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) no_input(path, std::strerror(errno), "Check the path and its permissions.");
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

  std::int64_t regular_size(const std::string& path) const {
    struct stat status = {};
    if (::fstat(fd_, &status) != 0) throw_errno("fstat", path, errno);
    if (!S_ISREG(status.st_mode)) no_input(path, "it is not a regular file", "Remove it from the data folder.");
    return status.st_size;
  }

 private:
  int fd_;
};

}  // namespace

std::size_t read_file(const std::string& path, std::size_t max_bytes, std::vector<std::uint8_t>& out) {
  const Descriptor file(path);
  const auto size = static_cast<std::size_t>(file.regular_size(path));
  if (size > max_bytes)
    bad_data(path, "file too large", fmt::format("{} bytes", size), fmt::format("at most {}", max_bytes),
             "Replace the file.");
  grow(out, size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(file.get(), out.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_errno("read", path, errno);
    if (n == 0)
      bad_data(path, "file shrank while it was read", fmt::format("{} bytes", done), fmt::format("{}", size), kAgain);
    done += static_cast<std::size_t>(n);
  }
  return size;
}

std::int64_t file_size(const std::string& path) { return Descriptor(path).regular_size(path); }

GzReader::GzReader(const std::string& path) : path_(path), file_bytes_(file_size(path)) {
  file_ = gzopen(path.c_str(), "rbe");
  if (file_ == nullptr) no_input(path, std::strerror(errno), "Check the path and its permissions.");
  gzbuffer(file_, 1u << 17);
  compressed_ = gzdirect(file_) == 0;
}

GzReader::~GzReader() { gzclose_r(file_); }

std::size_t GzReader::read(void* to, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const auto part = static_cast<unsigned>(std::min<std::size_t>(size - done, 1u << 28));
    const int n = gzread(file_, static_cast<char*>(to) + done, part);
    int code = Z_OK;
    const char* reason = gzerror(file_, &code);
    if (n < 0 && code == Z_ERRNO) throw_errno("read", path_, errno);
    if (n < 0 || code == Z_BUF_ERROR)
      bad_data(path_, "damaged gzip stream", fmt::format("\"{}\" after {} bytes of this part", reason, done),
               "a whole stream with the right checksum", kAgain);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace lockstep
