// SPDX-License-Identifier: Apache-2.0
#include "train/loader_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "train/clock.h"
#include "train/loading.h"
#include "train/session.h"

namespace lockstep {
namespace {

constexpr int kMinBatches = 3;

// Time from one batch to the next, in ms.
std::vector<double> time_batches(Loader& loader, int count) {
  std::vector<double> ms;
  for (int i = 0; i < count; ++i) {
    const std::int64_t begin = steady_ns();
    loader.next();
    ms.push_back(static_cast<double>(steady_ns() - begin) * 1e-6);
  }
  return ms;
}

// Stages in the order in which a sample passes them, of the samples between two readings.
std::vector<LoaderStage> stages_between(const StageTimes& before, const StageTimes& after) {
  const double images = static_cast<double>(std::max<std::int64_t>(1, after.samples - before.samples));
  const auto us = [&](std::int64_t from, std::int64_t to) { return static_cast<double>(to - from) * 1e-3 / images; };
  std::vector<LoaderStage> stages{{"read", us(before.read_ns, after.read_ns)},
                                  {"decode", us(before.decode_ns, after.decode_ns)},
                                  {"augment", us(before.augment_ns, after.augment_ns)}};
  std::erase_if(stages, [](const LoaderStage& stage) { return stage.us_per_image == 0; });
  return stages;
}

LoaderRow bench_threads(const Session& session, const LoaderBenchOptions& options, int threads, Communicator& comm) {
  LoaderOptions loader_options = train_loader_options(session, comm.rank(), 0);
  loader_options.threads = threads;
  Loader loader(*session.train_source, loader_options);
  const std::vector<double> warm = time_batches(loader, options.warmup);
  int count = options.batches;
  if (options.seconds > 0) {
    const double ms = std::max(1e-3, std::accumulate(warm.begin(), warm.end(), 0.0) / static_cast<double>(warm.size()));
    count = comm.broadcast_value(std::max(kMinBatches, static_cast<int>(std::min(1e6, std::ceil(options.seconds * 1e3 / ms)))), 0);
  }
  comm.barrier("bench loader");
  const StageTimes before = loader.stats().stages;
  const std::vector<double> ms = time_batches(loader, count);
  LoaderRow row;
  row.stages = stages_between(before, loader.stats().stages);
  row.threads = threads;
  row.images = count * session.plan.shard_batch;
  // The ring is full at the start and is as full at the end, but for what was waited for: so the sum is the loading.
  const double total_ms = std::accumulate(ms.begin(), ms.end(), 0.0);
  for (const double each : comm.all_gather_values(static_cast<double>(row.images) / total_ms * 1e3)) row.images_per_second += each;
  const std::vector<Spread> spreads = comm.all_gather_values(spread_of(ms));
  row.batch_ms = *std::max_element(spreads.begin(), spreads.end(), [](const Spread& a, const Spread& b) { return a.median < b.median; });
  return row;
}

}  // namespace

LoaderBench bench_loader(const LoadedConfig& config, const LoaderBenchOptions& options, Communicator& comm) {
  if (options.warmup < 1 || options.batches < 1) throw UserError("bench loader: --warmup and --steps: want at least 1");
  const Session session = make_session(config, comm.size(), 0, false);
  std::vector<int> threads = options.threads;
  if (threads.empty()) threads.push_back(train_loader_options(session, comm.rank(), 0).threads);
  LoaderBench result{session.train_source->describe(), session.plan.shard_batch, comm.size(), {}};
  for (const int each : threads) {
    if (each < 0) throw UserError(fmt::format("bench loader: --threads: got {}, want 0 or more", each));
    result.rows.push_back(bench_threads(session, options, each, comm));
  }
  return result;
}

}  // namespace lockstep
