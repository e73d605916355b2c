// The Fs of a real machine: thin wrappers of the system calls.
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "train/checkpoint/fs.h"

namespace lockstep {
namespace {

// For messages: which file a descriptor is.
std::string path_of(int file) {
  char target[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<std::size_t>(length)) : "file " + std::to_string(file);
}

// Repeats a call that a signal interrupted. Not for fsync and close, whose state is unknown afterwards.
template <class Call>
auto retry(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

void check(int result, const char* call, const std::string& path) {
  if (result != 0) throw FsError(call, path, errno);
}

FileKind kind_of(const struct stat& info) {
  if (S_ISREG(info.st_mode)) return FileKind::kFile;
  return S_ISDIR(info.st_mode) ? FileKind::kDirectory : FileKind::kOther;
}

std::string join(const std::string& directory, const std::string& name) { return directory + "/" + name; }

class PosixFs final : public Fs {
 public:
  int open_new(const std::string& path) override {
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, "create");
  }
  int open_read(const std::string& path) override { return open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, "open"); }

  std::size_t write(int file, const void* data, std::size_t nbytes) override {
    const ssize_t done = retry([&] { return ::write(file, data, nbytes); });
    if (done < 0) throw FsError("write", path_of(file), errno);
    if (done == 0 && nbytes > 0) throw FsError("write", path_of(file), ENOSPC);
    return static_cast<std::size_t>(done);
  }
  std::size_t read_at(int file, void* data, std::size_t nbytes, std::uint64_t offset) override {
    const ssize_t done = retry([&] { return ::pread(file, data, nbytes, static_cast<off_t>(offset)); });
    if (done < 0) throw FsError("read", path_of(file), errno);
    return static_cast<std::size_t>(done);
  }
  void allocate(int file, std::uint64_t nbytes) override {
    if (nbytes == 0) return;
    // Not posix_fallocate: where the file system can't reserve space that one writes zeros block by block, and a full
    // disk is then found by write() as well.
    if (retry([&] { return ::fallocate(file, 0, 0, static_cast<off_t>(nbytes)); }) == 0) return;
    if (errno != EOPNOTSUPP && errno != ENOSYS) throw FsError("fallocate", path_of(file), errno);
  }
  void sync(int file) override { check(::fsync(file), "fsync", path_of(file)); }
  void close(int file) override {
    const std::string path = path_of(file);
    check(::close(file), "close", path);
  }
  void rename(const std::string& from, const std::string& to) override {
    check(::rename(from.c_str(), to.c_str()), "rename", from + " -> " + to);
  }
  bool exchange(const std::string& a, const std::string& b) override {
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return true;
    if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return false;
    throw FsError("rename (exchange)", a + " <-> " + b, errno);
  }
  void unlink(const std::string& path) override { check(::unlink(path.c_str()), "unlink", path); }
  void make_directory(const std::string& path) override { check(::mkdir(path.c_str(), 0777), "mkdir", path); }
  void remove_directory(const std::string& path) override { check(::rmdir(path.c_str()), "rmdir", path); }
  void sync_directory(const std::string& path) override {
    const int file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, "open");
    const int synced = ::fsync(file);
    const int error_number = errno;
    check(::close(file), "close", path);
    if (synced != 0) throw FsError("fsync", path, error_number);
  }
  std::vector<DirectoryEntry> list(const std::string& path) override;
  std::optional<FileStatus> status(const std::string& path) override {
    struct stat info = {};
    if (::lstat(path.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      throw FsError("stat", path, errno);
    }
    return FileStatus{kind_of(info), static_cast<std::uint64_t>(info.st_size),
                      static_cast<double>(info.st_mtim.tv_sec) + 1e-9 * static_cast<double>(info.st_mtim.tv_nsec)};
  }
  void touch(const std::string& path) override {
    check(::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW), "utimensat", path);
  }

 private:
  static int open(const std::string& path, int flags, const char* call) {
    const int file = retry([&] { return ::open(path.c_str(), flags, 0666); });
    if (file < 0) throw FsError(call, path, errno);
    return file;
  }
};

std::vector<DirectoryEntry> PosixFs::list(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) throw FsError("opendir", path, errno);
  std::vector<DirectoryEntry> entries;
  errno = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") entries.push_back({name, FileKind::kOther});
    errno = 0;
  }
  const int error_number = errno;
  check(::closedir(directory), "closedir", path);
  if (error_number != 0) throw FsError("readdir", path, error_number);
  for (DirectoryEntry& entry : entries)
    if (const auto found = status(join(path, entry.name))) entry.kind = found->kind;
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

}  // namespace

FsError::FsError(const std::string& call, const std::string& path, int error_number)
    : EnvironmentError(call + " " + path + ": " + std::strerror(error_number), ExitCode::kIo),
      error_number_(error_number) {}

Fs& posix_fs() {
  static PosixFs fs;
  return fs;
}

}  // namespace lockstep
