// Pooling. Backward passes go pixel by pixel over the windows that see it, so that each sum is one double.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {
namespace {

struct Windows {
  Image x, y;
  Axis h_axis, w_axis;
  std::int64_t kernel_h, kernel_w;
  bool count_padding;

  Windows(const Shape& x_shape, const Shape& y_shape, const Pool2dParams& p)
      : x(x_shape), y(y_shape), h_axis{x.h, y.h, p.stride.h, p.pad.h, 1}, w_axis{x.w, y.w, p.stride.w, p.pad.w, 1},
        kernel_h(p.kernel.h), kernel_w(p.kernel.w), count_padding(p.count_include_pad) {}

  // visit(offset of the pixel's channels in x, tap) for all pixels of window (p, q) inside the image.
  template <class Visit>
  void pixels(std::int64_t n, std::int64_t p, std::int64_t q, Visit visit) const {
    for (std::int64_t r = 0; r < kernel_h; ++r)
      for (std::int64_t s = 0; s < kernel_w; ++s) {
        const std::int64_t h = h_axis.pixel(p, r), w = w_axis.pixel(q, s);
        if (h >= 0 && w >= 0) visit(x.at(n, h, w), r * kernel_w + s);
      }
  }
  // visit(p, q, tap) for all windows that see pixel (h, w).
  template <class Visit>
  void windows(std::int64_t h, std::int64_t w, Visit visit) const {
    for (std::int64_t r = 0; r < kernel_h; ++r)
      for (std::int64_t s = 0; s < kernel_w; ++s) {
        const std::int64_t p = h_axis.window(h, r), q = w_axis.window(w, s);
        if (p >= 0 && q >= 0) visit(p, q, r * kernel_w + s);
      }
  }
  // What the mean over window (p, q) divides by: its positions in the image or, counted with the padding, in both.
  double divisor(std::int64_t p, std::int64_t q) const {
    if (count_padding) return static_cast<double>(padded_extent(h_axis, kernel_h, p) * padded_extent(w_axis, kernel_w, q));
    std::int64_t count = 0;
    pixels(0, p, q, [&](std::int64_t, std::int64_t) { ++count; });
    return static_cast<double>(count);
  }
  // How much of window p lies in the padded image: all, unless the output's size was rounded up.
  static std::int64_t padded_extent(const Axis& axis, std::int64_t kernel, std::int64_t p) {
    return std::min(kernel, axis.in + 2 * axis.pad - p * axis.stride);
  }
};

// body(n, i, j, offset of the first channel) for all pixels of an image tensor.
template <class Body>
void for_pixels(const Image& image, Body body) {
  for (std::int64_t n = 0; n < image.n; ++n)
    for (std::int64_t i = 0; i < image.h; ++i)
      for (std::int64_t j = 0; j < image.w; ++j) body(n, i, j, image.at(n, i, j));
}

template <class T>
bool replaces(T value, T best) {
  return value > best || (std::isnan(value) && !std::isnan(best));
}

}  // namespace

void ReferenceKernels::max_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y, View indices) {
  const Windows windows(x.shape, y.shape, params);
  dispatch("max_pool_forward", x.dtype, [&]<class T>() {
    const T* in = x.data<T>();
    T* result = y.data<T>();
    std::uint8_t* taps = indices ? indices.data<std::uint8_t>() : nullptr;
    for_pixels(windows.y, [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t out) {
      for (std::int64_t c = 0; c < windows.x.c; ++c) {
        T best{};
        std::int64_t best_tap = -1;
        windows.pixels(n, p, q, [&](std::int64_t pixel, std::int64_t tap) {
          if (best_tap >= 0 && !replaces(in[pixel + c], best)) return;
          best = in[pixel + c];
          best_tap = tap;
        });
        result[out + c] = best;
        if (taps != nullptr) taps[out + c] = static_cast<std::uint8_t>(best_tap);
      }
    });
  });
}

void ReferenceKernels::max_pool_backward(Stream, ConstView dy, ConstView indices, const Pool2dParams& params, View dx,
                                         GradMode mode) {
  const Windows windows(dx.shape, dy.shape, params);
  const std::uint8_t* taps = indices.data<std::uint8_t>();
  dispatch("max_pool_backward", dy.dtype, [&]<class T>() {
    const T* gradient = dy.data<T>();
    T* result = dx.data<T>();
    for_pixels(windows.x, [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t pixel) {
      for (std::int64_t c = 0; c < windows.x.c; ++c) {
        double sum = 0;
        windows.windows(h, w, [&](std::int64_t p, std::int64_t q, std::int64_t tap) {
          const std::int64_t out = windows.y.at(n, p, q) + c;
          if (taps[out] == tap) sum += static_cast<double>(gradient[out]);
        });
        put(result[pixel + c], sum, mode);
      }
    });
  });
}

