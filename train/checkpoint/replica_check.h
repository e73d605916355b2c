// Replicas prove that they agree before anything is saved: each rank hashes its tensors, rank 0 compares. A flipped bit
// on one replica is found and named, and nothing wrong becomes durable.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/checkpoint/state.h"

namespace lockstep {

// One number per tensor, model first, of the bytes in memory order (no conversion: about 20 ms for ResNet-50 with momentum).
std::vector<std::uint64_t> replica_hashes(const TrainingState& state);

// `by_rank[r]` is rank r's replica_hashes(). Nothing when all agree; else a message that names the first tensor that
// differs and the ranks in the minority there (the caller stops with ExitCode::kNumeric).
std::optional<std::string> replica_disagreement(const TrainingState& state, std::span<const std::vector<std::uint64_t>> by_rank);

}  // namespace lockstep
