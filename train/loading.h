// Loader options from the config: the one place where a config becomes augmentation.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "data/loader.h"
#include "train/session.h"
#include "train/size_phases.h"

namespace lockstep {

// Sizes of the session's training images.
SizePhases size_phases(const Session& session);

// Throws UserError when the network or the augmentation cannot take training images of one of the sizes.
void check_training_sizes(const Session& session);

// This rank's training batches from `start_step` on, in the size of that step: to be used until the size changes.
LoaderOptions train_loader_options(const Session& session, int rank, std::int64_t start_step);

// This rank's share of the evaluation set.
EvalLoaderOptions eval_loader_options(const proto::Config& config, const ImageSize& image, int rank, int world, const Network& network);

// The host memory that the network's GPU copies from without blocking; null for a CPU.
MemoryPool* pinned_memory(const Network& network);

}  // namespace lockstep
