// BenchJob: a training job set up to be measured: from a config, or from a network's name and made-up images.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "distributed/communicator.h"
#include "train/session.h"
#include "train/step.h"

namespace lockstep {

struct BenchOptions {
  std::optional<LoadedConfig> config;  // if given: the job; the next thirteen are not looked at
  std::string model = "resnet50";
  std::int64_t batch = 16;  // images per rank and step
  int accumulate = 1;       // shards that a rank runs one after the other, each of batch / accumulate images
  int base_width = 0;       // channels of the first stage; 0: the model's own
  int size = 224;           // height and width
  int channels = 3;
  int classes = 1000;
  std::string dtype = "f32";         // f32, bf16, f16 or f64
  std::string backend = "AUTO";      // AUTO, FAST, REFERENCE, CUDA
  std::string reduction = "EXACT";   // EXACT or FAST
  std::string wire = "FP32";         // FP32 or BF16
  std::string norm_scope = "SHARD";  // SHARD or GLOBAL
  int threads = 1;                   // per rank
  std::vector<std::string> set;      // "path=value": changes of the config that these options make
  int warmup = 2;
  int steps = 5;
  double seconds = 0;  // > 0: as many steps as take about this long (at least 3), instead of `steps`
};

// What is measured, for reports.
struct BenchSubject {
  std::string model;
  int height = 0, width = 0;
  std::string dtype;
  int ranks = 1, threads = 1;
  std::int64_t rank_batch = 0;  // images per rank and step
};

class BenchJob {
 public:
  // Collective. Throws UserError for options that do not fit together.
  BenchJob(const BenchOptions& options, Communicator& comm);

  // The next training step: its wall-clock time in ms and its phases. On a GPU steps overlap with the host, which waits for the
  // one before: one step's time means little, the median of several is a step's, and the phases are those of the step before.
  struct Timed {
    double ms = 0;
    StepTimes phases;
  };
  Timed step();
  void finish();  // blocks until all steps are done
  // Runs the warm-up and returns how many steps to time; the same on every rank.
  int warm_up(const BenchOptions& options, Communicator& comm);

  Session& session() { return session_; }
  StepRunner& runner() { return *runner_; }
  BenchSubject subject() const;

 private:
  Session session_;
  Loader loader_;  // before the runner, which may hold its batches
  std::unique_ptr<StepRunner> runner_;
  std::int64_t next_step_ = 0;
};

}  // namespace lockstep
