// 1x1 convolutions in f32 as matrix products of pixels and filters, on our own GEMM (simd/gemm.inl). Unlike the library's
// they add to gradients in place, normalise x while they read it, and are fast for strides and for few channels. Filter
// gradients of larger windows are the same product, of gathered pixels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/conv_norm.h"
#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// Images channels-last, filters (K, C), as in dnnl_problem.h. Every result is the same bits for any number of threads, and
// with a norm the same as for a relu(norm(x)) that was written out before. Scratch comes from the CPU pool: the filters once
// more, and 1 MB per thread at most where pixels are gathered or normalised.
class PointwiseConv {
 public:
  PointwiseConv(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  static bool can_run(const ConvProblem& problem);  // f32, one group; 1x1 without padding, any stride;
                                                    // filter gradients of any window
  // Where it beats the library, by measurement with AVX-512 (bench/kernels). `extra`: the call also adds to a data gradient
  // or normalises x, for which the library needs passes over memory of their own.
  bool wins(const ConvProblem& problem, bool extra) const;

  void forward(const ConvProblem&, const float* x, const ConvNorm&, const float* filter, const float* bias, float* y) const;
  // With a stride, pixels of dx that no output read are zero, or left alone if `accumulate`.
  void backward_data(const ConvProblem&, const float* dy, const float* filter, float* dx, bool accumulate) const;
  void backward_filter(const ConvProblem&, const float* x, const ConvNorm&, const float* dy, float* dfilter,
                       bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
