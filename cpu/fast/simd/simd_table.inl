// One instruction set's kernels: its .cpp defines LOCKSTEP_SIMD_NAMESPACE, LOCKSTEP_SIMD_WIDTH and LOCKSTEP_SIMD_NAME and
// includes this. Everything but table() has internal linkage: no other translation unit can pick up this one's code.
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep::simd::LOCKSTEP_SIMD_NAMESPACE {
namespace {

#include "cpu/fast/simd/vec.inl"
//
#include "cpu/fast/simd/norm.inl"
//
#include "cpu/fast/simd/elementwise.inl"
//
#include "cpu/fast/simd/pool.inl"
//
#include "cpu/fast/simd/train.inl"

}  // namespace

extern const SimdKernels kTable;
const SimdKernels kTable = {
    .isa = LOCKSTEP_SIMD_NAME,
    .column_sums = column_sums,
    .column_moments = column_moments,
    .norm_apply = norm_apply,
    .norm_sums = norm_sums,
    .norm_backward = norm_backward,
    .relu = relu,
    .relu_backward = relu_backward,
    .add = add,
    .scale = scale,
    .dropout = dropout,
    .normalise = normalise,
    .copy_rows = copy_rows,
    .max_pool = max_pool,
    .max_pool_backward = max_pool_backward,
    .avg_pool = avg_pool,
    .avg_pool_backward = avg_pool_backward,
    .spread_row = spread_row,
    .softmax = softmax,
    .sgd = sgd,
    .squared_sum = squared_sum,
    .blend = blend,
};

}  // namespace lockstep::simd::LOCKSTEP_SIMD_NAMESPACE
