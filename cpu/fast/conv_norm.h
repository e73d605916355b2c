// ConvNorm: what a convolution of our own applies to each pixel that it reads, instead of a pass of its own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep {

// x read as relu(norm(x)), with norm_apply's formula (simd/norm.inl); all (C). Null: x itself.
struct ConvNorm {
  const float *mean = nullptr, *inv_std = nullptr, *gamma = nullptr, *beta = nullptr;
};

}  // namespace lockstep
