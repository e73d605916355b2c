// shift_channels: moves groups of channels by a pixel or more, each in its own direction: a spatial convolution without weights
// (Wu et al. 2017, arXiv 1711.08141).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> the same; kernel is odd and positive, else UserError.
Shape shift_channels_shape(const Shape& x, int kernel);
Work shift_channels_work(const Shape& x, int kernel);

// Keeps nothing. Which channels move where: ChannelShift in ops/kernels.h. Fewer than kernel^2 channels: x itself.
Var shift_channels(Context& ctx, const Var& x, int kernel);

OpSpec shift_channels_spec();

// One group of channels and where it reads: y[h][w] = x[h + down][w + right], 0 from outside.
struct ShiftGroup {
  std::int64_t begin, count;  // channels
  std::int64_t down, right;
};
// Group i of kernel^2, in the order of the channels; the last one is the centre's, which stays. For backends.
ShiftGroup shift_group(const ChannelShift& shift, std::int64_t channels, std::int64_t i);

}  // namespace lockstep
