// loader_bench: how fast a config's data is read, by number of threads, with nothing else to do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "train/bench_stats.h"
#include "train/config/config.h"

namespace lockstep {

struct LoaderBenchOptions {
  std::vector<int> threads;  // per rank; empty: what the config says. 0: the calling thread
  int warmup = 4;            // batches
  int batches = 50;
  double seconds = 0;  // > 0: batches for about so long, instead of `batches`
};

// A stage's time in the loader's threads, per image: "read", "decode" (encoded images only), "augment". One does not hold another.
struct LoaderStage {
  std::string name;
  double us_per_image = 0;
};

struct LoaderRow {
  int threads = 0;
  std::int64_t images = 0;       // timed, of one rank
  double images_per_second = 0;  // all ranks together
  Spread batch_ms;               // between two batches, of the slowest rank
  std::vector<LoaderStage> stages;  // this rank's
};

struct LoaderBench {
  std::string source;
  std::int64_t shard_batch = 0;
  int ranks = 1;
  std::vector<LoaderRow> rows;
};

// Collective; blocks. Throws UserError for bad options or data.
LoaderBench bench_loader(const LoadedConfig& config, const LoaderBenchOptions& options, Communicator& comm);

}  // namespace lockstep
