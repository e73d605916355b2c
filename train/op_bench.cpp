// SPDX-License-Identifier: Apache-2.0
#include "train/op_bench.h"

#include <fmt/format.h>

#include "core/error.h"
#include "train/bench_stats.h"
#include "train/clock.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

constexpr std::size_t kMaxCalls = std::size_t{1} << 18;

// Of the calls from `first` on: those of convolutions and matrix products, or the others.
double ms_since(const OpLog& log, std::size_t first, bool arithmetic) {
  double ms = 0;
  for (std::size_t i = first; i < log.calls().size(); ++i)
    if (is_arithmetic(log.calls()[i].op_class) == arithmetic) ms += log.calls()[i].ms();
  return ms;
}

constexpr int kDeviceWarmUp = 5;  // eager steps, the recording, the first replays

// What a step takes on a device when nobody times its calls: the step that the calls' times are a share of.
double untimed_step_ms(BenchJob& job, int steps) {
  for (int i = 0; i < kDeviceWarmUp; ++i) job.step();
  job.finish();
  const std::int64_t begin = steady_ns();
  for (int i = 0; i < steps; ++i) job.step();
  job.finish();
  return static_cast<double>(steady_ns() - begin) * 1e-6 / steps;
}

}  // namespace

OpBench bench_ops(const BenchOptions& options, Communicator& comm) {
  BenchJob job(options, comm);
  OpBench result;
  result.steps = job.warm_up(options, comm);
  const bool on_device = result.on_device = job.session().network.kernels->device().kind != DeviceKind::kCpu;
  if (on_device) result.step_ms = untimed_step_ms(job, result.steps);
  job.runner().use_recording(false);
  OpLog log(kMaxCalls);
  std::vector<std::size_t> first_calls;
  std::vector<double> steps, arithmetic, memory, waiting, between;
  {
    const KernelTap tap(job.session().network.kernels, log);
    for (int i = 0; i < result.steps; ++i) {
      first_calls.push_back(log.calls().size());
      const BenchJob::Timed timed = job.step();
      steps.push_back(timed.ms);
      arithmetic.push_back(ms_since(log, first_calls.back(), true));
      memory.push_back(ms_since(log, first_calls.back(), false));
      waiting.push_back(on_device ? 0 : static_cast<double>(timed.phases.data_ns + timed.phases.reduce_ns) * 1e-6);
      const double step_ms = on_device ? result.step_ms : timed.ms;
      between.push_back(step_ms - arithmetic.back() - memory.back() - waiting.back());
    }
    job.finish();
  }
  if (log.dropped() > 0)
    throw UserError(fmt::format("bench ops: {} steps make more than {} kernel calls; take fewer --steps", result.steps, kMaxCalls));
  result.groups = group_ops(log, first_calls);
  if (!on_device) result.step_ms = spread_of(steps).median;
  result.arithmetic_ms = spread_of(arithmetic).median;
  result.memory_ms = spread_of(memory).median;
  result.waiting_ms = spread_of(waiting).median;
  result.between_ms = spread_of(between).median;
  result.peaks = measure_peaks(*job.session().network.kernels, job.session().network.dtype, comm);
  result.subject = job.subject();
  return result;
}

}  // namespace lockstep
