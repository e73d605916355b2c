// A world in which training is a formula: samples to a target follow E = E_min (1 + B / B_crit) at the best learning rate, other rates are
// slower, too large ones diverge, seeds scatter. What a sweep should find is known.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sweep/run_sweep.h"
#include "sweep/sweep_plan.h"
#include "sweep/trial_runner.h"

namespace lockstep::testing {

struct World {
  double min_samples = 40000, critical_batch = 512;
  double best_lr_at_small_batch = 0.8;  // per 256 samples; lr* = this * (B / 256) / (1 + B / B_crit)
  double diverges_above = 40;           // times lr*
  double plateau = 0.95;                // accuracy in the limit
  double scatter = 0.001;               // of seeds
  double noise_scale = 500;             // what gradients would say

  double best_lr(double batch) const { return best_lr_at_small_batch * batch / 256 / (1 + batch / critical_batch); }
  // Samples to 90 % at this rate.
  double samples(double batch, double lr) const;
  double top1(const TrialKey& key, std::int64_t step) const;
};

// Trials end in an order drawn from `seed`, some polls later.
class WorldRunner : public TrialRunner {
 public:
  WorldRunner(const World& world, const SweepPlan& plan, std::uint64_t seed = 1) : world_(world), plan_(plan), random_(seed) {}

  void start(const TrialRequest& request) override;
  std::optional<TrialEnd> poll(double timeout_s) override;
  void stop_all() override { stopping_ = true; }

  int started() const { return static_cast<int>(tasks_.size()); }
  const std::vector<TrialRequest>& tasks() const { return tasks_; }
  std::function<void(int polls)> on_poll = [](int) {};             // may throw: a death
  std::function<void(TrialEnd& end)> on_end = [](TrialEnd&) {};     // may change what happened

 private:
  std::uint64_t draw();
  World world_;
  const SweepPlan& plan_;
  std::uint64_t random_;
  std::vector<TrialRequest> tasks_, running_;
  int polls_ = 0;
  bool stopping_ = false;
};

// 12,800 images, 20 epochs, batch 128 of shards of 32, learning rate 0.4.
LoadedConfig world_config(const std::vector<ConfigOverride>& overrides = {});
inline constexpr DataSizes kWorldData{12800, 2000};

class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

RunSweepOptions quiet(int jobs = 1);

}  // namespace lockstep::testing
