// SPDX-License-Identifier: Apache-2.0
#include "data/resize_kernels.h"

#include <algorithm>
#include <cstring>

namespace lockstep::detail {
namespace {

// Two rows of up to four channels side by side: one multiplication per tap serves both.
typedef std::int32_t Int8 __attribute__((vector_size(32)));
typedef std::uint8_t Byte8 __attribute__((vector_size(8)));

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

inline std::uint8_t clip(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// Pixels of three channels, loaded as four bytes.
[[gnu::always_inline]] inline void horizontal_rgb(const HorizontalPass& pass) {
  for (int i = 0; i < pass.columns; ++i) {
    const std::int32_t* weights = pass.taps->weights.data() + static_cast<std::size_t>(i) * pass.taps->taps;
    const std::size_t begin = static_cast<std::size_t>(pass.taps->first[static_cast<std::size_t>(i)]) * 3;
    const std::uint8_t *a = pass.in[0] + begin, *b = pass.in[1] + begin;
    Int8 sum = Int8{} + kHalf;
    for (int t = 0; t < pass.taps->count[static_cast<std::size_t>(i)]; ++t, a += 3, b += 3) {
      Byte8 bytes;
      std::memcpy(&bytes, a, 4);
      std::memcpy(reinterpret_cast<char*>(&bytes) + 4, b, 4);
      sum += __builtin_convertvector(bytes, Int8) * weights[t];
    }
    const std::size_t to = 3 * static_cast<std::size_t>(pass.mirror ? pass.columns - 1 - i : i);
    for (int c = 0; c < 3; ++c) {
      pass.out[0][to + c] = clip(sum[c]);
      pass.out[1][to + c] = clip(sum[c + 4]);
    }
  }
}

[[gnu::always_inline]] inline void horizontal_any(const HorizontalPass& pass, int row) {
  for (int i = 0; i < pass.columns; ++i) {
    const std::int32_t* weights = pass.taps->weights.data() + static_cast<std::size_t>(i) * pass.taps->taps;
    const std::uint8_t* in =
        pass.in[row] + static_cast<std::ptrdiff_t>(pass.taps->first[static_cast<std::size_t>(i)]) * pass.channels;
    const int to = pass.channels * (pass.mirror ? pass.columns - 1 - i : i);
    for (int c = 0; c < pass.channels; ++c) {
      std::int32_t sum = kHalf;
      for (int t = 0; t < pass.taps->count[static_cast<std::size_t>(i)]; ++t)
        sum += in[t * pass.channels + c] * weights[t];
      pass.out[row][to + c] = clip(sum);
    }
  }
}

[[gnu::always_inline]] inline void horizontal_body(const HorizontalPass& pass) {
  if (pass.channels == 3) return horizontal_rgb(pass);
  horizontal_any(pass, 0);
  if (pass.out[1] != pass.out[0]) horizontal_any(pass, 1);
}

[[gnu::always_inline]] inline void vertical_body(const VerticalPass& pass) {
  constexpr std::ptrdiff_t kBlock = 512;  // sums of a block stay in the first-level cache
  std::int32_t sums[kBlock];
  for (std::ptrdiff_t begin = 0; begin < pass.bytes; begin += kBlock) {
    const std::ptrdiff_t n = std::min(kBlock, pass.bytes - begin);
    for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] = kHalf;
    for (int t = 0; t < pass.count; ++t) {
      const std::uint8_t* in = pass.in + t * pass.row_bytes + begin;
      const std::int32_t weight = pass.weights[t];
      for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] += in[i] * weight;
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) pass.out[begin + i] = clip(sums[i]);
  }
}

void horizontal_portable(const HorizontalPass& pass) { horizontal_body(pass); }
void vertical_portable(const VerticalPass& pass) { vertical_body(pass); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void horizontal_avx2(const HorizontalPass& pass) { horizontal_body(pass); }
[[gnu::target("avx2")]] void vertical_avx2(const VerticalPass& pass) { vertical_body(pass); }
#endif

}  // namespace

const ResizeKernels& portable_resize_kernels() {
  static constexpr ResizeKernels kKernels = {horizontal_portable, vertical_portable};
  return kKernels;
}

const ResizeKernels& best_resize_kernels() {
#if defined(__x86_64__)
  static constexpr ResizeKernels kAvx2 = {horizontal_avx2, vertical_avx2};
  if (__builtin_cpu_supports("avx2")) return kAvx2;
#endif
  return portable_resize_kernels();
}

}  // namespace lockstep::detail
