// 1x1 convolutions in f32 as matrix products of pixels and filters, on our own GEMM (simd/gemm.inl). Unlike the library's
// they add to gradients in place, normalise x while they read it, and are fast for strides and for few channels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// x read as relu(norm(x)); all (C). Null: x itself.
struct PointwiseNorm {
  const float *mean = nullptr, *inv_std = nullptr, *gamma = nullptr, *beta = nullptr;
};

// Images channels-last, filters (K, C), as in dnnl_problem.h. Every result is the same bits for any number of threads, and
// with a norm the same as for a relu(norm(x)) that was written out before. Scratch comes from the CPU pool: the filters once
// more, and 1 MB per thread at most where pixels are gathered or normalised.
class PointwiseConv {
 public:
  PointwiseConv(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  static bool can_run(const ConvProblem& problem);  // f32, 1x1, one group, no padding; any stride
  // Where measurements with AVX-512 say that it beats the library.
  static bool wins(const ConvProblem& problem);

  void forward(const ConvProblem&, const float* x, const PointwiseNorm&, const float* filter, const float* bias, float* y) const;
  // With a stride, pixels of dx that no output read are zero, or left alone if `accumulate`.
  void backward_data(const ConvProblem&, const float* dy, const float* filter, float* dx, bool accumulate) const;
  void backward_filter(const ConvProblem&, const float* x, const PointwiseNorm&, const float* dy, float* dfilter,
                       bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
