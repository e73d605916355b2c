// Batch norm: per-channel moments in two passes, and the formulas of ops/batch_norm.cpp element by element.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {
namespace {

// Bit i of a mask; everything passes if there is none.
bool passes(const std::uint8_t* mask, std::int64_t i) {
  return mask == nullptr || ((static_cast<unsigned>(mask[i / 8]) >> (i % 8)) & 1u) != 0;
}

const std::uint8_t* bytes(const ConstView& mask) { return mask ? mask.data<std::uint8_t>() : nullptr; }

template <class T>
struct Channels {
  const T *mean, *inv_std;
  double xhat(T x, std::int64_t c) const {
    return (static_cast<double>(x) - static_cast<double>(mean[c])) * static_cast<double>(inv_std[c]);
  }
};

}  // namespace

void ReferenceKernels::batch_norm_moments(Stream, ConstView x, View mean, View m2) {
  const Image image(x.shape);
  dispatch("batch_norm_moments", x.dtype, [&]<class T>() {
    const T* in = x.data<T>();
    const auto rows = image.rows();
    for (std::int64_t c = 0; c < image.c; ++c) {
      double sum = 0, squares = 0;
      for (std::int64_t row = 0; row < rows; ++row) sum += static_cast<double>(in[row * image.c + c]);
      const double average = rows > 0 ? sum / static_cast<double>(rows) : 0.0;  // an empty shard adds nothing to its group
      for (std::int64_t row = 0; row < rows; ++row) {
        const double difference = static_cast<double>(in[row * image.c + c]) - average;
        squares += difference * difference;
      }
      mean.data<T>()[c] = static_cast<T>(average);
      m2.data<T>()[c] = static_cast<T>(squares);
    }
  });
}

void ReferenceKernels::batch_norm_inv_std(Stream, ConstView m2, double count, double eps, View inv_std, View unbiased) {
  dispatch("batch_norm_inv_std", m2.dtype, [&]<class T>() {
    for (std::int64_t c = 0; c < m2.numel(); ++c) {
      const auto squares = static_cast<double>(m2.data<T>()[c]);
      inv_std.data<T>()[c] = static_cast<T>(1.0 / std::sqrt(squares / count + eps));
      if (unbiased) unbiased.data<T>()[c] = static_cast<T>(squares / (count - 1.0));
    }
  });
}

void ReferenceKernels::batch_norm_apply(Stream, ConstView x, ConstView mean, ConstView inv_std, ConstView gamma,
                                        ConstView beta, ConstView residual, bool relu, View y, View mask) {
  const Image image(x.shape);
  std::uint8_t* mask_bytes = mask ? mask.data<std::uint8_t>() : nullptr;
  if (mask) std::memset(mask_bytes, 0, static_cast<std::size_t>(mask.numel()));
  dispatch("batch_norm_apply", x.dtype, [&]<class T>() {
    const Channels<T> channel{mean.data<T>(), inv_std.data<T>()};
    const T *in = x.data<T>(), *scale = gamma.data<T>(), *shift = beta.data<T>();
    const T* added = residual ? residual.data<T>() : nullptr;
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < image.rows() * image.c; ++i) {
      const std::int64_t c = i % image.c;
      double value = channel.xhat(in[i], c) * static_cast<double>(scale[c]) + static_cast<double>(shift[c]);
      if (added != nullptr) value += static_cast<double>(added[i]);
      T result = static_cast<T>(value);
      if (relu && result <= T{0}) result = T{0};  // NaN stays NaN
      out[i] = result;
      if (mask_bytes != nullptr && result > T{0})
        mask_bytes[i / 8] = static_cast<std::uint8_t>(mask_bytes[i / 8] | (1u << (i % 8)));
    }
  });
}

void ReferenceKernels::batch_norm_backward_sums(Stream, ConstView dy, ConstView mask, ConstView x, ConstView mean,
                                                ConstView inv_std, View sum_g, View sum_g_xhat) {
  const Image image(x.shape);
  const std::uint8_t* mask_bytes = bytes(mask);
  dispatch("batch_norm_backward_sums", x.dtype, [&]<class T>() {
    const Channels<T> channel{mean.data<T>(), inv_std.data<T>()};
    const T *in = x.data<T>(), *gradient = dy.data<T>();
    for (std::int64_t c = 0; c < image.c; ++c) {
      double sum = 0, sum_xhat = 0;
      for (std::int64_t i = c; i < image.rows() * image.c; i += image.c) {
        if (!passes(mask_bytes, i)) continue;
        const auto g = static_cast<double>(gradient[i]);
        sum += g;
        sum_xhat += g * channel.xhat(in[i], c);
      }
      sum_g.data<T>()[c] = static_cast<T>(sum);
      sum_g_xhat.data<T>()[c] = static_cast<T>(sum_xhat);
    }
  });
}

void ReferenceKernels::batch_norm_backward_apply(Stream, ConstView dy, ConstView mask, ConstView x, ConstView mean,
                                                 ConstView inv_std, ConstView gamma, ConstView sum_g,
                                                 ConstView sum_g_xhat, double count, View dx, GradMode dx_mode,
                                                 View dresidual, GradMode dresidual_mode) {
  LS_CHECK(dx.ptr != dresidual.ptr, "batch_norm_backward_apply: dx and dresidual are the same memory");
  const Image image(x.shape);
  const std::uint8_t* mask_bytes = bytes(mask);
  dispatch("batch_norm_backward_apply", x.dtype, [&]<class T>() {
    const Channels<T> channel{mean.data<T>(), inv_std.data<T>()};
    const T *in = x.data<T>(), *gradient = dy.data<T>(), *scale = gamma.data<T>();
    const T *sum = sum_g.data<T>(), *sum_xhat = sum_g_xhat.data<T>();
    T *out = dx.data<T>(), *residual = dresidual ? dresidual.data<T>() : nullptr;
    for (std::int64_t i = 0; i < image.rows() * image.c; ++i) {
      const std::int64_t c = i % image.c;
      const double g = passes(mask_bytes, i) ? static_cast<double>(gradient[i]) : 0.0;
      double centred = g;
      if (std::isfinite(count))
        centred -= (static_cast<double>(sum[c]) + channel.xhat(in[i], c) * static_cast<double>(sum_xhat[c])) / count;
      if (residual != nullptr) put(residual[i], g, dresidual_mode);
      put(out[i], static_cast<double>(scale[c]) * static_cast<double>(channel.inv_std[c]) * centred, dx_mode);
    }
  });
}

}  // namespace lockstep::reference
