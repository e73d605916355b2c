// Networks with shifts in place of spatial convolutions: Wu et al. 2017, "Shift: a zero FLOP, zero parameter alternative to spatial
// convolutions" (arXiv 1711.08141).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

// ShiftResNet with 6n + 2 layers for small images (section 4.1), with our ResNets' names: each block is a 1x1 convolution to 6 times
// the block's channels, a 3x3 shift and a 1x1 convolution (expansion 6 of the paper's 1, 3, 6 and 9).
std::unique_ptr<Model> make_shiftresnet(const ModelOptions& options, int blocks_per_stage);

// ShiftNet-A (base_width 32) and ShiftNet-B (16: all channels halved) of section 4.2, for ImageNet.
std::unique_ptr<Model> make_shiftnet(const ModelOptions& options, int base_width);

}  // namespace lockstep
