// Copies between f32 and bf16 for calls that have no 16-bit kernel. Rounding is core/dtype.h's: to nearest even, NaN kept.
// Plain loops that the compiler turns into vectors; they run where memory bounds them or speed is lost anyway.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/fast/parallel.h"

namespace lockstep {

inline void widen_bf16(int threads, const bf16* from, float* to, std::int64_t count) {
  parallel_chunks(threads, count, std::int64_t{1} << 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(from[i]);
  });
}

inline void round_to_bf16(int threads, const float* from, bf16* to, std::int64_t count) {
  parallel_chunks(threads, count, std::int64_t{1} << 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = bf16(from[i]);
  });
}

}  // namespace lockstep
