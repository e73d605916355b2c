// The two passes of a resize over already computed taps, once as portable code and once for AVX2. All arithmetic is
// integer, so that both give the same bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "data/resize.h"

namespace lockstep::detail {

inline constexpr int kPrecisionBits = 22;  // 32 - 8 bits of pixel - 2 of headroom, as in Pillow

// Output columns of one or two input rows. `mirror`: output column i is written at columns - 1 - i. Three channels read
// one byte past the last pixel used: the caller sees to it that this byte exists.
struct HorizontalPass {
  const std::uint8_t* in[2];
  std::uint8_t* out[2];
  const ResizeTaps* taps;
  int columns;
  int channels;
  bool mirror;
};

// One output row of `bytes` bytes from `count` input rows, `row_bytes` apart.
struct VerticalPass {
  const std::uint8_t* in;
  std::ptrdiff_t row_bytes;
  const std::int32_t* weights;
  int count;
  std::uint8_t* out;
  std::ptrdiff_t bytes;
};

struct ResizeKernels {
  void (*horizontal)(const HorizontalPass&);
  void (*vertical)(const VerticalPass&);
};

const ResizeKernels& portable_resize_kernels();
const ResizeKernels& best_resize_kernels();  // for the processor we run on

}  // namespace lockstep::detail
