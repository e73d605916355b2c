// The vector kernels for AVX2 and FMA. See simd_table.inl.
// SPDX-License-Identifier: Apache-2.0
#define LOCKSTEP_SIMD_NAMESPACE avx2
#define LOCKSTEP_SIMD_NAME "avx2"
#define LOCKSTEP_SIMD_WIDTH 8
#include "cpu/fast/simd/simd_table.inl"
