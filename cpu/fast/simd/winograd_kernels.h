// The transforms of winograd.inl, as a part of SimdKernels: plain structs and pointers, for the reason given there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep::simd {

struct Gemm;  // simd_kernels.h

// Winograd F(4x4, 3x3): tile t of an image grid, its rows and columns from top + 4 i, left + 4 j (negative: in the padding,
// which is zero), and 36 matrices (tile, channel), one per point of the transformed tile.
struct WinogradGrid {
  std::int64_t h, w, c;           // the channels-last image; of its channels, those to work on,
  std::int64_t pitch;             // and floats from one pixel to the next
  std::int64_t tiles_h, tiles_w;  // per image; tiles run over images, then rows, then columns
  std::int64_t top, left;
};

// Element (tile, channel) of point p: data[p * point + (channel / panel) * panel_step + tile * panel + channel % panel].
// panel is a multiple of 16; a row's last vector may reach over the last channel, never over its panel.
struct WinogradPlanes {
  float* data;
  std::int64_t point, panel, panel_step;
};

// T, the storage type of images and filters, is float or bf16_word (simd_kernels.h); all between is float.
//
// A part of filters (K, 3, 3, pitch): k filters of c channels from `filter` on, and their 36 transforms U, each as B of a
// Gemm: (c, k), or with `rotate`, for data gradients, (k, c) of the filter turned by 180 degrees. Columns lie in panels: row
// r of a panel at r * panel floats, panels after each other; the last one's missing columns are not written in whole vectors.
template <class T>
struct WinogradFilter {
  const T* filter;
  std::int64_t k, c, pitch;
  float* packed;
  std::int64_t point, panel;  // point: floats from one transform to the next
  bool rotate;
};

// dw (K, 3, 3, pitch), k filters of c channels from `dw` on, (+)= G^T dU G; dU (36, k, row), `point` floats per point.
struct WinogradFilterGradient {
  const float* du;
  std::int64_t point, row;
  float* dw;
  std::int64_t k, c, pitch;
  bool accumulate;
};

// Tiles [begin, end) of the grid are rows 0, 1, ... of the planes.
template <class T>
struct WinogradTransforms {
  // B^T d B of 6x6 windows; with mean, d = relu((x - mean) * scale + beta) as T inside the image. Tables as long as a panel row.
  void (*input)(const WinogradGrid&, const T* x, const float* mean, const float* scale, const float* beta,
                const WinogradPlanes&, std::int64_t begin, std::int64_t end);
  // A d A^T of 4x4 windows.
  void (*gradient)(const WinogradGrid&, const T* dy, const WinogradPlanes&, std::int64_t begin, std::int64_t end);
  // y (+)= A^T m A [+ bias] on 4x4 windows, without what lies outside the image; bias may be null, as long as a panel row. T is
  // rounded to once, from the sum.
  void (*output)(const WinogradGrid&, const WinogradPlanes&, const float* bias, T* y, bool accumulate,
                 std::int64_t begin, std::int64_t end);
  // U = G g G^T for columns [begin, end) of B; begin is a multiple of 16.
  void (*filter)(const WinogradFilter<T>&, std::int64_t begin, std::int64_t end);
};

struct WinogradKernels {
  WinogradTransforms<float> f32;
  WinogradTransforms<std::uint16_t> bf16;
  void (*filter_gradient)(const WinogradFilterGradient&);
  // A Gemm with n of at most two vectors. B is not packed; rows of B and C are padded to whole vectors, all written.
  void (*multiply_narrow)(const Gemm&);

  template <class T>
  const WinogradTransforms<T>& transforms() const {
    if constexpr (sizeof(T) == 2)
      return bf16;
    else
      return f32;
  }
};

}  // namespace lockstep::simd
