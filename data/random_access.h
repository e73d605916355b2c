// RandomAccess: bytes that can be read at any place: a file, a piece of memory; and ByteRange, a window of one.
//
// A tar inside a tar is a window of the outer file. Reads are positional, so that one open file serves all threads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

class RandomAccess {
 public:
  virtual ~RandomAccess() = default;
  virtual std::uint64_t size() const = 0;
  // Exactly `count` bytes from `offset` on; the caller has checked them against size(). Throws EnvironmentError (kIo) or, when
  // the file has become shorter, UserError(kData). Blocks. Thread-safe.
  virtual void read(std::uint64_t offset, void* to, std::size_t count) const = 0;
  virtual const std::string& name() const = 0;  // for messages
};

// A regular file that stays open. Read-ahead by the system is off: readers jump.
class DiskFile final : public RandomAccess {
 public:
  explicit DiskFile(const std::string& path);  // throws UserError(kNoInput)
  ~DiskFile() override;
  DiskFile(const DiskFile&) = delete;
  DiskFile& operator=(const DiskFile&) = delete;
  std::uint64_t size() const override { return size_; }
  void read(std::uint64_t offset, void* to, std::size_t count) const override;
  const std::string& name() const override { return path_; }
  // Starts to bring a stretch into memory; doesn't wait, never throws.
  void will_read(std::uint64_t offset, std::uint64_t count) const;

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

class MemoryFile final : public RandomAccess {
 public:
  MemoryFile(std::string name, std::vector<std::uint8_t> bytes) : name_(std::move(name)), bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read(std::uint64_t offset, void* to, std::size_t count) const override;
  const std::string& name() const override { return name_; }

 private:
  std::string name_;
  std::vector<std::uint8_t> bytes_;
};

// Bytes [begin, begin + size) of a file, which it keeps open.
class ByteRange {
 public:
  explicit ByteRange(std::shared_ptr<const RandomAccess> file) : file_(std::move(file)), size_(file_->size()) {}
  // A window of this one; it must lie inside.
  ByteRange window(std::uint64_t offset, std::uint64_t size) const;
  std::uint64_t begin() const { return begin_; }  // in the file
  std::uint64_t size() const { return size_; }
  const RandomAccess& file() const { return *file_; }

 private:
  std::shared_ptr<const RandomAccess> file_;
  std::uint64_t begin_ = 0;
  std::uint64_t size_ = 0;
};

// Lets this process open at least `files` files if the system allows it: raises the soft limit, up to the hard one.
void allow_open_files(std::size_t files);

}  // namespace lockstep
