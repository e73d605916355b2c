// What a person who has trained at scale would say about a config before it runs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "train/dry_run.h"

namespace lockstep {

struct PlanWarning {
  std::string id;    // stable, for programs: "lr-above-linear"
  std::string text;  // what is unusual, by which source, what to do
};

// From the config and what follows from it alone, in this order: lr-above-linear, lr-below-linear, batch-beyond-published, no-warmup,
// epochs-too-few (these for ImageNet, whose points are published; no-warmup for all), norm-too-small, left-out, few-ranks.
std::vector<PlanWarning> plan_warnings(const DryRun& run);

}  // namespace lockstep
