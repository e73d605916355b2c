// SPDX-License-Identifier: Apache-2.0
#include "tools/job.h"

#include <atomic>
#include <cstdlib>
#include <exception>
#include <string>

#include "core/error.h"
#include "distributed/launch_environment.h"
#include "proto/config.pb.h"
#include "tools/report_error.h"

namespace lockstep {
namespace {

std::atomic<bool> reported{false};

// The communication thread's last resort, when this rank's main thread is stuck elsewhere.
void end_abandoned(int rank, ExitCode code, const std::string& message) {
  if (!reported.exchange(true)) report_error(rank, "environment error", message);
  std::_Exit(static_cast<int>(code));
}

// Ends the other ranks too, unless there are none: then main reports.
[[noreturn]] void fail(Communicator& comm, const Error& error) {
  if (comm.size() == 1) throw;
  const std::string where = " [rank " + std::to_string(comm.rank()) + " on " + comm.host_of(comm.rank()) + "]";
  reported = true;
  report_error(comm.rank(), error.kind(), error.what() + where);
  comm.abort(error.code(), error.what());
  throw;
}

}  // namespace

JobOptions job_options(const proto::Config& config) {
  JobOptions options{.deadline_s = config.distributed().deadline_s()};
  switch (config.distributed().communicator()) {
    case proto::Distributed::AUTO:
      options.kind = config.backend() == proto::Config::CUDA ? CommunicatorKind::kNccl : CommunicatorKind::kAuto;
      break;
    case proto::Distributed::LOCAL: options.kind = CommunicatorKind::kLocal; break;
    case proto::Distributed::MPI: options.kind = CommunicatorKind::kMpi; break;
    case proto::Distributed::NCCL: options.kind = CommunicatorKind::kNccl; break;
  }
  return options;
}

int launched_rank() { return detect_launcher([](const char* name) { return std::getenv(name); }).rank.value_or(0); }

int run_job(const JobOptions& options, const std::function<int(Communicator&)>& body) {
  const int rank = launched_rank();
  const auto comm = make_communicator(options.kind, {.deadline_seconds = options.deadline_s,
                                                     .on_abandoned = [rank](ExitCode code, const std::string& message) {
                                                       end_abandoned(rank, code, message);
                                                     }});
  try {
    const int code = body(*comm);
    comm->finalize();
    return code;
  } catch (const Error& error) {
    fail(*comm, error);
  } catch (const std::exception& error) {
    fail(*comm, InternalError(error.what()));
  }
}

}  // namespace lockstep
