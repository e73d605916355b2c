// Profiler: `train --profile`. Traces a few steps of a run on every rank and writes one file (train/trace_file.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "distributed/communicator.h"
#include "ops/kernels.h"
#include "train/trace_kernels.h"

namespace lockstep {

struct ProfileOptions {
  std::string file;  // of rank 0
  int steps = 5;     // traced
  int skip = 3;      // steps of this process before them: the first ones set up memory and primitives
};

class Profiler {
 public:
  // Rank 0 opens the file here, so that a wrong path is known before the training: EnvironmentError (kIo). References must
  // outlive it. Throws UserError for less than one step.
  Profiler(const ProfileOptions& options, std::unique_ptr<Kernels>& kernels, Communicator& comm);
  ~Profiler();  // a trace under way is given up
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // Before each step; starts and ends the trace when it is time. What lies between steps (evaluation, checkpoints) belongs
  // to the step before. Collective when it starts or ends. True: the file has just been written.
  bool before_step();
  // After the last step: true if the file was written by this call. Collective.
  bool finish();
  bool tracing() const { return state_ == State::kTracing; }
  bool written() const { return state_ == State::kWritten; }
  const std::string& file() const { return options_.file; }
  std::uint64_t dropped() const { return dropped_; }  // spans of this rank that found no room

 private:
  enum class State : std::uint8_t { kWaiting, kTracing, kWritten };
  void start();
  void write();

  ProfileOptions options_;
  std::unique_ptr<Kernels>& kernels_;
  Communicator& comm_;
  State state_ = State::kWaiting;
  int steps_ = 0;  // that have begun
  std::int64_t origin_ns_ = 0;
  std::uint64_t dropped_ = 0;
  std::ofstream out_;
  OpLog ops_;
  std::optional<KernelTap> tap_;
};

}  // namespace lockstep
