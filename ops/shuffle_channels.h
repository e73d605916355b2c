// shuffle_channels: interleaves groups of channels, so that the next grouped convolution sees all of them (Zhang et al. 2017,
// arXiv 1707.01083, figure 1).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> the same; groups divides C, else UserError.
Shape shuffle_channels_shape(const Shape& x, int groups);
Work shuffle_channels_work(const Shape& x, int groups);

// Channel g * (C / groups) + j of x becomes channel j * groups + g. Keeps nothing. One group: x itself.
Var shuffle_channels(Context& ctx, const Var& x, int groups);

OpSpec shuffle_channels_spec();

}  // namespace lockstep
