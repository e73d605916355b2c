// The shape rule that max_pool and avg_pool share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "core/shape.h"
#include "ops/kernels.h"

namespace lockstep {

// x (N, C, H, W) -> (N, C, P, Q). The padding is at most half the kernel, so that every window holds a pixel.
Shape pool_shape(std::string_view op, const Shape& x, const Pool2dParams& params);

}  // namespace lockstep
