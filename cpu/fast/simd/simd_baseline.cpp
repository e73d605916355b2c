// The vector kernels for the compiler's baseline (x86-64: SSE2): runs everywhere, not tuned. See simd_table.inl.
// SPDX-License-Identifier: Apache-2.0
#define LOCKSTEP_SIMD_NAMESPACE baseline
#define LOCKSTEP_SIMD_NAME "scalar"
#define LOCKSTEP_SIMD_WIDTH 8
#include "cpu/fast/simd/simd_table.inl"
