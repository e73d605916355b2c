// MobileNets. v1: Howard et al. 2017 (arXiv 1704.04861), table 1, with names in the manner of torchvision's v2. v2: Sandler et al.
// 2018 (arXiv 1801.04381), with torchvision's names. The channels of both follow model.width_multiplier, rounded to multiples of 8.
// `stem: SMALL`: the first convolution and the first depthwise one with stride 2 have stride 1, so that 32x32 images end as 4x4.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_mobilenet_v1(const ModelOptions& options);
std::unique_ptr<Model> make_mobilenet_v2(const ModelOptions& options);

}  // namespace lockstep
