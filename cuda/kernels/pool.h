// Pooling on the device; what each computes is said in ops/kernels.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/kernels.h"

namespace lockstep::cuda {

void max_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y, View indices);
// Gathers: each dx element looks at the windows that hold it, in order, so nothing is added out of order.
void max_pool_backward(Stream stream, ConstView dy, ConstView indices, const Pool2dParams& params, View dx, GradMode mode);
void avg_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y);
void avg_pool_backward(Stream stream, ConstView dy, const Pool2dParams& params, View dx, GradMode mode);
void adaptive_avg_pool_forward(Stream stream, ConstView x, View y);
void adaptive_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode);
void global_avg_pool_forward(Stream stream, ConstView x, View y);
void global_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode);

}  // namespace lockstep::cuda
