// Copies between f32 and bf16 with the vector kernels, split over threads. Rounding is core/dtype.h's: to nearest even, NaN
// kept.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/fast/parallel.h"
#include "cpu/fast/simd/simd_kernels.h"

namespace lockstep {

constexpr std::int64_t kCopyChunk = std::int64_t{1} << 16;  // elements per piece of parallel work

inline void widen_bf16(const simd::SimdKernels& simd, int threads, const bf16* from, float* to, std::int64_t count) {
  const auto* words = reinterpret_cast<const simd::bf16_word*>(from);
  parallel_chunks(threads, count, kCopyChunk, [&](auto begin, auto end) { simd.widen(words + begin, to + begin, end - begin); });
}

inline void round_to_bf16(const simd::SimdKernels& simd, int threads, const float* from, bf16* to, std::int64_t count) {
  auto* words = reinterpret_cast<simd::bf16_word*>(to);
  parallel_chunks(threads, count, kCopyChunk, [&](auto begin, auto end) { simd.narrow(from + begin, words + begin, end - begin); });
}

}  // namespace lockstep
