// TrialRunner: what trains trials for a sweep. The real one starts `lockstep train` (process_runner.h); tests have one that computes
// what a trial would find.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"
#include "sweep/sweep_plan.h"
#include "sweep/trial_metrics.h"

namespace lockstep {

struct TrialRequest {
  TrialKey key;
  std::string folder;           // the run's; holds trial.pbtxt
  std::int64_t until_step = 0;  // train to here, from wherever the run is
  std::optional<double> stop_at_top1;  // or to the first evaluation at or above it (0 to 1)
  int lock_file = -1;           // the trial's claim: the training process keeps it open
  int slot = 0;                 // which of the jobs beside each other: 0 .. jobs - 1
};

struct TrialEnd {
  enum class Kind : std::uint8_t {
    kReached,   // it is at until_step, or at stop_at_top1, evaluated and saved
    kDiverged,  // the loss or a gradient was not finite
    kStopped,   // on request; saved
    kLost,      // killed, a peer or the machine failed: to be tried again
    kFailed,    // it would fail again: `code` says how
  };
  TrialKey key;
  Kind kind = Kind::kReached;
  ExitCode code = ExitCode::kOk;
  std::string message;
  TrialMeasurement measured;    // of all that is trained so far
};

class TrialRunner {
 public:
  virtual ~TrialRunner() = default;
  virtual void start(const TrialRequest& request) = 0;                  // returns at once; EnvironmentError when it can't
  virtual std::optional<TrialEnd> poll(double timeout_s) = 0;           // one that has ended; waits at most so long for it
  virtual void stop_all() = 0;                                          // asks all that run to save and end; poll gives them back
};

}  // namespace lockstep
