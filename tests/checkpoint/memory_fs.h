// MemoryFs: an Fs in memory that remembers in which order things were done and what was synced, so that tests can look at
// every state in which a power cut may leave the disk.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "train/checkpoint/fs.h"

namespace lockstep::test {

class MemoryFs final : public Fs {
 public:
  MemoryFs();

  int open_new(const std::string& path) override;
  int open_read(const std::string& path) override;
  std::size_t write(int file, const void* data, std::size_t nbytes) override;
  std::size_t read_at(int file, void* data, std::size_t nbytes, std::uint64_t offset) override;
  void allocate(int file, std::uint64_t nbytes) override;
  void sync(int file) override;
  void close(int file) override;
  void rename(const std::string& from, const std::string& to) override;
  bool exchange(const std::string& a, const std::string& b) override;
  void unlink(const std::string& path) override;
  void make_directory(const std::string& path) override;
  void remove_directory(const std::string& path) override;
  void sync_directory(const std::string& path) override;
  std::vector<DirectoryEntry> list(const std::string& path) override;
  std::optional<FileStatus> status(const std::string& path) override;
  void touch(const std::string& path) override;

  // For tests
  bool can_exchange = true;
  bool lies_about_sync = false;            // negative controls: the calls succeed and do nothing
  bool lies_about_sync_directory = false;
  double now_s = 1000;                     // the clock behind modification times
  std::string& contents(const std::string& path);  // of a file, to damage it
  std::size_t open_files() const { return open_.size(); }
  std::size_t log_size() const { return log_.size(); }

  // An independent copy of the present state (nothing pending, empty log).
  std::unique_ptr<MemoryFs> copy() const;

  // What a power cut after the first `operations` micro-operations may leave: those that a later sync covers are there;
  // of the others `fate(i)` decides: 0 lost, 1 done, 2 half written (writes only). `pending` receives their number.
  enum Fate : int { kLost = 0, kDone = 1, kTorn = 2 };
  std::unique_ptr<MemoryFs> after_power_cut(std::size_t operations, const std::function<int(std::size_t)>& fate,
                                            std::size_t* pending = nullptr) const;

 private:
  struct Node {
    bool is_directory = false;
    std::string data;
    std::map<std::string, int> entries;
    double modified_s = 0;
  };
  struct MicroOperation {
    enum Kind { kLink, kWrite, kAllocate, kRename, kExchange, kUnlink, kSync, kSyncDirectory } kind;
    int node = 0;       // file written or synced, or the directory that changes
    int other = 0;      // node linked, or target directory
    std::string name, other_name;
    std::string data;
    std::uint64_t size = 0;
  };
  struct OpenFile {
    int node;
    std::size_t position = 0;
  };

  int find(const std::string& path) const;               // -1: none
  int find_or_throw(const std::string& path, const char* call) const;
  std::pair<int, std::string> parent_of(const std::string& path, const char* call) const;
  int add_node(const std::string& path, const char* call, bool is_directory);
  void apply(const MicroOperation& op, int fate);
  void record(MicroOperation op);

  std::map<int, Node> nodes_;
  std::map<int, Node> initial_;  // before the log
  std::vector<MicroOperation> log_;
  std::map<int, OpenFile> open_;
  int next_node_ = 1;
  int next_file_ = 3;
};

}  // namespace lockstep::test
