// Depthwise convolutions (a filter per channel) on the device. They move bytes, not operations: no library, and no tensor cores.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/kernels.h"

namespace lockstep::cuda {

// As many filters as channels and groups, no dilation, at most 11x11 taps. x (N, C, H, W), w (C, 1, R, S).
bool is_depthwise(const Shape& x, const Shape& w, const Conv2dParams& params);

// As ops/kernels.h's convolutions, without a bias. Scratch: the filter in f32; for its gradient at most 528 of it.
void depthwise_forward(Stream stream, ConstView x, ConstView w, const Conv2dParams& params, View y);
void depthwise_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode);
void depthwise_backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode);

}  // namespace lockstep::cuda
