// Fs: every file-system call that saving or loading a checkpoint makes, behind one interface, so that tests can fail
// each of them in turn, cut the power between any two, or write short. posix_fs() is the real one.
// Every call checks its return value and throws FsError (call, path, errno); calls block until the kernel answers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace lockstep {

class FsError : public EnvironmentError {
 public:
  FsError(const std::string& call, const std::string& path, int error_number);
  int error_number() const { return error_number_; }

 private:
  int error_number_;
};

enum class FileKind : std::uint8_t { kFile, kDirectory, kOther };  // kOther: symbolic links, sockets, ...

struct DirectoryEntry {
  std::string name;
  FileKind kind = FileKind::kFile;
};

struct FileStatus {
  FileKind kind = FileKind::kFile;
  std::uint64_t nbytes = 0;
  double modified_s = 0;  // seconds since 1970 by the file system's clock
};

// Files are small integers that the Fs hands out. The last component of a path is never followed when it is a link.
class Fs {
 public:
  virtual ~Fs() = default;
  virtual int open_new(const std::string& path) = 0;  // for writing; fails with EEXIST when the name is taken
  virtual int open_read(const std::string& path) = 0;
  virtual std::size_t write(int file, const void* data, std::size_t nbytes) = 0;  // appends; may write less, never 0
  virtual std::size_t read_at(int file, void* data, std::size_t nbytes, std::uint64_t offset) = 0;  // 0 at the end
  virtual void allocate(int file, std::uint64_t nbytes) = 0;  // reserves space; the file has this size afterwards
  virtual void sync(int file) = 0;   // after a failure the file's contents are unknown: throw it away, never retry
  virtual void close(int file) = 0;  // the number is free afterwards, also when this throws
  virtual void rename(const std::string& from, const std::string& to) = 0;
  // Swaps two names in one step. False, with nothing changed, where the file system can't.
  virtual bool exchange(const std::string& a, const std::string& b) = 0;
  virtual void unlink(const std::string& path) = 0;
  virtual void make_directory(const std::string& path) = 0;
  virtual void remove_directory(const std::string& path) = 0;
  virtual void sync_directory(const std::string& path) = 0;  // makes creations, renames and removals in it durable
  virtual std::vector<DirectoryEntry> list(const std::string& path) = 0;  // sorted by name, without . and ..
  virtual std::optional<FileStatus> status(const std::string& path) = 0;  // nothing when there is nothing
  virtual void touch(const std::string& path) = 0;                        // modified now
};

Fs& posix_fs();

}  // namespace lockstep
