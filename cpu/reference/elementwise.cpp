// Elementwise kernels, channel copies, and bytes to images.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"
#include "cpu/reference/reference_kernels.h"

namespace lockstep {

std::unique_ptr<Kernels> make_reference_kernels() { return std::make_unique<reference::ReferenceKernels>(); }

namespace reference {

void ReferenceKernels::relu_forward(Stream, ConstView x, View y) {
  dispatch("relu_forward", x.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const T value = x.data<T>()[i];
      y.data<T>()[i] = value <= T{0} ? T{0} : value;  // NaN stays NaN
    }
  });
}

void ReferenceKernels::relu_backward(Stream, ConstView dy, ConstView y, View dx, GradMode mode) {
  dispatch("relu_backward", dy.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < dy.numel(); ++i)
      put(dx.data<T>()[i], y.data<T>()[i] > T{0} ? static_cast<double>(dy.data<T>()[i]) : 0.0, mode);
  });
}

void ReferenceKernels::add(Stream, ConstView a, ConstView b, View y) {
  dispatch("add", a.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < a.numel(); ++i) y.data<T>()[i] = a.data<T>()[i] + b.data<T>()[i];
  });
}

void ReferenceKernels::accumulate(Stream, ConstView src, View dst, GradMode mode) {
  dispatch("accumulate", src.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < src.numel(); ++i) put(dst.data<T>()[i], static_cast<double>(src.data<T>()[i]), mode);
  });
}

void ReferenceKernels::dropout(Stream, ConstView x, double p, const RandomKey& key, View y, GradMode mode) {
  dispatch("dropout", x.dtype, [&]<class T>() {
    PhiloxBlock block{};
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      if (i % 4 == 0) block = key.block(static_cast<std::uint32_t>(i / 4));
      const bool keep = static_cast<double>(uniform_from_bits(block[static_cast<std::size_t>(i % 4)])) >= p;
      put(y.data<T>()[i], keep ? static_cast<double>(x.data<T>()[i]) / (1.0 - p) : 0.0, mode);
    }
  });
}

void ReferenceKernels::scale(Stream, ConstView x, ConstView factor, View y, GradMode mode) {
  dispatch("scale", x.dtype, [&]<class T>() {
    const auto f = static_cast<double>(factor.data<T>()[0]);
    for (std::int64_t i = 0; i < x.numel(); ++i) put(y.data<T>()[i], static_cast<double>(x.data<T>()[i]) * f, mode);
  });
}

void ReferenceKernels::copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin,
                                     std::int64_t count, GradMode mode) {
  const Image from(src.shape), to(dst.shape);
  dispatch("copy_channels", src.dtype, [&]<class T>() {
    for (std::int64_t row = 0; row < from.rows(); ++row)
      for (std::int64_t c = 0; c < count; ++c)
        put(dst.data<T>()[row * to.c + dst_begin + c], static_cast<double>(src.data<T>()[row * from.c + src_begin + c]), mode);
  });
}

void ReferenceKernels::normalise_image(Stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) {
  const Image image(x.shape);
  const std::uint8_t* bytes = x.data<std::uint8_t>();
  dispatch("normalise_image", y.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const auto c = static_cast<std::size_t>(i % image.c);
      y.data<T>()[i] = static_cast<T>((bytes[i] / 255.0 - static_cast<double>(mean[c])) * static_cast<double>(inv_std[c]));
    }
  });
}

}  // namespace reference
}  // namespace lockstep
