// Schedule: the learning rate as a pure function of the step. Computed, never stored, so a resume can't be off by one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace lockstep {

namespace proto {
class Config;
}

// Times in epochs; the rate changes every step. `epoch = step / steps_per_epoch` is where the step begins.
class Schedule {
 public:
  // Peak rate: `lr`, or `lr_per_256 * global_batch / 256` (Goyal et al. 2017, the linear scaling rule).
  Schedule(const proto::Config& config, std::int64_t steps_per_epoch);

  double lr(std::int64_t step) const;
  double peak() const { return peak_; }

 private:
  double peak_;
  double epochs_;
  double steps_per_epoch_;
  double warmup_epochs_;
  double warmup_start_factor_;
  std::function<double(double)> factor_;  // epoch -> share of the peak, after the warm-up
};

}  // namespace lockstep
