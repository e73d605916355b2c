// Elementwise kernels, channel copies, and bytes to images.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/mix_row.h"
#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"
#include "cpu/reference/reference_kernels.h"

namespace lockstep {

std::unique_ptr<Kernels> make_reference_kernels() { return std::make_unique<reference::ReferenceKernels>(); }

namespace reference {

void ReferenceKernels::relu_forward(Stream, ConstView x, View y) {
  dispatch("relu_forward", x.dtype, [&, n = x.numel()]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < n; ++i) out[i] = in[i] <= T{0} ? T{0} : in[i];  // NaN stays NaN
  });
}

void ReferenceKernels::relu_backward(Stream, ConstView dy, ConstView y, View dx, GradMode mode) {
  dispatch("relu_backward", dy.dtype, [&, n = dy.numel()]<class T>() {
    const T *gradient = dy.data<T>(), *value = y.data<T>();
    T* out = dx.data<T>();
    for (std::int64_t i = 0; i < n; ++i) put(out[i], value[i] > T{0} ? static_cast<double>(gradient[i]) : 0.0, mode);
  });
}

void ReferenceKernels::add(Stream, ConstView a, ConstView b, View y) {
  dispatch("add", a.dtype, [&, n = a.numel()]<class T>() {
    const T *left = a.data<T>(), *right = b.data<T>();
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < n; ++i) out[i] = left[i] + right[i];
  });
}

void ReferenceKernels::accumulate(Stream, ConstView src, View dst, GradMode mode) {
  dispatch("accumulate", src.dtype, [&, n = src.numel()]<class T>() {
    const T* in = src.data<T>();
    T* out = dst.data<T>();
    for (std::int64_t i = 0; i < n; ++i) put(out[i], static_cast<double>(in[i]), mode);
  });
}

namespace {

// NaN stays NaN. Limits are rounded to the storage type, so that a result can be told from what lies beyond a limit.
template <class T>
T activated(const Activation& f, T x) {
  const T a = static_cast<T>(f.a), b = static_cast<T>(f.b);
  switch (f.kind) {
    case Activation::Kind::kLeakyRelu: return x > T{0} || std::isnan(x) ? x : static_cast<T>(static_cast<double>(x) * f.a);
    case Activation::Kind::kTanh: return static_cast<T>(std::tanh(static_cast<double>(x)));
    case Activation::Kind::kSigmoid: return static_cast<T>(1.0 / (1.0 + std::exp(-static_cast<double>(x))));
    case Activation::Kind::kThreshold: return x <= a ? b : x;
    case Activation::Kind::kClamp: return x <= a ? a : x >= b ? b : x;
  }
  return x;
}

// dy/dx from what backward keeps: x or y.
template <class T>
double slope(const Activation& f, T kept) {
  const auto y = static_cast<double>(kept);
  const T a = static_cast<T>(f.a), b = static_cast<T>(f.b);
  switch (f.kind) {
    case Activation::Kind::kLeakyRelu: return kept > T{0} ? 1.0 : f.a;
    case Activation::Kind::kTanh: return 1.0 - y * y;
    case Activation::Kind::kSigmoid: return y * (1.0 - y);
    case Activation::Kind::kThreshold: return kept <= a ? 0.0 : 1.0;
    case Activation::Kind::kClamp: return kept <= a || kept >= b ? 0.0 : 1.0;
  }
  return 0;
}

}  // namespace

void ReferenceKernels::activation_forward(Stream, ConstView x, const Activation& function, View y) {
  dispatch("activation_forward", x.dtype, [&, n = x.numel()]<class T>() {
    for (std::int64_t i = 0; i < n; ++i) y.data<T>()[i] = activated(function, x.data<T>()[i]);
  });
}

void ReferenceKernels::activation_backward(Stream, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) {
  dispatch("activation_backward", dy.dtype, [&, n = dy.numel()]<class T>() {
    for (std::int64_t i = 0; i < n; ++i)
      put(dx.data<T>()[i], static_cast<double>(dy.data<T>()[i]) * slope(function, kept.data<T>()[i]), mode);
  });
}

