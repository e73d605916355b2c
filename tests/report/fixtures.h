// Run folders and sweeps made up for tests, with numbers that are known.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "sweep/sweep_result.h"

namespace lockstep::testing {

// A folder of its own, removed at the end.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void write_text(const std::string& path, const std::string& text);
std::string read_text(const std::string& path);

struct MadeRun {
  int batch = 128;
  double lr = 0.2;
  int steps_per_epoch = 100, epochs = 10;
  int every_steps = 20;          // between records
  double images_per_second = 1000;
  double wait_frac = 0.05, reduce_ms = 2;
  double loss = 2;               // at the start
  double final_top1 = 0.93;
  bool band = true, energy = true, resumed = true, noise = true;
};

// Writes what `lockstep train` would: run.json, both configs, metrics.jsonl, logs, bad_samples.tsv.
void make_run(const std::string& folder, const MadeRun& made = {});

// Eight batches from 64, three seeds, E = E_min (1 + B / 1000); the two largest lose accuracy. All rates of a grid were tried.
SweepResult made_sweep();

}  // namespace lockstep::testing
