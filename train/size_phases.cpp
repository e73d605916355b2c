// SPDX-License-Identifier: Apache-2.0
#include "train/size_phases.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "proto/config.pb.h"

namespace lockstep {
namespace {

bool same(const ImageSize& a, const ImageSize& b) { return a.height == b.height && a.width == b.width; }

std::string text(const ImageSize& image) { return fmt::format("{} x {}", image.height, image.width); }

}  // namespace

SizePhases::SizePhases(const proto::Config& config, const ImageSize& full, const RunPlan& plan) {
  phases_.push_back({0, 0, full});
  for (const proto::SizePhase& each : config.data().size_phase()) {
    const std::int64_t first_step = each.from_epoch() * plan.steps_per_epoch;
    if (first_step > 0 && first_step >= plan.total_steps) break;
    const Phase phase{first_step, each.from_epoch(), {each.size(), each.size(), full.channels}};
    if (first_step == 0)
      phases_.back() = phase;
    else if (!same(phases_.back().image, phase.image))
      phases_.push_back(phase);
  }
}

ImageSize SizePhases::at(std::int64_t step) const {
  const auto later = std::find_if(phases_.begin() + 1, phases_.end(), [&](const Phase& phase) { return phase.first_step > step; });
  return (later - 1)->image;
}

std::int64_t SizePhases::next_change(std::int64_t step) const {
  for (const Phase& phase : phases_)
    if (phase.first_step > step) return phase.first_step;
  return std::numeric_limits<std::int64_t>::max();
}

ImageSize SizePhases::largest() const {
  const auto area = [](const Phase& phase) { return std::int64_t{1} * phase.image.height * phase.image.width; };
  return std::max_element(phases_.begin(), phases_.end(), [&](const Phase& a, const Phase& b) { return area(a) < area(b); })->image;
}

std::string SizePhases::describe() const {
  if (phases_.size() == 1) return text(phases_[0].image);
  std::string all;
  for (const Phase& phase : phases_) all += fmt::format("{}{} from epoch {}", all.empty() ? "" : ", ", text(phase.image), phase.from_epoch);
  return all;
}

}  // namespace lockstep
