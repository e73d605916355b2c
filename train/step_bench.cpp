// SPDX-License-Identifier: Apache-2.0
#include "train/step_bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <vector>

#include "core/memory.h"
#include "train/memory_plan.h"
#include "train/step_entries.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

constexpr double kMs = 1e-6;  // ns -> ms
constexpr int kTracedSteps = 3;
constexpr int kDeviceWarmUp = 5;
constexpr std::size_t kMaxTracedCalls = std::size_t{1} << 15;

std::uint64_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

std::vector<BenchJob::Timed> time_steps(BenchJob& job, int count) {
  std::vector<BenchJob::Timed> timings;
  for (int i = 0; i < count; ++i) timings.push_back(job.step());
  return timings;
}

double median_ms(const std::vector<BenchJob::Timed>& timings, std::int64_t StepTimes::*phase) {
  std::vector<double> values;
  for (const BenchJob::Timed& timing : timings) values.push_back(static_cast<double>(timing.phases.*phase) * kMs);
  return spread_of(values).median;
}

StepBenchResult summarise(const std::vector<BenchJob::Timed>& timings) {
  StepBenchResult result;
  std::vector<double> steps;
  for (const BenchJob::Timed& timing : timings) steps.push_back(timing.ms);
  result.steps = static_cast<int>(steps.size());
  result.step_ms = spread_of(steps);
  result.data_ms = median_ms(timings, &StepTimes::data_ns);
  result.forward_ms = median_ms(timings, &StepTimes::forward_ns);
  result.backward_ms = median_ms(timings, &StepTimes::backward_ns);
  result.reduce_ms = median_ms(timings, &StepTimes::reduce_ns);
  result.update_ms = median_ms(timings, &StepTimes::update_ns);
  result.device_ms = median_ms(timings, &StepTimes::device_ns);
  return result;
}

// Where the time of further steps goes, on this rank. On a device calls are timed one by one, which takes longer than the
// step; what is between them is what the timed steps took beyond their sum.
void trace_steps(BenchJob& job, StepBenchResult& result) {
  const bool on_device = job.session().network.kernels->device() != Device{};
  job.finish();
  job.runner().use_recording(false);
  OpLog log(kMaxTracedCalls);
  const KernelTap tap(job.session().network.kernels, log);
  std::vector<double> steps, others;
  std::array<std::vector<double>, kOpClasses> classes;
  for (int i = 0; i < kTracedSteps; ++i) {
    log.clear();
    const BenchJob::Timed timed = job.step();
    if (log.dropped() > 0)
      throw UserError("bench step: a step makes more than " + std::to_string(kMaxTracedCalls) +
                      " kernel calls; take fewer shards (--accumulate)");
    std::array<double, kOpClasses> class_ms{};
    double in_ops = 0;
    result.flops = 0;
    for (const OpCall& call : log.calls()) {
      class_ms[static_cast<std::size_t>(call.op_class)] += call.ms();
      in_ops += call.ms();
      result.flops += call.flops;
    }
    for (std::size_t c = 0; c < kOpClasses; ++c) classes[c].push_back(class_ms[c]);
    steps.push_back(timed.ms);
    others.push_back((on_device ? result.device_ms : timed.ms - static_cast<double>(timed.phases.data_ns + timed.phases.reduce_ns) * kMs) - in_ops);
  }
  job.finish();
  result.traced_step_ms = on_device ? result.device_ms : spread_of(steps).median;
  result.other_ms = spread_of(others).median;
  for (std::size_t c = 0; c < kOpClasses; ++c) result.class_ms[c] = spread_of(classes[c]).median;
}

// The slowest rank's times: the others wait for it.
void merge_ranks(StepBenchResult& result, Communicator& comm) {
  const std::vector<StepBenchResult> all = comm.all_gather_values(result, "bench results");
  result = *std::max_element(all.begin(), all.end(), [](const StepBenchResult& a, const StepBenchResult& b) {
    return a.step_ms.median < b.step_ms.median;
  });
  result.warm_system_allocations = 0;
  for (const StepBenchResult& each : all) {
    result.peak_bytes = std::max(result.peak_bytes, each.peak_bytes);
    result.pool_peak_bytes = std::max(result.pool_peak_bytes, each.pool_peak_bytes);
    result.warm_system_allocations += each.warm_system_allocations;
  }
}

}  // namespace

StepBench bench_step(const BenchOptions& options, Communicator& comm) {
  BenchJob job(options, comm);
  const MemoryPlan memory = plan_memory_of(job.session());
  prefault(memory);
  const MemoryPool& pool = pool_of(memory.device);
  if (memory.device != Device{})  // eager steps, the recording, the first replays
    for (int i = 0; i < kDeviceWarmUp; ++i) job.step();
  const int count = job.warm_up(options, comm);
  const std::uint64_t allocations = pool.stats().system_allocations;
  StepBenchResult result = summarise(time_steps(job, count));
  result.warm_system_allocations = pool.stats().system_allocations - allocations;
  result.pool_peak_bytes = memory.device == Device{} ? pool.stats().peak_bytes : job.runner().device_peak_bytes();
  result.planned_peak_bytes = memory.peak_bytes();
  result.peak_bytes = peak_resident_bytes();
  trace_steps(job, result);
  result.peaks = measure_peaks(*job.session().network.kernels, job.session().network.dtype, comm);
  merge_ranks(result, comm);
  result.gradient_bytes = gradient_bytes(*job.session().network.model);
  result.images_per_second = static_cast<double>(job.session().plan.global_batch) / (result.step_ms.median * 1e-3);
  return {job.subject(), result};
}

}  // namespace lockstep
