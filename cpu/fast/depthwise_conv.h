// Depthwise convolutions (a filter per channel), f32 and bf16, on our own vector kernels (simd/depthwise.inl): they move bytes, not
// operations, and read channels-last images as they lie.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

// Images channels-last in the problem's dtype, filters (C, R, S), filter gradients f32. Results are the same bits for any number of
// threads. Scratch from the CPU pool: the filter in f32, channels padded to 32, once or twice; for its gradient 12 bytes per element
// and segment, at most 16 of them.
class DepthwiseConv {
 public:
  DepthwiseConv(const simd::SimdKernels& simd, int threads) : simd_(simd), threads_(threads) {}

  // As many filters as channels and groups, no dilation, at most 11x11 taps.
  static bool can_run(const ConvProblem& problem);
  // Can run, and is not slower than the library by measurement with AVX-512 (kernel_bench 1 depthwise). `accumulate`: the call adds to a
  // data gradient, for which the library needs a pass over memory of its own.
  bool wins(const ConvProblem& problem, bool accumulate) const;

  void forward(const ConvProblem&, const void* x, const void* filter, const float* bias, void* y) const;
  void backward_data(const ConvProblem&, const void* dy, const void* filter, void* dx, bool accumulate) const;
  void backward_filter(const ConvProblem&, const void* x, const void* dy, float* dfilter, bool accumulate) const;

 private:
  const simd::SimdKernels& simd_;
  int threads_;
};

}  // namespace lockstep
