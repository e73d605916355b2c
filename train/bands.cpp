// SPDX-License-Identifier: Apache-2.0
#include "train/bands.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/config.pb.h"

namespace lockstep {

std::optional<ExpectedRange> expected_top1(const proto::Evaluation& config, double epoch, double tolerance) {
  const auto& bands = config.expected();
  if (bands.empty()) return std::nullopt;
  const double first = bands[0].epoch(), last = bands[bands.size() - 1].epoch();
  if (epoch < first - tolerance || epoch > last + tolerance) return std::nullopt;
  epoch = std::clamp(epoch, first, last);
  int after = 0;
  while (bands[after].epoch() < epoch) ++after;
  const proto::Band& high = bands[after];
  const proto::Band& low = bands[std::max(after - 1, 0)];
  const double t = high.epoch() > low.epoch() ? (epoch - low.epoch()) / (high.epoch() - low.epoch()) : 1;
  return ExpectedRange{low.top1_min() + t * (high.top1_min() - low.top1_min()), low.top1_max() + t * (high.top1_max() - low.top1_max())};
}

std::optional<ExpectedRange> expected_at(const proto::Evaluation& config, const RunPlan& plan, std::int64_t step) {
  return expected_top1(config, plan.epoch_of(step), 0.5 / static_cast<double>(plan.steps_per_epoch));
}

std::string_view band_verdict(const ExpectedRange& expected, double top1_percent) {
  if (top1_percent < expected.min) return "below band";
  return top1_percent > expected.max ? "above band" : "on track";
}

std::string describe_band(double epoch, const ExpectedRange& expected, double top1_percent) {
  return fmt::format("epoch {:.4g}: {:.2f} %, expected {:.1f} to {:.1f}: {}", epoch, top1_percent, expected.min, expected.max,
                     band_verdict(expected, top1_percent));
}

}  // namespace lockstep
