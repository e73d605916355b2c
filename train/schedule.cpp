// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "proto/config.pb.h"

namespace lockstep {
namespace {

using Factor = std::function<double(double)>;

// Decays from 1 to `end` while p = (epoch - begin) / (epochs - begin) goes from 0 to 1; `shape(p)` goes from 1 to 0.
Factor decay(double begin, double epochs, double end, std::function<double(double)> shape) {
  return [=](double epoch) {
    const double p = epochs > begin ? std::clamp((epoch - begin) / (epochs - begin), 0.0, 1.0) : 1.0;
    return end + (1 - end) * shape(p);
  };
}

double half_cosine(double p) { return 0.5 * (1 + std::cos(std::numbers::pi * p)); }

// Smith & Topin 2017 with cosine ramps (as torch's OneCycleLR): up to the peak, then down to end_factor.
Factor one_cycle(const proto::OneCycle& cycle, double epochs) {
  const double peak_epoch = cycle.peak_fraction() * epochs;
  const double start = cycle.start_factor();
  const double end = cycle.end_factor();
  return [=](double epoch) {
    if (epoch < peak_epoch) return 1 + (start - 1) * half_cosine(epoch / peak_epoch);
    const double p = epochs > peak_epoch ? std::min((epoch - peak_epoch) / (epochs - peak_epoch), 1.0) : 1.0;
    return end + (1 - end) * half_cosine(p);
  };
}

// Drops by gamma at each milestone that has been passed. The half-step tolerance keeps e.g. step 300 of 10-step epochs
// at milestone 30 whatever the division rounded to.
Factor drops(std::vector<double> milestones, double gamma, double steps_per_epoch) {
  return [=](double epoch) {
    const auto passed = std::count_if(milestones.begin(), milestones.end(),
                                      [&](double milestone) { return epoch >= milestone - 0.5 / steps_per_epoch; });
    return std::pow(gamma, static_cast<double>(passed));
  };
}

std::vector<double> every(double step_epochs, double epochs) {
  std::vector<double> milestones;
  for (double milestone = step_epochs; milestone < epochs; milestone += step_epochs) milestones.push_back(milestone);
  return milestones;
}

Factor make_factor(const proto::Schedule& schedule, double epochs, double steps_per_epoch) {
  const double begin = schedule.warmup_epochs();
  const double end = schedule.end_factor();
  switch (schedule.kind()) {
    case proto::Schedule::CONSTANT: return [](double) { return 1.0; };
    case proto::Schedule::STEP: return drops(every(schedule.step_epochs(), epochs), schedule.gamma(), steps_per_epoch);
    case proto::Schedule::MULTISTEP:
      return drops({schedule.milestones_epochs().begin(), schedule.milestones_epochs().end()}, schedule.gamma(), steps_per_epoch);
    case proto::Schedule::COSINE: return decay(begin, epochs, end, half_cosine);
    case proto::Schedule::POLY:
      return decay(begin, epochs, end, [power = schedule.power()](double p) { return std::pow(1 - p, power); });
    case proto::Schedule::LINEAR: return decay(begin, epochs, end, [](double p) { return 1 - p; });
    case proto::Schedule::ONE_CYCLE: return one_cycle(schedule.one_cycle(), epochs);
  }
  return {};
}

}  // namespace

Schedule::Schedule(const proto::Config& config, std::int64_t steps_per_epoch)
    : peak_(config.schedule().has_lr_per_256()
                ? config.schedule().lr_per_256() * static_cast<double>(config.batch().global_batch()) / 256
                : config.schedule().lr()),
      epochs_(config.epochs()),
      steps_per_epoch_(static_cast<double>(steps_per_epoch)),
      warmup_epochs_(config.schedule().warmup_epochs()),
      warmup_start_factor_(config.schedule().warmup_start_factor()),
      factor_(make_factor(config.schedule(), epochs_, steps_per_epoch_)) {}

double Schedule::lr(std::int64_t step) const {
  const double epoch = static_cast<double>(step) / steps_per_epoch_;
  if (epoch < warmup_epochs_)
    return peak_ * (warmup_start_factor_ + (1 - warmup_start_factor_) * epoch / warmup_epochs_);
  return peak_ * factor_(epoch);
}

}  // namespace lockstep
