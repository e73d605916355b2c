// ProcessRunner: trials as child processes of this machine: `lockstep train TRIAL/trial.pbtxt --resume auto --max-steps N --json`, as a user
// would start it; with several ranks below mpirun.
//
// A child that outlives this process is asked to save and end (the kernel sends it the stop signal), and keeps the trial's lock until then.
// Call everything from one thread, which must live as long as the children.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sweep/trial_runner.h"

namespace lockstep {

struct ProcessRunnerOptions {
  std::string binary;                  // lockstep
  int ranks = 1;                       // of each trial
  std::vector<std::string> launcher;   // the number of ranks follows it; for more than one rank
  std::vector<std::string> gpus;       // of this machine, shared out among the slots; empty: trials choose themselves
  double held_s = 30;                  // so long a run folder may still be held by what is left of an earlier process
};

// "mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n"
std::vector<std::string> default_launcher();

// What CUDA_VISIBLE_DEVICES names, else the GPUs that the driver shows below /proc; empty without any.
std::vector<std::string> visible_gpus();

// The environment of a trial: this process's, without what announces a rank of a launcher's job. Entries "NAME=value".
std::vector<std::string> trial_environment(const std::vector<std::string>& ours, const ProcessRunnerOptions& options, int slot);

// What an exit says: `code` as a shell shows it (128 + signal), `error` the first line of the last message in the log.
struct ExitMeaning {
  TrialEnd::Kind kind;
  ExitCode code;
};
ExitMeaning meaning_of_exit(int code, std::string_view error, bool was_stopped);

class ProcessRunner : public TrialRunner {
 public:
  explicit ProcessRunner(ProcessRunnerOptions options);  // this process no longer ignores SIGCHLD, if it did
  ~ProcessRunner() override;  // kills what still runs
  ProcessRunner(const ProcessRunner&) = delete;
  ProcessRunner& operator=(const ProcessRunner&) = delete;

  void start(const TrialRequest& request) override;
  std::optional<TrialEnd> poll(double timeout_s) override;
  void stop_all() override;

 private:
  struct Child {
    TrialRequest request;
    int pid = -1;              // -1: to be started again at retry_s
    double begun_s = 0, retry_s = 0;
    std::int64_t log_begin = 0;  // bytes of trial.log that are of earlier tries
  };
  void spawn(Child& child) const;
  std::vector<std::string> command(const TrialRequest& request) const;
  std::optional<TrialEnd> ended(Child& child);
  TrialEnd describe(const Child& child, int code) const;

  ProcessRunnerOptions options_;
  std::vector<Child> children_;
  bool stopping_ = false;
};

}  // namespace lockstep
