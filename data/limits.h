// Limits: what no file may exceed, checked before memory is asked for. A hostile header cannot take the machine down.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

inline constexpr int kMaxImageSide = 16384;  // pixels
inline constexpr std::int64_t kMaxImagePixels = std::int64_t{1} << 26;
inline constexpr std::size_t kMaxImageFileBytes = 64u << 20;  // an encoded image
inline constexpr int kMaxJpegScans = 100;
inline constexpr std::int64_t kMaxMemorySetBytes = std::int64_t{1} << 34;  // an IDX set, unpacked
inline constexpr std::int64_t kMaxDeflateRatio = 1032;                     // no deflate stream can expand by more

// a * b, or -1 when an argument is negative or the product does not fit.
constexpr std::int64_t checked_multiply(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return -1;
  return product;
}

}  // namespace lockstep
