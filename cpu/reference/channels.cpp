// Kernels over the channels of a pixel: local response norm, shuffled and shifted channels.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"
#include "ops/shift_channels.h"

namespace lockstep::reference {
namespace {

// s of one channel of a pixel whose C channels lie at x.
template <class T>
double scale_of(const ResponseNorm& p, const T* x, std::int64_t channels, std::int64_t c) {
  double sum = 0;
  const std::int64_t end = std::min(channels, c + (p.size - 1) / 2 + 1);
  for (std::int64_t j = std::max<std::int64_t>(0, c - p.size / 2); j < end; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  return p.k + p.alpha / p.size * sum;
}

}  // namespace

void ReferenceKernels::response_norm_forward(Stream, ConstView x, const ResponseNorm& params, View y) {
  const Image image(x.shape);
  dispatch("response_norm_forward", x.dtype, [&]<class T>() {
    for (std::int64_t row = 0; row < image.rows(); ++row) {
      const T* in = x.data<T>() + row * image.c;
      T* out = y.data<T>() + row * image.c;
      for (std::int64_t c = 0; c < image.c; ++c)
        out[c] = static_cast<T>(static_cast<double>(in[c]) * std::pow(scale_of(params, in, image.c, c), -params.beta));
    }
  });
}

void ReferenceKernels::response_norm_backward(Stream, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode) {
  const Image image(x.shape);
  dispatch("response_norm_backward", dy.dtype, [&]<class T>() {
    for (std::int64_t row = 0; row < image.rows(); ++row) {
      const T *in = x.data<T>() + row * image.c, *gradient = dy.data<T>() + row * image.c;
      T* out = dx.data<T>() + row * image.c;
      for (std::int64_t c = 0; c < image.c; ++c) {
        double sum = 0;  // over the channels whose window holds c
        const std::int64_t end = std::min(image.c, c + params.size / 2 + 1);
        for (std::int64_t j = std::max<std::int64_t>(0, c - (params.size - 1) / 2); j < end; ++j)
          sum += static_cast<double>(gradient[j]) * static_cast<double>(in[j]) * std::pow(scale_of(params, in, image.c, j), -params.beta - 1);
        const double direct = static_cast<double>(gradient[c]) * std::pow(scale_of(params, in, image.c, c), -params.beta);
        put(out[c], direct - 2 * params.alpha * params.beta / params.size * static_cast<double>(in[c]) * sum, mode);
      }
    }
  });
}

void ReferenceKernels::shuffle_channels(Stream, ConstView src, int groups, View dst, GradMode mode) {
  const Image image(src.shape);
  const std::int64_t each = image.c / groups;
  dispatch("shuffle_channels", src.dtype, [&]<class T>() {
    for (std::int64_t row = 0; row < image.rows(); ++row)
      for (std::int64_t c = 0; c < image.c; ++c)
        put(dst.data<T>()[row * image.c + c % each * groups + c / each], static_cast<double>(src.data<T>()[row * image.c + c]), mode);
  });
}

void ReferenceKernels::shift_channels(Stream, ConstView src, const ChannelShift& shift, View dst, GradMode mode) {
  const Image image(src.shape);
  dispatch("shift_channels", src.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < std::int64_t{shift.kernel} * shift.kernel; ++i) {
      const ShiftGroup group = shift_group(shift, image.c, i);
      for (std::int64_t n = 0; n < image.n; ++n)
        for (std::int64_t h = 0; h < image.h; ++h)
          for (std::int64_t w = 0; w < image.w; ++w) {
            const std::int64_t from_h = h + group.down, from_w = w + group.right;
            const bool inside = from_h >= 0 && from_h < image.h && from_w >= 0 && from_w < image.w;
            for (std::int64_t c = group.begin; c < group.begin + group.count; ++c)
              put(dst.data<T>()[image.at(n, h, w) + c], inside ? static_cast<double>(src.data<T>()[image.at(n, from_h, from_w) + c]) : 0.0, mode);
          }
    }
  });
}

}  // namespace lockstep::reference
