// The vector kernels for AVX-512 (F, BW, DQ, VL). See simd_table.inl.
// SPDX-License-Identifier: Apache-2.0
#define LOCKSTEP_SIMD_NAMESPACE avx512
#define LOCKSTEP_SIMD_NAME "avx512"
#define LOCKSTEP_SIMD_WIDTH 16
#include "cpu/fast/simd/simd_table.inl"
