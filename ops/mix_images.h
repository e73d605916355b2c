// mix_images: mixup and CutMix of a shard's normalised images, before the network sees them. Not differentiable.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/mix_row.h"
#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

Work mix_images_work(const Shape& images);  // each with a partner, two factors and a sum

// images (N, C, H, W), mix i32 (N, 8): a MixRow (core/mix_row.h) per image -> the mixed images, a new tensor of the same shape and
// dtype. Throws UserError on a misfit of shapes; partners outside [0, N) and boxes outside of the image are undefined (the rows
// may lie on a device: who draws them answers for them).
Tensor mix_images(Context& ctx, const Tensor& images, const Tensor& mix);

OpSpec mix_images_spec();

}  // namespace lockstep
