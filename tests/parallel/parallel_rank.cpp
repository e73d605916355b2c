// One rank of a job that is about to be broken: parallel_rank MODE [FILE [messages]]. Behaves like the lockstep command: prints the
// error, ends all ranks, returns the error's exit code. FILE gets the time (ns, system clock) at which the fault was made.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "distributed/communicator.h"

namespace lockstep {
namespace {

constexpr double kDeadlineSeconds = 2;

void note_time(const std::string& file) {
  if (!file.empty()) std::ofstream(file) << std::chrono::system_clock::now().time_since_epoch().count();
}

// Endless steps; the last rank (or rank 1) misbehaves in the 20th.
void work(Communicator& comm, const std::string& mode, const std::string& file) {
  const bool inside = mode == "kill_inside" || mode == "stop_inside";  // an operation is under way: a large one
  Tensor buffer = comm.make_buffer(Shape{inside ? 25'000'000 : 100'000}, DType::kF32);
  for (int step = 0;; ++step) {
    comm.set_activity(step, "forward");
    if (step == 20 && comm.rank() == 1) {
      note_time(file);
      if (mode == "kill") std::raise(SIGKILL);
      if (mode == "stop" || mode == "stop_and_stuck") std::raise(SIGSTOP);
      if (mode == "slow") std::this_thread::sleep_for(std::chrono::seconds(60));
      if (mode == "throw") throw UserError("label 17 out of range", ExitCode::kData);
      if (mode == "leave") return;
    }
    const Ticket ticket = comm.all_reduce_async(buffer, {}, "bucket 1 of 1 (conv1.weight)");
    if (step == 20 && inside && comm.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      note_time(file);
      std::raise(mode == "kill_inside" ? SIGKILL : SIGSTOP);
    }
    if (step == 20 && mode == "stop_and_stuck") std::this_thread::sleep_for(std::chrono::seconds(60));
    comm.wait(ticket);
    if (mode == "finish" && step == 30) return comm.finalize();
  }
}

int run(const std::string& mode, const std::string& file, bool share_memory) {
  try {
    // Like the lockstep command, the communicator is gone by the time that the error is handled.
    const auto comm = make_communicator(CommunicatorKind::kAuto, {.deadline_seconds = kDeadlineSeconds, .share_memory = share_memory});
    if (mode == "where") {
      std::printf("%s %d of %d\n", std::string(comm->transport()).c_str(), comm->rank(), comm->size());
      comm->finalize();
      return 0;
    }
    if (mode == "abort" && comm->rank() == 1) comm->abort(ExitCode::kNumeric, "loss is not a number");
    work(*comm, mode, file);
    return mode == "leave" ? 1 : 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", std::string(error.kind()).c_str(), error.what());
    abort_job(error.code());
    return static_cast<int>(error.code());
  }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) {});  // like the lockstep command, which ends its step first
  return lockstep::run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "", argc <= 3);
}
