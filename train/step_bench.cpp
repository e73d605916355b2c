// SPDX-License-Identifier: Apache-2.0
#include "train/step_bench.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/memory.h"
#include "proto/config.pb.h"
#include "train/clock.h"
#include "train/loading.h"
#include "train/session.h"
#include "train/step.h"

namespace lockstep {
namespace {

constexpr double kMs = 1e-6;  // ns -> ms

LoadedConfig bench_config(const StepBenchOptions& options, int ranks) {
  if (options.accumulate < 1 || options.batch % options.accumulate != 0)
    throw UserError(fmt::format("bench: --accumulate {} must divide --batch {}", options.accumulate, options.batch));
  if (options.dtype != "f32" && options.dtype != "f64")
    throw UserError("bench: --dtype: got '" + options.dtype + "', want f32 or f64");
  const std::int64_t global_batch = options.batch * ranks;
  const std::string text = fmt::format(
      "name: 'bench' epochs: 1 precision: {} backend: {} threads_per_rank: {}\n"
      "model {{ name: '{}' classes: {} base_width: {} batch_norm {{ scope: {} }} }}\n"
      "data {{ source: SYNTHETIC height: {} width: {} channels: {} synthetic {{ size: {} eval_size: 0 classes: {} }} }}\n"
      "batch {{ global_batch: {} shard_batch: {} }}\n"
      "schedule {{ kind: CONSTANT lr: 0.01 }}\n"
      "distributed {{ reduction: {} wire: {} }}",
      options.dtype == "f64" ? "FP64" : "FP32", options.backend, options.threads, options.model, options.classes, options.base_width,
      options.norm_scope, options.size, options.size, options.channels, global_batch * 8, options.classes, global_batch,
      options.batch / options.accumulate, options.reduction, options.wire);
  LoadedConfig loaded = parse_config(text, "bench options");
  validate(loaded);
  return loaded;
}

std::uint64_t peak_resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

// One timed step of one rank, in milliseconds.
struct Timing {
  double step = 0, data = 0, forward = 0, backward = 0, reduce = 0, update = 0;
};

// Steps [first, first + count).
std::vector<Timing> time_steps(int first, int count, Session& session, StepRunner& runner, Loader& loader) {
  std::vector<Timing> timings;
  for (int step = first; step < first + count; ++step) {
    const std::int64_t begin = steady_ns();
    const StepTimes times = runner.run(step, session.schedule->lr(step), loader).times;
    timings.push_back({static_cast<double>(steady_ns() - begin) * kMs, static_cast<double>(times.data_ns) * kMs,
                       static_cast<double>(times.forward_ns) * kMs, static_cast<double>(times.backward_ns) * kMs,
                       static_cast<double>(times.reduce_ns) * kMs, static_cast<double>(times.update_ns) * kMs});
  }
  return timings;
}

double median_of(const std::vector<Timing>& timings, double Timing::*field) {
  std::vector<double> values;
  for (const Timing& timing : timings) values.push_back(timing.*field);
  return median(values);
}

StepBenchResult summarise(const std::vector<Timing>& timings) {
  StepBenchResult result;
  std::vector<double> steps;
  for (const Timing& timing : timings) steps.push_back(timing.step);
  result.step_ms = median(steps);
  result.step_ms_min = *std::min_element(steps.begin(), steps.end());
  result.step_ms_max = *std::max_element(steps.begin(), steps.end());
  result.data_ms = median_of(timings, &Timing::data);
  result.forward_ms = median_of(timings, &Timing::forward);
  result.backward_ms = median_of(timings, &Timing::backward);
  result.reduce_ms = median_of(timings, &Timing::reduce);
  result.update_ms = median_of(timings, &Timing::update);
  return result;
}

// The slowest rank's times: the others wait for it.
void merge_ranks(StepBenchResult& result, Communicator& comm) {
  const std::vector<StepBenchResult> all = comm.all_gather_values(result, "bench results");
  result = *std::max_element(all.begin(), all.end(),
                             [](const StepBenchResult& a, const StepBenchResult& b) { return a.step_ms < b.step_ms; });
  result.warm_system_allocations = 0;
  for (const StepBenchResult& each : all) {
    result.peak_bytes = std::max(result.peak_bytes, each.peak_bytes);
    result.pool_peak_bytes = std::max(result.pool_peak_bytes, each.pool_peak_bytes);
    result.warm_system_allocations += each.warm_system_allocations;
  }
}

}  // namespace

StepBenchResult bench_step(const StepBenchOptions& options, Communicator& comm) {
  if (options.warmup < 1 || options.steps < 1) throw UserError("bench: --warmup and --steps: want at least 1");
  Session session = make_session(bench_config(options, comm.size()), comm.size());
  StepRunner runner(session.config(), session.plan, session.network, *session.optimizer, comm);
  Loader loader(*session.train_source, train_loader_options(session, comm.rank(), 0));

  time_steps(0, options.warmup, session, runner, loader);
  const std::uint64_t allocations = cpu_pool().stats().system_allocations;
  StepBenchResult result = summarise(time_steps(options.warmup, options.steps, session, runner, loader));
  result.warm_system_allocations = cpu_pool().stats().system_allocations - allocations;
  result.pool_peak_bytes = cpu_pool().stats().peak_bytes;
  result.peak_bytes = peak_resident_bytes();
  merge_ranks(result, comm);
  result.ranks = comm.size();
  result.gradient_bytes = runner.gradient_bytes();
  result.images_per_second = static_cast<double>(session.plan.global_batch) / (result.step_ms * 1e-3);
  return result;
}

}  // namespace lockstep
