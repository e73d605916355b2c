// What follows from a run's config, data and machine, for the banner: derived values in reading order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "train/memory_plan.h"
#include "train/session.h"

namespace lockstep {

std::vector<std::pair<std::string, std::string>> describe_run(const Session& session, const MemoryPlan& memory, const std::string& transport);

// What the config asks of this machine that it does badly.
std::vector<std::string> run_warnings(const proto::Config& config);

}  // namespace lockstep
