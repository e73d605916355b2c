// The parts of `lockstep bench`: one file per measurement, and the options that they share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tools/commands.h"
#include "tools/options.h"
#include "train/bench_setup.h"
#include "train/bench_stats.h"

namespace lockstep {

void add_bench_step(CLI::App& bench, Run& run);
void add_bench_ops(CLI::App& bench, Run& run);
void add_bench_allreduce(CLI::App& bench, Run& run);
void add_bench_loader(CLI::App& bench, Run& run);
void add_bench_device(CLI::App& bench, Run& run);

// What to run: --config FILE [--set ...], or --model, --batch, ...; and how long.
struct BenchFlags {
  BenchOptions options;
  ConfigOptions config;
  bool json = false;
};
void add_bench_options(CLI::App& command, BenchFlags& flags);
BenchOptions bench_options(const BenchFlags& flags);  // with the config loaded

std::string subject_text(const BenchSubject& subject);  // "resnet50 224x224 f32, 2 ranks x 16 images"
nlohmann::ordered_json subject_json(const BenchSubject& subject);
nlohmann::ordered_json spread_json(const Spread& spread);

}  // namespace lockstep
