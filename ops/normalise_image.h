// normalise_image: bytes to normalised floating-point images; the first op of every network. Not differentiable.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

Work normalise_image_work(const Shape& images);

// images u8 (N, C, H, W) -> (images / 255 - mean[c]) / std[c] as `dtype`. mean and std have C entries, std > 0; else
// UserError.
Tensor normalise_image(Context& ctx, const Tensor& images, std::span<const float> mean, std::span<const float> std,
                       DType dtype);

OpSpec normalise_image_spec();

}  // namespace lockstep
