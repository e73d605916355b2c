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
#include "cpu/fast/simd/unit.inl"
//
#include "cpu/fast/simd/gemm.inl"
//
#include "cpu/fast/simd/winograd.inl"
//
#include "cpu/fast/simd/norm.inl"
//
#include "cpu/fast/simd/elementwise.inl"
//
#include "cpu/fast/simd/activation.inl"
//
#include "cpu/fast/simd/channels.inl"
//
#include "cpu/fast/simd/pool.inl"
//
#include "cpu/fast/simd/depthwise.inl"
//
#include "cpu/fast/simd/train.inl"

template <class T>
constexpr TypedKernels<T> typed_table() {
  return {
      .column_sums = column_sums<T>,
      .column_moments = column_moments<T>,
      .norm_apply = norm_apply<T>,
      .norm_sums = norm_sums<T>,
      .norm_backward = norm_backward<T>,
      .relu = relu<T>,
      .relu_backward = relu_backward<T>,
      .add = add<T>,
      .scale = scale<T>,
      .mix = mix<T>,
      .dropout = dropout<T>,
      .normalise = normalise<T>,
      .copy_rows = copy_rows<T>,
      .activate = activate<T>,
      .activate_backward = activate_backward<T>,
      .response_norm = response_norm<T>,
      .response_norm_backward = response_norm_backward<T>,
      .shuffle = shuffle<T>,
      .max_pool = max_pool<T>,
      .max_pool_backward = max_pool_backward<T>,
      .avg_pool = avg_pool<T>,
      .avg_pool_backward = avg_pool_backward<T>,
      .adaptive_pool = adaptive_pool<T>,
      .adaptive_pool_backward = adaptive_pool_backward<T>,
      .depthwise = depthwise<T>,
      .depthwise_backward = depthwise_backward<T>,
      .depthwise_filter = depthwise_filter<T>,
      .spread_row = spread_row<T>,
  };
}

}  // namespace

extern const SimdKernels kTable;
const SimdKernels kTable = {
    .isa = LOCKSTEP_SIMD_NAME,
    .lanes = kW,
    .f32 = typed_table<float>(),
    .bf16 = typed_table<bf16_word>(),
    .gemm = gemm,
    .pack = pack,
    .packed_size = packed_size,
    .winograd = {.f32 = {winograd_input<float>, winograd_gradient<float>, winograd_output<float>, winograd_filter<float>},
                 .bf16 = {winograd_input<bf16_word>, winograd_gradient<bf16_word>, winograd_output<bf16_word>, winograd_filter<bf16_word>},
                 .filter_gradient = winograd_filter_gradient,
                 .multiply_narrow = winograd_multiply_narrow},
    .narrow = narrow,
    .widen = widen,
    .softmax = softmax,
    .sgd = sgd,
    .fma_chains = fma_chains,
    .fma_operations = 2 * kFmaChains * kW,
    .squared_sum = squared_sum,
    .blend = blend,
};

}  // namespace lockstep::simd::LOCKSTEP_SIMD_NAMESPACE
