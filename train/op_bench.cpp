// SPDX-License-Identifier: Apache-2.0
#include "train/op_bench.h"

#include <fmt/format.h>

#include "core/error.h"
#include "train/bench_stats.h"
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

}  // namespace

OpBench bench_ops(const BenchOptions& options, Communicator& comm) {
  BenchJob job(options, comm);
  OpBench result;
  result.steps = job.warm_up(options, comm);
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
      waiting.push_back(static_cast<double>(timed.phases.data_ns + timed.phases.reduce_ns) * 1e-6);
      between.push_back(timed.ms - arithmetic.back() - memory.back() - waiting.back());
    }
  }
  if (log.dropped() > 0)
    throw UserError(fmt::format("bench ops: {} steps make more than {} kernel calls; take fewer --steps", result.steps, kMaxCalls));
  result.groups = group_ops(log, first_calls);
  result.step_ms = spread_of(steps).median;
  result.arithmetic_ms = spread_of(arithmetic).median;
  result.memory_ms = spread_of(memory).median;
  result.waiting_ms = spread_of(waiting).median;
  result.between_ms = spread_of(between).median;
  result.peaks = measure_peaks(*job.session().network.kernels, job.session().network.dtype, comm);
  result.subject = job.subject();
  return result;
}

}  // namespace lockstep
