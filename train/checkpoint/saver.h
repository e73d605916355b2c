// CheckpointSaver: saves beside the training. At a step's end the state is copied into shared memory (the only pause);
// a helper process writes it out.
//
// Why a process, and why one that is forked once, early: a thread stuck in write() on dead storage can't be ended, and
// neither can its process; a child can be left behind. A child forked at each save would see the state for free, but every page
// that training then touches (activations above all) would be copied once more. Build the saver before the first
// step, when the process is small. The helper uses no MPI, no locks and no threads, holds none of the parent's files or
// sockets, ignores the signals that ask the job to stop, finishes the save in hand when the parent dies, and then ends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "train/checkpoint/checkpoint_store.h"

namespace lockstep {

struct SaverOptions {
  int max_failures = 3;      // in a row; then training stops: training without durable progress only pretends
  double deadline_s = 600;   // a save that takes longer counts as failed at each further request; save_now() gives up
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  std::function<void(const SaveReport&)> on_saved = [](const SaveReport&) {};  // from poll(), request(), wait(), save_now()
};

struct SaverStats {
  int saved = 0;
  int skipped = 0;         // requests while a save was under way
  int failed = 0;
  int failed_in_row = 0;
};

// One thread only. No call touches the tensors after it has returned.
class CheckpointSaver {
 public:
  // Forks the helper. `fs` and what options.fence uses must work in a forked process; options.warn is called here, never
  // in the helper.
  CheckpointSaver(std::string directory, Fs& fs, CheckpointOptions options, SaverOptions saver_options = {});
  ~CheckpointSaver();  // waits for a save under way, at most 5 s; then leaves it to the helper
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;

  // Copies the state and returns; false when a save is under way (skipped and counted). Throws EnvironmentError: kIo after
  // max_failures failures in a row, kCantCreate at once when another job has taken over the run folder.
  bool request(const TrainingState& state, bool is_best);

  // Never blocks: takes note of a save that has ended. Throws as request() does.
  void poll();

  // Blocks until no save is under way (at most deadline_s: EnvironmentError kIo).
  void wait();

  // Waits for the save under way, then saves this state and waits for it. Any failure is thrown (EnvironmentError).
  SaveReport save_now(const TrainingState& state, bool is_best);

  bool busy() const;
  const SaverStats& stats() const { return stats_; }
  int helper_pid() const;

 private:
  struct Helper;
  struct InFlight {
    std::uint64_t step = 0;
    std::chrono::steady_clock::time_point start;
    double snapshot_seconds = 0;
  };
  struct Outcome;

  void submit(const TrainingState& state, bool is_best);
  std::optional<Outcome> take_outcome(double timeout_s);
  void account(const Outcome& outcome, bool throw_now);
  void fail(const std::string& message, ExitCode code, bool throw_now);

  std::string directory_;
  Fs& fs_;
  CheckpointOptions options_;
  SaverOptions saver_options_;
  std::unique_ptr<Helper> helper_;
  std::optional<InFlight> in_flight_;
  std::optional<SaveReport> last_;
  SaverStats stats_;
};

}  // namespace lockstep
