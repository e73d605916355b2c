// SPDX-License-Identifier: Apache-2.0
#include "data/resize_kernels.h"

#include <algorithm>
#include <array>

namespace lockstep::detail {
namespace {

std::uint8_t clip(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

void horizontal_row(const HorizontalPass& pass, int row) {
  const ResizeTaps& taps = *pass.taps;
  for (int i = 0; i < pass.columns; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int32_t* weights = taps.weights.data() + at * static_cast<std::size_t>(taps.taps);
    const std::uint8_t* in = pass.in[row] + static_cast<std::ptrdiff_t>(taps.first[at]) * pass.channels;
    std::uint8_t* out = pass.out[row] + static_cast<std::ptrdiff_t>(pass.mirror ? pass.columns - 1 - i : i) * pass.channels;
    for (int c = 0; c < pass.channels; ++c) {
      std::int32_t sum = kHalf;
      for (int t = 0; t < taps.count[at]; ++t) sum += in[t * pass.channels + c] * weights[t];
      out[c] = clip(sum);
    }
  }
}

void pack_nothing(const std::int32_t*, std::int32_t*) {}

}  // namespace

void horizontal_portable(const HorizontalPass& pass) {
  for (int row = 0; row < kRowGroup; ++row)
    if (row == 0 || pass.out[row] != pass.out[row - 1]) horizontal_row(pass, row);
}

void vertical_portable(const VerticalPass& pass) {
  const auto at = static_cast<std::size_t>(pass.index);
  const std::int32_t* weights = pass.taps->weights.data() + at * static_cast<std::size_t>(pass.taps->taps);
  const int count = pass.taps->count[at];
  constexpr std::ptrdiff_t kBlock = 512;  // sums of a block stay in the first-level cache
  std::int32_t sums[kBlock];
  for (std::ptrdiff_t begin = 0; begin < pass.bytes; begin += kBlock) {
    const std::ptrdiff_t n = std::min(kBlock, pass.bytes - begin);
    std::fill_n(sums, n, kHalf);
    for (int t = 0; t < count; ++t) {
      const std::uint8_t* in = pass.in + t * pass.row_bytes + begin;
      for (std::ptrdiff_t i = 0; i < n; ++i) sums[i] += in[i] * weights[t];
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) pass.out[begin + i] = clip(sums[i]);
  }
}

std::span<const ResizeKernels* const> resize_kernels() {
  static constexpr ResizeKernels kPortable = {"portable", 0, pack_nothing, horizontal_portable, vertical_portable};
#if defined(__x86_64__)
  static constexpr std::array<const ResizeKernels*, 3> kAll = {&kAvx512ResizeKernels, &kAvx2ResizeKernels, &kPortable};
  const bool avx2 = __builtin_cpu_supports("avx2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return std::span(kAll).subspan(avx512 ? 0 : avx2 ? 1 : 2);
#else
  static constexpr std::array<const ResizeKernels*, 1> kAll = {&kPortable};
  return kAll;
#endif
}

}  // namespace lockstep::detail
