// Convolution: the defining sums, one output element (forward) or one pixel or tap (backward) at a time.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {
namespace {

struct Geometry {
  Image x, y, w;  // w: (K, C / groups, R, S)
  Axis h_axis, w_axis;
  std::int64_t channels_per_group, filters_per_group;

  Geometry(const Shape& x_shape, const Shape& w_shape, const Shape& y_shape, const Conv2dParams& p)
      : x(x_shape), y(y_shape), w(w_shape), h_axis{x.h, y.h, p.stride.h, p.pad.h, p.dilation.h},
        w_axis{x.w, y.w, p.stride.w, p.pad.w, p.dilation.w}, channels_per_group(x.c / p.groups),
        filters_per_group(y.c / p.groups) {}
  std::int64_t first_channel(std::int64_t k) const { return k / filters_per_group * channels_per_group; }
};

// sum over r, s, c of x * w for the window (p, q) of filter k.
template <class T>
double window_sum(const Geometry& g, const T* x, const T* w, std::int64_t n, std::int64_t p, std::int64_t q,
                  std::int64_t k) {
  double sum = 0;
  for (std::int64_t r = 0; r < g.w.h; ++r) {
    const std::int64_t h = g.h_axis.pixel(p, r);
    if (h < 0) continue;
    for (std::int64_t s = 0; s < g.w.w; ++s) {
      const std::int64_t column = g.w_axis.pixel(q, s);
      if (column < 0) continue;
      const T* pixel = x + g.x.at(n, h, column) + g.first_channel(k);
      const T* tap = w + g.w.at(k, r, s);
      for (std::int64_t c = 0; c < g.channels_per_group; ++c)
        sum += static_cast<double>(pixel[c]) * static_cast<double>(tap[c]);
    }
  }
  return sum;
}

// total[c] (x.c) = gradient of pixel (n, h, column).
template <class T>
void pixel_gradient(const Geometry& g, const T* dy, const T* w, std::int64_t n, std::int64_t h, std::int64_t column,
                    double* total) {
  std::fill_n(total, g.x.c, 0.0);
  for (std::int64_t r = 0; r < g.w.h; ++r) {
    const std::int64_t p = g.h_axis.window(h, r);
    if (p < 0) continue;
    for (std::int64_t s = 0; s < g.w.w; ++s) {
      const std::int64_t q = g.w_axis.window(column, s);
      if (q < 0) continue;
      const T* out = dy + g.y.at(n, p, q);
      for (std::int64_t k = 0; k < g.y.c; ++k) {
        const T* tap = w + g.w.at(k, r, s);
        double* sum = total + g.first_channel(k);
        for (std::int64_t c = 0; c < g.channels_per_group; ++c)
          sum[c] += static_cast<double>(out[k]) * static_cast<double>(tap[c]);
      }
    }
  }
}

// total[c] (channels per group) = gradient of tap (r, s) of filter k.
template <class T>
void tap_gradient(const Geometry& g, const T* x, const T* dy, std::int64_t k, std::int64_t r, std::int64_t s,
                  double* total) {
  std::fill_n(total, g.channels_per_group, 0.0);
  for (std::int64_t n = 0; n < g.y.n; ++n)
    for (std::int64_t p = 0; p < g.y.h; ++p) {
      const std::int64_t h = g.h_axis.pixel(p, r);
      if (h < 0) continue;
      for (std::int64_t q = 0; q < g.y.w; ++q) {
        const std::int64_t column = g.w_axis.pixel(q, s);
        if (column < 0) continue;
        const T* pixel = x + g.x.at(n, h, column) + g.first_channel(k);
        const auto factor = static_cast<double>(dy[g.y.at(n, p, q) + k]);
        for (std::int64_t c = 0; c < g.channels_per_group; ++c) total[c] += factor * static_cast<double>(pixel[c]);
      }
    }
}

}  // namespace

void ReferenceKernels::conv2d_forward(Stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params,
                                      View y) {
  const Geometry g(x.shape, w.shape, y.shape, params);
  dispatch("conv2d_forward", x.dtype, [&]<class T>() {
    const T* b = bias ? bias.data<T>() : nullptr;
    T* out = y.data<T>();
    for (std::int64_t n = 0; n < g.y.n; ++n)
      for (std::int64_t p = 0; p < g.y.h; ++p)
        for (std::int64_t q = 0; q < g.y.w; ++q)
          for (std::int64_t k = 0; k < g.y.c; ++k) {
            const double sum = window_sum(g, x.data<T>(), w.data<T>(), n, p, q, k);
            *out++ = static_cast<T>(b != nullptr ? sum + static_cast<double>(b[k]) : sum);
          }
  });
}

void ReferenceKernels::conv2d_backward_data(Stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx,
                                            GradMode mode) {
  const Geometry g(dx.shape, w.shape, dy.shape, params);
  Tensor scratch = Tensor::empty({g.x.c}, DType::kF64);
  double* total = scratch.host<double>().data();
  dispatch("conv2d_backward_data", dy.dtype, [&]<class T>() {
    T* out = dx.data<T>();
    for (std::int64_t n = 0; n < g.x.n; ++n)
      for (std::int64_t h = 0; h < g.x.h; ++h)
        for (std::int64_t column = 0; column < g.x.w; ++column) {
          pixel_gradient(g, dy.data<T>(), w.data<T>(), n, h, column, total);
          for (std::int64_t c = 0; c < g.x.c; ++c) put(*out++, total[c], mode);
        }
  });
}

void ReferenceKernels::conv2d_backward_filter(Stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw,
                                              GradMode mode) {
  const Geometry g(x.shape, dw.shape, dy.shape, params);
  Tensor scratch = Tensor::empty({g.channels_per_group}, DType::kF64);
  double* total = scratch.host<double>().data();
  dispatch("conv2d_backward_filter", dy.dtype, [&]<class T>() {
    T* out = dw.data<T>();
    for (std::int64_t k = 0; k < g.y.c; ++k)
      for (std::int64_t r = 0; r < g.w.h; ++r)
        for (std::int64_t s = 0; s < g.w.w; ++s) {
          tap_gradient(g, x.data<T>(), dy.data<T>(), k, r, s, total);
          for (std::int64_t c = 0; c < g.channels_per_group; ++c) put(*out++, total[c], mode);
        }
  });
}

void ReferenceKernels::bias_backward(Stream, ConstView dy, View db, GradMode mode) {
  const Image image(dy.shape);
  dispatch("bias_backward", dy.dtype, [&]<class T>() {
    const T* in = dy.data<T>();
    for (std::int64_t c = 0; c < image.c; ++c) {
      double sum = 0;
      for (std::int64_t row = 0; row < image.rows(); ++row) sum += static_cast<double>(in[row * image.c + c]);
      put(db.data<T>()[c], sum, mode);
    }
  });
}

}  // namespace lockstep::reference
