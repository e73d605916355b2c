// The data gradient of a bf16 convolution on AMX tiles: dx(n, h, w, c) = sum over taps and k of dy(n, p, q, k) w(k, r, s, c)
// with p * stride + r - pad = h. Input pixels are taken by their place in the stride: those of one class see the same taps, so
// that no product with a hole of the strided image is ever made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/amx_kernels.h"

namespace lockstep {

// True for bf16 data gradients with one group.
bool amx_data_supports(const ConvProblem& problem);

// True where this beats oneDNN and, to accumulate, an addition after it.
bool amx_data_wins(const ConvProblem& problem, bool accumulate);

// dy, filter and dx as in dnnl_problem.h; dx is set, or added to in f32 and rounded once. Every dx is summed in one fixed order
// whatever the number of threads. Scratch from the CPU pool: the filter once more and about 1 KB per channel.
void amx_data_gradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* dy,
                       const bf16* filter, bf16* dx, bool accumulate);

}  // namespace lockstep
