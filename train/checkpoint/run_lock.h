// RunLock: one job per run folder, and a number for each start of a run.
//
// The lock is the file run.lock.<generation>. Creating the next number is the claim: exactly one of several claimants
// succeeds, also on a network file system. The number grows with every start, so a writer that was taken for dead and
// comes back sees a newer lock and gives up (fencing).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "train/checkpoint/fs.h"

namespace lockstep {

// Names a process beyond doubt on one machine: pids are reused, (boot, pid, start time) is not.
struct ProcessIdentity {
  std::string host;
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/<pid>/stat
  std::string boot_id;
  bool operator==(const ProcessIdentity&) const = default;
};

ProcessIdentity this_process();
bool is_alive(const ProcessIdentity& process);  // only meaningful for this boot's processes

struct RunLockOptions {
  bool force = false;                     // take over whoever holds it
  std::uint64_t minimum_generation = 0;   // of the checkpoints that are there: the new generation is larger
  double silent_s = 60;                   // a holder on another host is dead when its heartbeat is older than this
  ProcessIdentity identity = this_process();
};

class RunLock {
 public:
  // Throws UserError(kCantCreate) naming the holder (host, pid, file, age of its heartbeat) when the folder is held by a
  // process that lives, and EnvironmentError(kCantCreate) when the folder can't be written. A dead holder is replaced.
  static RunLock acquire(Fs& fs, const std::string& run_folder, const RunLockOptions& options = {});
  ~RunLock();  // releases; errors are ignored
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;

  std::uint64_t generation() const { return generation_; }
  const std::string& path() const { return path_; }
  void heartbeat();  // renews the file's time; call every few seconds. FsError when the lock is gone.
  void release();    // removes the lock; a second call does nothing

 private:
  static RunLock claim_next(Fs& fs, const std::string& run_folder, const RunLockOptions& options);
  RunLock(Fs& fs, std::string path, std::uint64_t generation) : fs_(&fs), path_(std::move(path)), generation_(generation) {}

  Fs* fs_;
  std::string path_;  // empty: released or moved from
  std::uint64_t generation_;
};

// Throws EnvironmentError(kCantCreate) unless `generation` holds the lock and no newer one exists. For CheckpointOptions::fence;
// may be called in another process than the holder.
void check_fence(Fs& fs, const std::string& run_folder, std::uint64_t generation);

}  // namespace lockstep
