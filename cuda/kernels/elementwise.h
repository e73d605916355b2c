// Elementwise work on the device; what each computes is said in ops/kernels.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ops/kernels.h"

namespace lockstep::cuda {

void relu_forward(Stream stream, ConstView x, View y);
void relu_backward(Stream stream, ConstView dy, ConstView y, View dx, GradMode mode);
void add(Stream stream, ConstView a, ConstView b, View y);
void accumulate(Stream stream, ConstView src, View dst, GradMode mode);
// `control`: StepControl on the device whose step is added to key.a; empty: nothing is added.
void dropout(Stream stream, ConstView x, double p, const RandomKey& key, ConstView control, View y, GradMode mode);
void activation_forward(Stream stream, ConstView x, const Activation& function, View y);
void activation_backward(Stream stream, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode);
void convert(Stream stream, ConstView src, View dst);
// dst (same numel) = or += src, converted: a filter gradient in 16 bits into one in f32.
void convert_accumulate(Stream stream, ConstView src, View dst, GradMode mode);
void scale(Stream stream, ConstView x, ConstView factor, View y, GradMode mode);
void copy_channels(Stream stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count, GradMode mode);
// Across the channels of a pixel. Scratch of the backward pass: 4 bytes per element.
void response_norm_forward(Stream stream, ConstView x, const ResponseNorm& params, View y);
void response_norm_backward(Stream stream, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode);
void shuffle_channels(Stream stream, ConstView src, int groups, View dst, GradMode mode);
void shift_channels(Stream stream, ConstView src, const ChannelShift& shift, View dst, GradMode mode);
void normalise_image(Stream stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y);
void mix_images(Stream stream, ConstView x, ConstView mix, View y);
void add_bias(Stream stream, ConstView bias, View y);  // y (N,C,H,W) or (N,C) += bias (C), a statistic, per channel
void add_bias(Stream stream, ConstView x, ConstView bias, View y);  // y = x + bias, rounded once to y's dtype; y may be x

// src (N, C, H, W) -> dst (N, D, H, W), D > C, the further channels 0; and back, leaving them out.
void pad_channels(Stream stream, ConstView src, View dst);
void unpad_channels(Stream stream, ConstView src, View dst, GradMode mode);  // dst f32 or src's dtype

// For core/accelerator.h: f32 or f64; the bits of distributed/vector_add.h.
void add_arrays(Stream stream, DType dtype, void* sum, const void* a, const void* b, std::int64_t numel);
void divide_array(Stream stream, DType dtype, void* values, std::int64_t numel, std::int64_t divisor);

}  // namespace lockstep::cuda
