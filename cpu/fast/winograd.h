// Winograd: f32 3x3 convolutions of stride 1 by F(4x4, 3x3), with 36 multiplications for 16 outputs instead of 144. Tiles go
// through the transforms (simd/winograd.inl) and 36 matrix products in blocks that stay in the cache.
//
// Errors: the transforms' constants amplify an output's roundings by 4.8 (root mean square; 11 with the usual points). The
// bound that holds is in tests/cpu/winograd_test.cpp; in practice the relative L2 error is 0.5e-6 to 1.5e-6.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/conv_norm.h"
#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// Images channels-last, filters KRSC, as everywhere. Every result is the same bits for any thread count, and with a norm the
// same as for a relu(norm(x)) that was written out before. Scratch comes from the CPU pool: the transformed filters (four times
// their size), and for each thread or for the filter gradient up to 64 MB of transformed tiles.
class Winograd {
 public:
  Winograd(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  static bool can_run(const ConvProblem& problem);  // f32, 3x3, stride 1, dilation 1, one group, pads 0..2
  // Where measurements say that it beats oneDNN's direct kernels, in all three passes.
  static bool wins(const ConvProblem& problem);

  void forward(const ConvProblem&, const float* x, const ConvNorm&, const float* filter, const float* bias, float* y) const;
  void backward_data(const ConvProblem&, const float* dy, const float* filter, float* dx, bool accumulate) const;
  void backward_filter(const ConvProblem&, const float* x, const ConvNorm&, const float* dy, float* dfilter,
                       bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
