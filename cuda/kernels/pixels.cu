// Kernels across the channels of a pixel: local response norm, shuffled and shifted channels. An element of the result per thread;
// neighbours in a warp write neighbours, and what several of them read comes from the caches. From memory: shuffle and shift read
// and write each element once; response_norm likewise, its backward pass reads dy twice, x three times and a scratch of f32 once.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/kernels/elementwise.h"
#include "cuda/numeric.h"

namespace lockstep::cuda {
namespace {

template <class T>
LS_DEVICE void put_one(T* to, float value, bool accumulate) {
  *to = from_float<T>(accumulate ? to_float(*to) + value : value);
}

// Windows of channels: before and after the own one, as far as they exist.
template <class T>
struct Scales {
  std::int64_t channels, before, after;
  float k, alpha, beta;
  const T* x;

  Scales(const ResponseNorm& p, ConstView input)
      : channels(input.shape[1]), before(p.size / 2), after((p.size - 1) / 2), k(static_cast<float>(p.k)),
        alpha(static_cast<float>(p.alpha / p.size)), beta(static_cast<float>(p.beta)), x(input.data<T>()) {}

  LS_DEVICE float value(std::int64_t i) const { return to_float(x[i]); }
  // s of element i.
  LS_DEVICE float at(std::int64_t i) const {
    const std::int64_t c = i % channels, first = c < before ? -c : -before, last = channels - 1 - c < after ? channels - 1 - c : after;
    float sum = 0;
    for (std::int64_t d = first; d <= last; ++d) sum += value(i + d) * value(i + d);
    return k + alpha * sum;
  }
};

template <class T>
struct ResponseForward {
  Scales<T> scales;
  T* y;
  LS_DEVICE void operator()(std::int64_t i) const { y[i] = from_float<T>(scales.value(i) * std::pow(scales.at(i), -scales.beta)); }
};

// products = dy x s^(-beta-1)
template <class T>
struct ResponseProducts {
  Scales<T> scales;
  const T* dy;
  float* products;
  LS_DEVICE void operator()(std::int64_t i) const {
    const float s = scales.at(i);
    products[i] = to_float(dy[i]) * scales.value(i) * std::pow(s, -scales.beta) / s;
  }
};

// dx = dy s^-beta - 2 alpha beta x * sum of the products of the channels whose windows hold this one
template <class T>
struct ResponseBackward {
  Scales<T> scales;
  const T* dy;
  const float* products;
  T* dx;
  bool accumulate;
  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t c = i % scales.channels, left = scales.channels - 1 - c;
    const std::int64_t first = c < scales.after ? -c : -scales.after, last = left < scales.before ? left : scales.before;
    float sum = 0;
    for (std::int64_t d = first; d <= last; ++d) sum += products[i + d];
    const float direct = to_float(dy[i]) * std::pow(scales.at(i), -scales.beta);
    put_one(dx + i, direct - 2 * scales.alpha * scales.beta * scales.value(i) * sum, accumulate);
  }
};

template <class T>
struct Shuffle {
  const T* src;
  T* dst;
  std::int64_t groups, each;
  bool accumulate;
  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t channels = groups * each, c = i % channels;
    put_one(dst + i, to_float(src[i - c + c % groups * each + c / groups]), accumulate);
  }
};

// Group i of kernel^2 reads at (i / kernel, i % kernel) - kernel / 2; the centre's turn is at the end (ops/shift_channels.h).
template <class T>
struct Shift {
  const T* src;
  T* dst;
  std::int64_t channels, height, width, kernel, each;
  bool inverse, accumulate;
  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t c = i % channels, pixel = i / channels, w = pixel % width, h = pixel / width % height;
    const std::int64_t last = kernel * kernel - 1, group = c / each < last ? c / each : last;
    const std::int64_t place = group == last ? last / 2 : group < last / 2 ? group : group + 1;
    const std::int64_t down = (place / kernel - kernel / 2) * (inverse ? -1 : 1), right = (place % kernel - kernel / 2) * (inverse ? -1 : 1);
    const bool inside = h + down >= 0 && h + down < height && w + right >= 0 && w + right < width;
    put_one(dst + i, inside ? to_float(src[i + (down * width + right) * channels]) : 0.0f, accumulate);
  }
};

}  // namespace

void response_norm_forward(Stream stream, ConstView x, const ResponseNorm& params, View y) {
  with_element_type(x.dtype, "response_norm_forward", [&]<class T>(T) {
    for_each_index(stream, x.numel(), ResponseForward<T>{{params, x}, y.data<T>()});
  });
}

void response_norm_backward(Stream stream, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode) {
  Tensor scratch = Tensor::empty(x.shape, DType::kF32, x.device);
  float* products = static_cast<float*>(scratch.ptr());
  with_element_type(dy.dtype, "response_norm_backward", [&]<class T>(T) {
    for_each_index(stream, x.numel(), ResponseProducts<T>{{params, x}, dy.data<T>(), products});
    for_each_index(stream, x.numel(),
                   ResponseBackward<T>{{params, x}, dy.data<T>(), products, dx.data<T>(), mode == GradMode::kAccumulate});
  });
}

void shuffle_channels(Stream stream, ConstView src, int groups, View dst, GradMode mode) {
  with_element_type(src.dtype, "shuffle_channels", [&]<class T>(T) {
    for_each_index(stream, src.numel(),
                   Shuffle<T>{src.data<T>(), dst.data<T>(), groups, src.shape[1] / groups, mode == GradMode::kAccumulate});
  });
}

void shift_channels(Stream stream, ConstView src, const ChannelShift& shift, View dst, GradMode mode) {
  const Shape& image = src.shape;
  const std::int64_t kernel = shift.kernel, each = image[1] / (kernel * kernel);
  LS_CHECK(each > 0, "shift_channels of fewer channels than directions");
  with_element_type(src.dtype, "shift_channels", [&]<class T>(T) {
    for_each_index(stream, src.numel(), Shift<T>{src.data<T>(), dst.data<T>(), image[1], image[2], image[3], kernel, each, shift.inverse,
                                                 mode == GradMode::kAccumulate});
  });
}

}  // namespace lockstep::cuda
