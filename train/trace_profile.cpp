// SPDX-License-Identifier: Apache-2.0
#include "train/trace_profile.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/trace.h"
#include "train/trace_file.h"

namespace lockstep {
namespace {

constexpr std::size_t kSpansPerThread = std::size_t{1} << 16;  // 3.5 MB a thread; a step of ResNet-50 has some 700
constexpr std::size_t kMaxOps = std::size_t{1} << 16;

const ProfileOptions& checked(const ProfileOptions& options) {
  if (options.steps < 1 || options.skip < 0)
    throw UserError(fmt::format("profile: got {} steps after {}, want at least 1 after at least 0", options.steps, options.skip));
  return options;
}

}  // namespace

Profiler::Profiler(const ProfileOptions& options, std::unique_ptr<Kernels>& kernels, Communicator& comm)
    : options_(checked(options)), kernels_(kernels), comm_(comm), ops_(kMaxOps) {
  if (comm.rank() != 0) return;
  out_.open(options_.file, std::ios::binary);
  if (!out_) throw EnvironmentError("profile: can't write " + options_.file + "\n  Name a file in a folder that exists: --profile FILE", ExitCode::kIo);
}

Profiler::~Profiler() {
  if (state_ == State::kTracing) stop_trace();
}

bool Profiler::before_step() {
  const int step = steps_++;
  if (state_ == State::kWaiting && step == options_.skip) start();
  if (state_ != State::kTracing || step < options_.skip + options_.steps) return false;
  write();
  return true;
}

bool Profiler::finish() {
  if (state_ != State::kTracing) return false;
  write();
  return true;
}

// Ranks of one host share its clock; others begin at a common barrier, which is right to about a millisecond.
void Profiler::start() {
  comm_.barrier("profile");
  origin_ns_ = trace_clock_ns();
  const std::int64_t first = comm_.broadcast_value(origin_ns_, 0, "profile");
  if (comm_.host_of(comm_.rank()) == comm_.host_of(0)) origin_ns_ = first;
  tap_.emplace(kernels_, ops_);
  start_trace(kSpansPerThread);
  state_ = State::kTracing;
}

void Profiler::write() {
  const std::vector<TraceTrack> tracks = stop_trace();
  tap_.reset();
  state_ = State::kWritten;
  dropped_ = ops_.dropped();
  for (const TraceTrack& track : tracks) dropped_ += track.dropped;
  const std::string process = fmt::format("rank {} on {}", comm_.rank(), comm_.host_of(comm_.rank()));
  const std::string mine = trace_events(tracks, ops_, comm_.rank(), process, origin_ns_);
  const std::vector<std::string> all = comm_.all_gather_strings(mine, "profile");
  if (comm_.rank() != 0) return;
  out_ << trace_json(all);
  out_.close();
  if (!out_) throw EnvironmentError("profile: writing " + options_.file + " failed: is the disk full?", ExitCode::kIo);
}

}  // namespace lockstep
