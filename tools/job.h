// run_job: a command's body on all ranks of a job, with one rule for failures: whatever goes wrong on any rank ends all
// ranks, with that rank's message and exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "distributed/communicator.h"

namespace lockstep {

namespace proto {
class Config;
}

struct JobOptions {
  CommunicatorKind kind = CommunicatorKind::kAuto;
  double deadline_s = 300;  // for each collective operation
};

// What the config says about ranks: carrier and deadline.
JobOptions job_options(const proto::Config& config);

// Starts the communicator, runs body on it, ends cleanly. The exit code that body returns must be the same on all ranks.
int run_job(const JobOptions& options, const std::function<int(Communicator&)>& body);

// This process's rank by its launcher's environment, before any communicator exists; 0 without a launcher.
int launched_rank();

}  // namespace lockstep
