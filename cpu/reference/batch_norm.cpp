// Batch norm: per-channel moments in two passes, and the formulas of ops/batch_norm.cpp element by element.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {
namespace {

template <class T>
struct Channels {
  const T *mean, *inv_std, *gamma, *beta;
  explicit Channels(const NormVectors& v)
      : mean(v.mean.data<T>()), inv_std(v.inv_std.data<T>()), gamma(v.gamma.data<T>()), beta(v.beta ? v.beta.data<T>() : nullptr) {}
  double xhat(T x, std::int64_t c) const {
    return (static_cast<double>(x) - static_cast<double>(mean[c])) * static_cast<double>(inv_std[c]);
  }
  double normalised(T x, std::int64_t c) const {
    return xhat(x, c) * static_cast<double>(gamma[c]) + static_cast<double>(beta[c]);
  }
};

// Whether the ReLU let element i of channel c through.
template <class T>
bool passes(const ReluGate& gate, const Channels<T>& channel, T x, std::int64_t i, std::int64_t c) {
  if (gate.kind == ReluGate::Kind::kNone) return true;
  if (gate.kind == ReluGate::Kind::kRecompute) return static_cast<T>(channel.normalised(x, c)) > T{0};
  return ((static_cast<unsigned>(gate.bits.data<std::uint8_t>()[i / 8]) >> (i % 8)) & 1u) != 0;
}

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

void ReferenceKernels::batch_norm_apply(Stream, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y,
                                        View mask) {
  const Image image(x.shape);
  std::uint8_t* mask_bytes = mask ? mask.data<std::uint8_t>() : nullptr;
  if (mask) std::memset(mask_bytes, 0, static_cast<std::size_t>(mask.numel()));
  dispatch("batch_norm_apply", x.dtype, [&]<class T>() {
    const Channels<T> channel(norm);
    const T* in = x.data<T>();
    const T* added = residual ? residual.data<T>() : nullptr;
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < image.rows() * image.c; ++i) {
      double value = channel.normalised(in[i], i % image.c);
      if (added != nullptr) value += static_cast<double>(added[i]);
      T result = static_cast<T>(value);
      if (relu && result <= T{0}) result = T{0};  // NaN stays NaN
      out[i] = result;
      if (mask_bytes != nullptr && result > T{0})
        mask_bytes[i / 8] = static_cast<std::uint8_t>(mask_bytes[i / 8] | (1u << (i % 8)));
    }
  });
}

void ReferenceKernels::batch_norm_backward_sums(Stream, ConstView dy, const ReluGate& gate, ConstView x,
                                                const NormVectors& norm, View sum_g, View sum_g_xhat) {
  const Image image(x.shape);
  dispatch("batch_norm_backward_sums", x.dtype, [&]<class T>() {
    const Channels<T> channel(norm);
    const T *in = x.data<T>(), *gradient = dy.data<T>();
    for (std::int64_t c = 0; c < image.c; ++c) {
      double sum = 0, sum_xhat = 0;
      for (std::int64_t i = c; i < image.rows() * image.c; i += image.c) {
        if (!passes(gate, channel, in[i], i, c)) continue;
        const auto g = static_cast<double>(gradient[i]);
        sum += g;
        sum_xhat += g * channel.xhat(in[i], c);
      }
      sum_g.data<T>()[c] = static_cast<T>(sum);
      sum_g_xhat.data<T>()[c] = static_cast<T>(sum_xhat);
    }
  });
}

void ReferenceKernels::batch_norm_backward_apply(Stream, ConstView dy, const ReluGate& gate, ConstView x,
                                                 const NormVectors& norm, ConstView sum_g, ConstView sum_g_xhat, double count,
                                                 View dx, GradMode dx_mode, View dresidual, GradMode dresidual_mode) {
  LS_CHECK(dx.ptr != dresidual.ptr, "batch_norm_backward_apply: dx and dresidual are the same memory");
  const Image image(x.shape);
  dispatch("batch_norm_backward_apply", x.dtype, [&]<class T>() {
    const Channels<T> channel(norm);
    const T *in = x.data<T>(), *gradient = dy.data<T>();
    const T *sum = sum_g.data<T>(), *sum_xhat = sum_g_xhat.data<T>();
    T *out = dx.data<T>(), *residual = dresidual ? dresidual.data<T>() : nullptr;
    for (std::int64_t i = 0; i < image.rows() * image.c; ++i) {
      const std::int64_t c = i % image.c;
      const double g = passes(gate, channel, in[i], i, c) ? static_cast<double>(gradient[i]) : 0.0;
      double centred = g;
      if (std::isfinite(count))
        centred -= (static_cast<double>(sum[c]) + channel.xhat(in[i], c) * static_cast<double>(sum_xhat[c])) / count;
      if (residual != nullptr) put(residual[i], g, dresidual_mode);
      put(out[i], static_cast<double>(channel.gamma[c]) * static_cast<double>(channel.inv_std[c]) * centred, dx_mode);
    }
  });
}

}  // namespace lockstep::reference
