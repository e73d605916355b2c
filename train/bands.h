// Bands: what a recipe is known to reach (evaluation.expected), and whether an evaluation is on track.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "train/plan.h"

namespace lockstep {

namespace proto {
class Evaluation;
}

struct ExpectedRange {
  double min = 0, max = 100;  // top-1 in percent
};

// Between two bands the limits are interpolated; before the first and after the last nothing is expected. `tolerance`, in
// epochs, is how far outside a band's epoch still counts as at it: an epoch need not be a whole number of steps.
std::optional<ExpectedRange> expected_top1(const proto::Evaluation& config, double epoch, double tolerance = 0);

// At a step boundary; the tolerance is half a step.
std::optional<ExpectedRange> expected_at(const proto::Evaluation& config, const RunPlan& plan, std::int64_t step);

// "on track", "below band", "above band".
std::string_view band_verdict(const ExpectedRange& expected, double top1_percent);

// "epoch 12: 58.10 %, expected 57.4 to 58.9: on track"
std::string describe_band(double epoch, const ExpectedRange& expected, double top1_percent);

}  // namespace lockstep
