// Batch norm on the device; what each computes is said in ops/kernels.h.
//
// All are bound by memory: x is read once (moments, sums) or once and written once (apply), 16 bytes at a time where C allows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/kernels.h"

namespace lockstep::cuda {

// In two kernels: shifted sums of blocks of rows, then their merge in fixed order (Chan) in double. Scratch: from the pool.
void batch_norm_moments(Stream stream, ConstView x, View mean, View m2);
void batch_norm_inv_std(Stream stream, ConstView m2, double count, double eps, View inv_std, View unbiased);
void batch_norm_apply(Stream stream, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View mask);
void batch_norm_backward_sums(Stream stream, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, View sum_g,
                              View sum_g_xhat);
void batch_norm_backward_apply(Stream stream, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, ConstView sum_g,
                               ConstView sum_g_xhat, double count, View dx, GradMode dx_mode, View dresidual, GradMode dresidual_mode);

// What a fused convolution reads instead of the four vectors: scale = gamma * inv_std, bias = beta - mean * scale, rounded
// to scale's dtype. All (C).
void norm_scale_bias(Stream stream, const NormVectors& norm, View scale, View bias);
// mean = sum / count, m2 = square_sum - sum^2 / count (at least 0), in double: from a convolution's epilogue. Loses digits where
// |mean| is much larger than the deviation, as f32 sums of squares do. All f32 (C).
void moments_from_sums(Stream stream, ConstView sum, ConstView square_sum, double count, View mean, View m2);

// db (C) = sum of dy over all but axis 1 (ops/kernels.h).
void bias_backward(Stream stream, ConstView dy, View db, GradMode mode);

}  // namespace lockstep::cuda
