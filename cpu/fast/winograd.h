// Winograd: 3x3 convolutions of stride 1, in f32 and of bf16 images (which are read and written as they are; all between is f32), by F(4x4, 3x3), with 36 multiplications for 16 outputs instead of 144. Tiles go
// through the transforms (simd/winograd.inl) and 36 matrix products in blocks that stay in the cache.
//
// Errors: the transforms' constants amplify an output's roundings by 4.8 (root mean square; 11 with the usual points). The
// bound that holds is in tests/cpu/winograd_test.cpp; in practice the relative L2 error is 0.5e-6 to 1.5e-6.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/conv_norm.h"
#include "cpu/fast/dnnl_adapter.h"
#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// Images channels-last, filters KRSC, as everywhere. Every result is the same bits for any thread count, and with a norm the
// same as for a relu(norm(x)) that was written out before. Scratch comes from the CPU pool: the transformed filters (four times
// their size), and for each thread or for the filter gradient up to 64 MB of transformed tiles.
class Winograd {
 public:
  Winograd(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  static bool can_run(const ConvProblem& problem);  // f32 or bf16, 3x3, stride 1, dilation 1, one group, pads 0..2
  // Where measurements say that it beats oneDNN's direct kernels; those of bf16 run on what `bf16` says.
  static bool wins(const ConvProblem& problem, Bf16Products bf16);

  // T: float or simd::bf16_word, as the problem's dtype.
  template <class T>
  void forward(const ConvProblem&, const T* x, const ConvNorm&, const T* filter, const float* bias, T* y) const;
  template <class T>
  void backward_data(const ConvProblem&, const T* dy, const T* filter, T* dx, bool accumulate) const;
  template <class T>
  void backward_filter(const ConvProblem&, const T* x, const ConvNorm&, const T* dy, float* dfilter, bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
