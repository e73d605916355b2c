// The filter gradient of a bf16 convolution on AMX tiles: dw(k, r, s, c) = sum over pixels of dy(n, p, q, k) x(n, p * stride
// + r - pad, ..., c), a matrix product over pixels for each tap, with f32 sums. oneDNN 2.6 runs it at a fifth of this speed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/fast/dnnl_problem.h"
#include "cpu/fast/simd/amx_kernels.h"

namespace lockstep {

// True for the problems that amx_filter_gradient can compute: bf16 filter gradients with one group.
bool amx_filter_supports(const ConvProblem& problem);

// True where this beats oneDNN.
bool amx_filter_wins(const ConvProblem& problem);

// x, dy and dw as in dnnl_problem.h; dw is set, or added to. Sums run over blocks of pixels in a fixed order: the same bits
// for any number of threads. Scratch from the CPU pool: about 32 * (k or c) * 32 bytes + 1 MB.
void amx_filter_gradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* x, const bf16* dy,
                         float* dw, bool accumulate);

}  // namespace lockstep
