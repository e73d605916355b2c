// Where the pixels of a grid lie in an image: tables of row pointers for the AMX kernels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/fast/simd/amx_kernels.h"

namespace lockstep {

// Images (n, h, w) of rows of `channels` elements. Grid pixel (n, i, j) is image pixel (n, i * step_h + shift_h, j * step_w +
// shift_w), or the row `outside` where the image has none.
template <class Element>
struct GridRows {
  Element* images;
  std::int64_t h, w, channels, step_h, step_w, shift_h, shift_w;
  Element* outside;

  // Pixels [begin, begin + count) of a grid (n, grid_h, grid_w), then `outside` up to a multiple of 32.
  void find(std::int64_t grid_h, std::int64_t grid_w, std::int64_t begin, std::int64_t count, Element** to) const {
    std::int64_t j = begin % grid_w, i = begin / grid_w % grid_h, n = begin / grid_w / grid_h;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t y = i * step_h + shift_h, end = done + std::min(count - done, grid_w - j);
      Element* line = images + (n * h + y) * w * channels;
      const bool inside = y >= 0 && y < h;
      std::int64_t x = j * step_w + shift_w;
      for (; done < end && (!inside || x < 0); ++done, x += step_w) to[done] = outside;
      for (; done < end && x < w; ++done, x += step_w) to[done] = line + x * channels;
      for (; done < end; ++done) to[done] = outside;
      j = 0;
      if (++i == grid_h) i = 0, ++n;
    }
    std::fill(to + count, to + (count + simd::kAmxPanel - 1) / simd::kAmxPanel * simd::kAmxPanel, outside);
  }
};

}  // namespace lockstep