namespace {

// Element i of any floating view, exactly.
double element(const ConstView& view, std::int64_t i) {
  switch (view.dtype) {
    case DType::kF64: return view.data<double>()[i];
    case DType::kF32: return static_cast<double>(view.data<float>()[i]);
    case DType::kBF16: return static_cast<double>(static_cast<float>(view.data<bf16>()[i]));
    case DType::kF16: return static_cast<double>(static_cast<float>(view.data<f16>()[i]));
    default: break;
  }
  throw EnvironmentError("cpu reference: convert: got " + std::string(dtype_name(view.dtype)) + ", want a floating dtype");
}

}  // namespace

void ReferenceKernels::convert(Stream, ConstView src, View dst) {
  for (std::int64_t i = 0, n = src.numel(); i < n; ++i) {
    const double value = element(src, i);
    switch (dst.dtype) {
      case DType::kF64: dst.data<double>()[i] = value; break;
      case DType::kF32: dst.data<float>()[i] = static_cast<float>(value); break;
      case DType::kBF16: dst.data<bf16>()[i] = bf16(static_cast<float>(value)); break;
      case DType::kF16: dst.data<f16>()[i] = f16(static_cast<float>(value)); break;
      default: throw EnvironmentError("cpu reference: convert: to " + std::string(dtype_name(dst.dtype)) + ", want a floating dtype");
    }
  }
}

void ReferenceKernels::dropout(Stream, ConstView x, double p, const RandomKey& key, View y, GradMode mode) {
  dispatch("dropout", x.dtype, [&, n = x.numel()]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    PhiloxBlock block{};
    for (std::int64_t i = 0; i < n; ++i) {
      if (i % 4 == 0) block = key.block(static_cast<std::uint32_t>(i / 4));
      const bool keep = static_cast<double>(uniform_from_bits(block[static_cast<std::size_t>(i % 4)])) >= p;
      put(out[i], keep ? static_cast<double>(in[i]) / (1.0 - p) : 0.0, mode);
    }
  });
}

void ReferenceKernels::scale(Stream, ConstView x, ConstView factor, View y, GradMode mode) {
  dispatch("scale", x.dtype, [&, n = x.numel()]<class T>() {
    const auto f = static_cast<double>(factor.data<T>()[0]);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < n; ++i) put(out[i], static_cast<double>(in[i]) * f, mode);
  });
}

void ReferenceKernels::copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin,
                                     std::int64_t count, GradMode mode) {
  const Image from(src.shape), to(dst.shape);
  dispatch("copy_channels", src.dtype, [&]<class T>() {
    const T* in = src.data<T>() + src_begin;
    T* out = dst.data<T>() + dst_begin;
    for (std::int64_t row = 0; row < from.rows(); ++row)
      for (std::int64_t c = 0; c < count; ++c) put(out[row * to.c + c], static_cast<double>(in[row * from.c + c]), mode);
  });
}

void ReferenceKernels::normalise_image(Stream, ConstView x, std::span<const float> mean,
                                       std::span<const float> inv_std, View y) {
  const Image image(x.shape);
  const std::uint8_t* in = x.data<std::uint8_t>();
  dispatch("normalise_image", y.dtype, [&]<class T>() {
    T* out = y.data<T>();
    for (std::int64_t i = 0; i < image.rows() * image.c; ++i) {
      const auto c = static_cast<std::size_t>(i % image.c);
      out[i] = static_cast<T>((in[i] / 255.0 - static_cast<double>(mean[c])) * static_cast<double>(inv_std[c]));
    }
  });
}

void ReferenceKernels::mix_images(Stream, ConstView x, ConstView mix, View y) {
  const Image image(x.shape);
  const std::int64_t size = image.h * image.w * image.c;
  const auto* rows = static_cast<const MixRow*>(mix.ptr);
  dispatch("mix_images", x.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < image.n * size; ++i) {
      const MixRow& row = rows[i / size];
      const T own = x.data<T>()[i], other = x.data<T>()[row.partner * size + i % size];
      const std::int64_t pixel = i % size / image.c, h = pixel / image.w, w = pixel % image.w;
      const bool inside = h >= row.top && h < row.top + row.height && w >= row.left && w < row.left + row.width;
      const auto weight = static_cast<double>(row.weight);
      if (row.height > 0 || weight == 1)
        y.data<T>()[i] = inside ? other : own;
      else
        y.data<T>()[i] = static_cast<T>(weight * static_cast<double>(own) + (1.0 - weight) * static_cast<double>(other));
    }
  });
}

}  // namespace reference
}  // namespace lockstep
