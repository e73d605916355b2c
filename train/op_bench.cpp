// SPDX-License-Identifier: Apache-2.0
#include "train/op_bench.h"

#include <fmt/format.h>

#include "core/error.h"
#include "train/bench_stats.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

constexpr std::size_t kMaxCalls = std::size_t{1} << 18;

}  // namespace

OpBench bench_ops(const BenchOptions& options, Communicator& comm) {
  BenchJob job(options, comm);
  OpBench result;
  result.steps = job.warm_up(options, comm);
  OpLog log(kMaxCalls);
  std::vector<std::size_t> first_calls;
  std::vector<double> steps, waiting;
  {
    const KernelTap tap(job.session().network.kernels, log);
    for (int i = 0; i < result.steps; ++i) {
      first_calls.push_back(log.calls().size());
      const BenchJob::Timed timed = job.step();
      steps.push_back(timed.ms);
      waiting.push_back(static_cast<double>(timed.phases.data_ns + timed.phases.reduce_ns) * 1e-6);
    }
  }
  if (log.dropped() > 0)
    throw UserError(fmt::format("bench ops: {} steps make more than {} kernel calls; take fewer --steps", result.steps, kMaxCalls));
  result.groups = group_ops(log, first_calls);
  result.step_ms = spread_of(steps).median;
  result.waiting_ms = spread_of(waiting).median;
  result.peaks = measure_peaks(*job.session().network.kernels, job.session().network.dtype, comm);
  result.subject = job.subject();
  return result;
}

}  // namespace lockstep