void ReferenceKernels::avg_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y) {
  const Windows windows(x.shape, y.shape, params);
  dispatch("avg_pool_forward", x.dtype, [&]<class T>() {
    const T* in = x.data<T>();
    T* result = y.data<T>();
    for_pixels(windows.y, [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t out) {
      const double divisor = windows.divisor(p, q);
      for (std::int64_t c = 0; c < windows.x.c; ++c) {
        double sum = 0;
        windows.pixels(n, p, q, [&](std::int64_t pixel, std::int64_t) { sum += static_cast<double>(in[pixel + c]); });
        result[out + c] = static_cast<T>(sum / divisor);
      }
    });
  });
}

void ReferenceKernels::avg_pool_backward(Stream, ConstView dy, const Pool2dParams& params, View dx, GradMode mode) {
  const Windows windows(dx.shape, dy.shape, params);
  dispatch("avg_pool_backward", dy.dtype, [&]<class T>() {
    const T* gradient = dy.data<T>();
    T* result = dx.data<T>();
    for_pixels(windows.x, [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t pixel) {
      for (std::int64_t c = 0; c < windows.x.c; ++c) {
        double sum = 0;
        windows.windows(h, w, [&](std::int64_t p, std::int64_t q, std::int64_t) {
          sum += static_cast<double>(gradient[windows.y.at(n, p, q) + c]) / windows.divisor(p, q);
        });
        put(result[pixel + c], sum, mode);
      }
    });
  });
}

namespace {

// The pixels [begin, end) of an axis that window p of `windows` covers.
struct Stretch {
  std::int64_t begin, end;
  Stretch(std::int64_t pixels, std::int64_t windows, std::int64_t p)
      : begin(p * pixels / windows), end(((p + 1) * pixels + windows - 1) / windows) {}
  bool holds(std::int64_t pixel) const { return pixel >= begin && pixel < end; }
  std::int64_t size() const { return end - begin; }
};

}  // namespace

void ReferenceKernels::adaptive_avg_pool_forward(Stream, ConstView x, View y) {
  const Image in(x.shape), out(y.shape);
  dispatch("adaptive_avg_pool_forward", x.dtype, [&]<class T>() {
    for_pixels(out, [&](std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t at) {
      const Stretch rows(in.h, out.h, p), columns(in.w, out.w, q);
      for (std::int64_t c = 0; c < in.c; ++c) {
        double sum = 0;
        for (std::int64_t h = rows.begin; h < rows.end; ++h)
          for (std::int64_t w = columns.begin; w < columns.end; ++w) sum += static_cast<double>(x.data<T>()[in.at(n, h, w) + c]);
        y.data<T>()[at + c] = static_cast<T>(sum / static_cast<double>(rows.size() * columns.size()));
      }
    });
  });
}

void ReferenceKernels::adaptive_avg_pool_backward(Stream, ConstView dy, View dx, GradMode mode) {
  const Image in(dx.shape), out(dy.shape);
  dispatch("adaptive_avg_pool_backward", dy.dtype, [&]<class T>() {
    for_pixels(in, [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t at) {
      for (std::int64_t c = 0; c < in.c; ++c) {
        double sum = 0;
        for (std::int64_t p = 0; p < out.h; ++p)
          for (std::int64_t q = 0; q < out.w; ++q) {
            const Stretch rows(in.h, out.h, p), columns(in.w, out.w, q);
            if (!rows.holds(h) || !columns.holds(w)) continue;
            sum += static_cast<double>(dy.data<T>()[out.at(n, p, q) + c]) / static_cast<double>(rows.size() * columns.size());
          }
        put(dx.data<T>()[at + c], sum, mode);
      }
    });
  });
}

void ReferenceKernels::global_avg_pool_forward(Stream, ConstView x, View y) {
  const Image image(x.shape);
  dispatch("global_avg_pool_forward", x.dtype, [&]<class T>() {
    const T* in = x.data<T>();
    const std::int64_t pixels = image.h * image.w;
    for (std::int64_t n = 0; n < image.n; ++n)
      for (std::int64_t c = 0; c < image.c; ++c) {
        double sum = 0;
        for (std::int64_t pixel = 0; pixel < pixels; ++pixel)
          sum += static_cast<double>(in[(n * pixels + pixel) * image.c + c]);
        y.data<T>()[n * image.c + c] = static_cast<T>(sum / static_cast<double>(pixels));
      }
  });
}

void ReferenceKernels::global_avg_pool_backward(Stream, ConstView dy, View dx, GradMode mode) {
  const Image image(dx.shape);
  dispatch("global_avg_pool_backward", dy.dtype, [&]<class T>() {
    const T* gradient = dy.data<T>();
    T* result = dx.data<T>();
    const auto pixels = static_cast<double>(image.h * image.w);
    for_pixels(image, [&](std::int64_t n, std::int64_t, std::int64_t, std::int64_t pixel) {
      for (std::int64_t c = 0; c < image.c; ++c)
        put(result[pixel + c], static_cast<double>(gradient[n * image.c + c]) / pixels, mode);
    });
  });
}

}  // namespace lockstep::reference
