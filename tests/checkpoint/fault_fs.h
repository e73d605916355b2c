// FaultFs: passes every call on, and makes the Nth one fail with a chosen errno, once or from then on. It can also write
// short, and be slow. What a failed call leaves behind is what a real one leaves (a partial file, a closed number).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "train/checkpoint/fs.h"

namespace lockstep::test {

class FaultFs final : public Fs {
 public:
  explicit FaultFs(Fs& inner) : inner_(inner) {}

  int fail_at = 0;  // 1: the first call; 0: none
  int error_number = EIO;
  bool sticky = false;
  std::string only;              // count only this call ("fsync", "write", ...); empty: all
  std::size_t most_written = 0;  // longest single write; 0: no limit
  int flip_in_write = 0;         // 1: the first write stores one wrong bit and reports success
  double sync_takes_s = 0;
  std::function<void()> before_create;  // runs once, just before the next creation: a rival's move
  int calls = 0;
  int failures = 0;

  int open_new(const std::string& path) override {
    if (const auto rival = std::exchange(before_create, {})) rival();
    if (fails("create")) throw FsError("create", path, error_number);
    return inner_.open_new(path);
  }
  int open_read(const std::string& path) override {
    if (fails("open")) throw FsError("open", path, error_number);
    return inner_.open_read(path);
  }
  std::size_t write(int file, const void* data, std::size_t nbytes) override {
    const bool failing = fails("write");
    if (failing && nbytes > 1) inner_.write(file, data, nbytes / 2);
    if (failing) throw FsError("write", "file", error_number);
    if (flip_in_write > 0 && --flip_in_write == 0) {
      std::string wrong(static_cast<const char*>(data), nbytes);
      wrong[nbytes / 2] = static_cast<char>(wrong[nbytes / 2] ^ 1);
      return inner_.write(file, wrong.data(), nbytes);
    }
    return inner_.write(file, data, most_written == 0 ? nbytes : std::min(nbytes, most_written));
  }
  std::size_t read_at(int file, void* data, std::size_t nbytes, std::uint64_t offset) override {
    if (fails("read")) throw FsError("read", "file", error_number);
    return inner_.read_at(file, data, most_written == 0 ? nbytes : std::min(nbytes, most_written), offset);
  }
  void allocate(int file, std::uint64_t nbytes) override {
    const bool failing = fails("fallocate");
    inner_.allocate(file, failing ? nbytes / 2 : nbytes);
    if (failing) throw FsError("fallocate", "file", error_number);
  }
  void sync(int file) override {
    if (sync_takes_s > 0) std::this_thread::sleep_for(std::chrono::duration<double>(sync_takes_s));
    if (fails("fsync")) throw FsError("fsync", "file", error_number);
    inner_.sync(file);
  }
  void close(int file) override {
    const bool failing = fails("close");
    inner_.close(file);
    if (failing) throw FsError("close", "file", error_number);
  }
  void rename(const std::string& from, const std::string& to) override {
    if (fails("rename")) throw FsError("rename", from + " -> " + to, error_number);
    inner_.rename(from, to);
  }
  bool exchange(const std::string& a, const std::string& b) override {
    if (fails("exchange")) throw FsError("exchange", a, error_number);
    return inner_.exchange(a, b);
  }
  void unlink(const std::string& path) override {
    if (fails("unlink")) throw FsError("unlink", path, error_number);
    inner_.unlink(path);
  }
  void make_directory(const std::string& path) override {
    if (fails("mkdir")) throw FsError("mkdir", path, error_number);
    inner_.make_directory(path);
  }
  void remove_directory(const std::string& path) override {
    if (fails("rmdir")) throw FsError("rmdir", path, error_number);
    inner_.remove_directory(path);
  }
  void sync_directory(const std::string& path) override {
    if (fails("fsync_dir")) throw FsError("fsync", path, error_number);
    inner_.sync_directory(path);
  }
  std::vector<DirectoryEntry> list(const std::string& path) override {
    if (fails("list")) throw FsError("opendir", path, error_number);
    return inner_.list(path);
  }
  std::optional<FileStatus> status(const std::string& path) override {
    if (fails("stat")) throw FsError("stat", path, error_number);
    return inner_.status(path);
  }
  void touch(const std::string& path) override {
    if (fails("touch")) throw FsError("utimensat", path, error_number);
    inner_.touch(path);
  }

 private:
  bool fails(const char* call) {
    if (!only.empty() && only != call) return false;
    ++calls;
    const bool failing = fail_at > 0 && (sticky ? calls >= fail_at : calls == fail_at);
    failures += failing ? 1 : 0;
    return failing;
  }

  Fs& inner_;
};

}  // namespace lockstep::test
