// What the pooling kernels share: the geometry of windows, and who computes what. A block takes a stretch of one row of pixels of
// one image, a thread `N` neighbouring channels of one of its pixels (8: 16 bytes of 16-bit values; 1: any shape), so neighbours
// in a warp read neighbours in memory and no thread divides more than once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cuda/kernels/units.h"
#include "ops/kernels.h"

namespace lockstep::cuda {

constexpr int kPoolThreads = 128;

// One axis: window p covers pixels p * stride - pad ... + kernel - 1, as far as they are in [0, pixels).
struct WindowAxis {
  int pixels, windows, kernel, stride, pad;

  LS_DEVICE int origin(int window) const { return window * stride - pad; }
  LS_DEVICE int first_tap(int window) const { return origin(window) < 0 ? -origin(window) : 0; }
  LS_DEVICE int end_tap(int window) const { return pixels - origin(window) < kernel ? pixels - origin(window) : kernel; }

  // Positions of a window in the padded image: all of them, unless the number of windows was rounded up.
  LS_DEVICE int padded_taps(int window) const {
    const int left = pixels + 2 * pad - window * stride;
    return left < kernel ? left : kernel;
  }

  // The windows that hold `pixel`, from the last: window - i holds it at tap + i * stride, i = 0 ... count - 1.
  struct Holders {
    int window, tap, count;
  };
  LS_DEVICE Holders holders(int pixel) const {
    int window = (pixel + pad) / stride;
    if (window > windows - 1) window = windows - 1;
    const int tap = pixel + pad - window * stride;
    if (tap >= kernel) return {window, tap, 0};
    const int by_kernel = (kernel - 1 - tap) / stride + 1;
    return {window, tap, by_kernel < window + 1 ? by_kernel : window + 1};
  }
};

// A pixel of an output, and the thread's channels.
struct PoolPlace {
  std::int64_t image;
  int row, column;
  std::int64_t channel;
};

struct PoolGeometry {
  WindowAxis h, w;
  int units;  // threads for the channels of a pixel
  std::int64_t channels;
  bool count_padding;

  PoolGeometry(const Shape& x, const Shape& y, const Pool2dParams& p, int width)
      : h{as_int(x[2]), as_int(y[2]), p.kernel.h, p.stride.h, p.pad.h}, w{as_int(x[3]), as_int(y[3]), p.kernel.w, p.stride.w, p.pad.w},
        units(as_int(x[1] / width)), channels(x[1]), count_padding(p.count_include_pad) {
    LS_CHECK(x[1] * std::max(x[3], y[3]) <= std::numeric_limits<int>::max(), "a row of pixels has more than 2^31 values");
  }

  // Offsets of a pixel's first channel.
  LS_DEVICE std::int64_t x_at(std::int64_t image, int row, int column) const {
    return ((image * h.pixels + row) * w.pixels + column) * channels;
  }
  LS_DEVICE std::int64_t y_at(std::int64_t image, int row, int column) const {
    return ((image * h.windows + row) * w.windows + column) * channels;
  }
  // The pixels inside the image of the window at a place of y: body(tap, offset in x), row by row.
  template <class Body>
  LS_DEVICE void for_taps(const PoolPlace& at, const Body& body) const {
    const int first_s = w.first_tap(at.column), end_s = w.end_tap(at.column), end_r = h.end_tap(at.row);
    for (int r = h.first_tap(at.row); r < end_r; ++r) {
      const std::int64_t row = x_at(at.image, h.origin(at.row) + r, w.origin(at.column)) + at.channel;
      for (int s = first_s; s < end_s; ++s) body(r * w.kernel + s, row + s * channels);
    }
  }
  // The windows that hold a pixel of x, from the last: body(p, q, tap, offset in y).
  template <class Body>
  LS_DEVICE void for_holders(const PoolPlace& at, const Body& body) const {
    const WindowAxis::Holders above = h.holders(at.row), beside = w.holders(at.column);
    for (int i = 0; i < above.count; ++i)
      for (int j = 0; j < beside.count; ++j) {
        const int p = above.window - i, q = beside.window - j;
        body(p, q, (above.tap + i * h.stride) * w.kernel + beside.tap + j * w.stride, y_at(at.image, p, q) + at.channel);
      }
  }
  // What a pixel counts in the mean over a window.
  LS_DEVICE float share(int p, int q) const {
    const int inside = (h.end_tap(p) - h.first_tap(p)) * (w.end_tap(q) - w.first_tap(q));
    return 1.0f / static_cast<float>(count_padding ? h.padded_taps(p) * w.padded_taps(q) : inside);
  }

 private:
  static int as_int(std::int64_t extent) {
    LS_CHECK(extent <= std::numeric_limits<int>::max(), "an extent above 2^31");
    return static_cast<int>(extent);
  }
};

// Runs kernel.compute(place) for every pixel of `rows` rows of `columns` and every unit of channels. Kernel: `geometry`, kWidth.
template <class Kernel>
struct PixelProgram {
  static constexpr int kThreads = kPoolThreads, kPhases = 1;
  struct Shared {};
  struct Local {};
  int rows, columns;  // of an image
  Kernel kernel;

  template <int>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    const unsigned units = static_cast<unsigned>(kernel.geometry.units);
    const unsigned i = static_cast<unsigned>(block.y) * kThreads + static_cast<unsigned>(thread);
    if (i >= static_cast<unsigned>(columns) * units) return;
    const unsigned column = i / units;
    const std::int64_t image = block.x / rows;
    kernel.compute(PoolPlace{image, static_cast<int>(block.x - image * rows), static_cast<int>(column),
                             static_cast<std::int64_t>(i - column * units) * Kernel::kWidth});
  }
};

// `shape` is the output's.
template <class Kernel>
void launch_pixels(Stream stream, const Shape& shape, const Kernel& kernel) {
  const std::int64_t stretches = blocks_for(shape[3] * kernel.geometry.units, kPoolThreads);
  LS_CHECK(stretches <= 65535, "a row of pixels is too long");
  launch(stream, {shape[0] * shape[2], static_cast<int>(stretches)},
         PixelProgram<Kernel>{static_cast<int>(shape[2]), static_cast<int>(shape[3]), kernel});
}

}  // namespace lockstep::cuda
