// The two passes of a resize over already computed taps: as portable code, for AVX2, and for AVX-512 with VNNI. All arithmetic
// is integer and exact, so that all give the same bits.
//
// Weights have 23 bits, the widest products of bytes that SIMD adds up exactly take 8 (VNNI) or 16 (AVX2): a weight is split into
// three or two parts, whose sums are put together by shifts at the end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "data/resize.h"

namespace lockstep::detail {

inline constexpr int kPrecisionBits = 22;  // 32 - 8 bits of pixel - 2 of headroom, as in Pillow
inline constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);
inline constexpr int kTapGroup = 4;          // taps come in groups, the last filled up with weights of 0
inline constexpr int kRowGroup = 4;          // input rows that one call of the horizontal pass takes
inline constexpr std::ptrdiff_t kSlack = 16;  // bytes

// Output columns of four input rows (the same one several times where there are fewer). `mirror`: output column i is written at
// columns - 1 - i. With three channels kSlack bytes may be read from any used group of taps on, and a byte is overwritten before
// and after each output row.
struct HorizontalPass {
  const std::uint8_t* in[kRowGroup];
  std::uint8_t* out[kRowGroup];
  const ResizeTaps* taps;
  int columns;
  int channels;
  bool mirror;
};

// One output row, number `index` of `taps`, of `bytes` bytes from input rows that lie `row_bytes` apart; `in` is the first used.
struct VerticalPass {
  const std::uint8_t* in;
  std::ptrdiff_t row_bytes;
  const ResizeTaps* taps;
  int index;
  std::uint8_t* out;
  std::ptrdiff_t bytes;
};

struct ResizeKernels {
  const char* name;
  int packed_per_group;  // how many values of ResizeTaps::packed a group of taps takes
  void (*pack)(const std::int32_t* weights, std::int32_t* packed);  // one group
  void (*horizontal)(const HorizontalPass&);
  void (*vertical)(const VerticalPass&);
};

// Those that run on this processor, the fastest first, the portable ones last.
std::span<const ResizeKernels* const> resize_kernels();

// Without SIMD; also what the other kernels use for what they are not made for.
void horizontal_portable(const HorizontalPass& pass);
void vertical_portable(const VerticalPass& pass);

extern const ResizeKernels kAvx2ResizeKernels, kAvx512ResizeKernels;  // x86-64 only

}  // namespace lockstep::detail
