// Winograd: f32 3x3 convolutions of stride 1 by F(4x4, 3x3), with 36 multiplications for 16 outputs instead of 144. Tiles go
// through the transforms (simd/winograd.inl) and 36 matrix products in blocks that stay in the cache.
//
// Errors: an output's roundings are amplified by the transforms' constants. The bound that holds is evaluated by
// tests/cpu/winograd_test.cpp; in practice the relative L2 error is about 1e-6, five times that of direct sums.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// relu(norm(x)) in place of x: per channel (x - mean) * scale + beta, zero in the padding. Null: x itself.
struct WinogradNorm {
  const float *mean = nullptr, *inv_std = nullptr, *gamma = nullptr, *beta = nullptr;
};

// Images channels-last, filters KRSC, as everywhere. Every result is the same bits for any thread count. Scratch comes from
// the CPU pool.
class Winograd {
 public:
  Winograd(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  static bool can_run(const ConvProblem& problem);  // f32, 3x3, stride 1, dilation 1, one group, pads 0..2
  // Where measurements on AVX-512 say that it beats oneDNN's direct kernels.
  static bool wins(const ConvProblem& problem);

  void forward(const ConvProblem&, const float* x, const WinogradNorm&, const float* filter, const float* bias, float* y) const;
  void backward_data(const ConvProblem&, const float* dy, const float* filter, float* dx, bool accumulate) const;
  void backward_filter(const ConvProblem&, const float* x, const WinogradNorm&, const float* dy, float* dfilter,
                       bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
