// FastKernels: construction, the dtype rule, elementwise work and image normalisation.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "cpu/fast/channel_period.h"
#include "cpu/fast/bf16_copy.h"
#include "cpu/fast/fast_backend.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/fast/parallel.h"
#include "cpu/fast/simd_dispatch.h"
#include "cpu/reference/reference_kernels.h"

namespace lockstep {

std::unique_ptr<Kernels> make_fast_kernels(const FastOptions& options) { return std::make_unique<FastKernels>(options); }
std::unique_ptr<Kernels> make_fast_kernels(int threads) { return make_fast_kernels(FastOptions{.threads = threads}); }

FastKernels::FastKernels(const FastOptions& options)
    : options_(options), threads_(options.threads), simd_(select_simd_kernels()), reference_(make_reference_kernels()),
      dnnl_(threads_) {
  LS_CHECK(threads_ >= 1, "fast kernels: " + std::to_string(threads_) + " threads");
}

namespace {

[[noreturn]] void cannot_take(std::string_view call, DType dtype, std::string_view instead) {
  throw EnvironmentError("cpu fast: " + std::string(call) + " can't take " + std::string(dtype_name(dtype)) + "; use " +
                         std::string(instead) + ", or f64 for checks");
}

}  // namespace

bool FastKernels::runs_here(std::string_view call, DType dtype) const {
  if (dtype == DType::kF32 || dtype == DType::kBF16) return true;
  if (dtype == DType::kF64) return false;
  cannot_take(call, dtype, "f32 or bf16");
}

bool FastKernels::statistic_runs_here(std::string_view call, DType dtype) const {
  if (dtype == DType::kF32) return true;
  if (dtype == DType::kF64) return false;
  cannot_take(call, dtype, "f32");
}

void FastKernels::relu_forward(Stream stream, ConstView x, View y) {
  if (!runs_here("relu_forward", x.dtype)) return reference_->relu_forward(stream, x, y);
  with_storage(x.dtype, [&]<class T>() {
    const T* in = elements<T>(x);
    T* out = elements<T>(y);
    parallel_chunks(threads_, x.numel(), kChunk,
                    [&](auto begin, auto end) { simd_.typed<T>().relu(in + begin, out + begin, end - begin); });
  });
}

void FastKernels::relu_backward(Stream stream, ConstView dy, ConstView y, View dx, GradMode mode) {
  if (!runs_here("relu_backward", dy.dtype)) return reference_->relu_backward(stream, dy, y, dx, mode);
  with_storage(dy.dtype, [&]<class T>() {
    const T *g = elements<T>(dy), *out = elements<T>(y);
    T* to = elements<T>(dx);
    parallel_chunks(threads_, dy.numel(), kChunk, [&](auto begin, auto end) {
      simd_.typed<T>().relu_backward(g + begin, out + begin, to + begin, end - begin, mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::add(Stream stream, ConstView a, ConstView b, View y) {
  if (!runs_here("add", a.dtype)) return reference_->add(stream, a, b, y);
  with_storage(a.dtype, [&]<class T>() {
    const T *left = elements<T>(a), *right = elements<T>(b);
    T* out = elements<T>(y);
    parallel_chunks(threads_, a.numel(), kChunk, [&](auto begin, auto end) {
      simd_.typed<T>().add(left + begin, right + begin, out + begin, end - begin);
    });
  });
}

void FastKernels::accumulate(Stream stream, ConstView src, View dst, GradMode mode) {
  if (!runs_here("accumulate", src.dtype)) return reference_->accumulate(stream, src, dst, mode);
  with_storage(src.dtype, [&]<class T>() {
    const T* from = elements<T>(src);
    T* to = elements<T>(dst);
    parallel_chunks(threads_, src.numel(), kChunk, [&](auto begin, auto end) {
      simd_.typed<T>().copy_rows({.src = from + begin, .dst = to + begin, .rows = 1, .count = end - begin, .src_stride = 0,
                                  .dst_stride = 0, .accumulate = mode == GradMode::kAccumulate});
    });
  });
}

void FastKernels::convert(Stream stream, ConstView src, View dst) {
  const bool narrow = src.dtype == DType::kF32 && dst.dtype == DType::kBF16;
  const bool widen = src.dtype == DType::kBF16 && dst.dtype == DType::kF32;
  if (!narrow && !widen) return reference_->convert(stream, src, dst);
  if (narrow) return round_to_bf16(simd_, threads_, src.data<float>(), dst.data<bf16>(), src.numel());
  widen_bf16(simd_, threads_, src.data<bf16>(), dst.data<float>(), src.numel());
}

void FastKernels::scale(Stream stream, ConstView x, ConstView factor, View y, GradMode mode) {
  if (!runs_here("scale", x.dtype)) return reference_->scale(stream, x, factor, y, mode);
  const float by = *factor.data<float>();
  with_storage(x.dtype, [&]<class T>() {
    const T* in = elements<T>(x);
    T* out = elements<T>(y);
    parallel_chunks(threads_, x.numel(), kChunk, [&](auto begin, auto end) {
      simd_.typed<T>().scale(in + begin, by, out + begin, end - begin, mode == GradMode::kAccumulate);
    });
  });
}

// The words of the counter and the key are RandomKey::block's; (word >> 8) * 2^-24 >= p is decided on integers.
void FastKernels::dropout(Stream stream, ConstView x, double p, const RandomKey& key, View y, GradMode mode) {
  if (!runs_here("dropout", x.dtype)) return reference_->dropout(stream, x, p, key, y, mode);
  const auto mixed = static_cast<std::uint32_t>(key.b >> 32) * 0x85EBCA6Bu + static_cast<std::uint32_t>(key.purpose) * 0xC2B2AE35u;
  with_storage(x.dtype, [&]<class T>() {
    const simd::Dropout<T> work{.x = elements<T>(x), .y = elements<T>(y), .begin = 0, .end = 0,
                                .counter = {key.a, static_cast<std::uint32_t>(key.b), mixed},
                                .key = {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)},
                                .threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24)),
                                .scale = static_cast<float>(1.0 / (1.0 - p)), .accumulate = mode == GradMode::kAccumulate};
    parallel_chunks(threads_, x.numel(), kChunk, [&](auto begin, auto end) {
      simd::Dropout<T> part = work;
      part.begin = begin;
      part.end = end;
      simd_.typed<T>().dropout(part);
    });
  });
}

namespace {

// Limits in the elements' dtype: a result can then be told from what lies beyond a limit.
simd::Activation activation_of(const Activation& f, DType dtype) {
  const auto setting = [&](double value) {
    const auto narrow = static_cast<float>(value);
    return dtype == DType::kBF16 && f.kind != Activation::Kind::kLeakyRelu ? static_cast<float>(bf16(narrow)) : narrow;
  };
  return {.kind = static_cast<simd::Activation::Kind>(f.kind), .a = setting(f.a), .b = setting(f.b)};
}

}  // namespace

void FastKernels::activation_forward(Stream stream, ConstView x, const Activation& function, View y) {
  if (!runs_here("activation_forward", x.dtype)) return reference_->activation_forward(stream, x, function, y);
  const simd::Activation work = activation_of(function, x.dtype);
  with_storage(x.dtype, [&]<class T>() {
    const T* in = elements<T>(x);
    T* out = elements<T>(y);
    parallel_chunks(threads_, x.numel(), kChunk,
                    [&](auto begin, auto end) { simd_.typed<T>().activate(work, in + begin, out + begin, end - begin); });
  });
}

void FastKernels::activation_backward(Stream stream, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) {
  if (!runs_here("activation_backward", dy.dtype)) return reference_->activation_backward(stream, dy, kept, function, dx, mode);
  const simd::Activation work = activation_of(function, dy.dtype);
  with_storage(dy.dtype, [&]<class T>() {
    const T *g = elements<T>(dy), *value = elements<T>(kept);
    T* to = elements<T>(dx);
    parallel_chunks(threads_, dy.numel(), kChunk, [&](auto begin, auto end) {
      simd_.typed<T>().activate_backward(work, g + begin, value + begin, to + begin, end - begin, mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::copy_channels(Stream stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin,
                                std::int64_t count, GradMode mode) {
  if (!runs_here("copy_channels", src.dtype))
    return reference_->copy_channels(stream, src, src_begin, dst, dst_begin, count, mode);
  const std::int64_t from = src.shape[1], to = dst.shape[1], pixels = src.numel() / from;
  with_storage(src.dtype, [&]<class T>() {
    const T* in = elements<T>(src) + src_begin;
    T* out = elements<T>(dst) + dst_begin;
    parallel_chunks(threads_, pixels, std::max<std::int64_t>(1, kChunk / count), [&](auto begin, auto end) {
      simd_.typed<T>().copy_rows({.src = in + begin * from, .dst = out + begin * to, .rows = end - begin, .count = count,
                                  .src_stride = from, .dst_stride = to, .accumulate = mode == GradMode::kAccumulate});
    });
  });
}

// (x / 255 - mean) * inv_std as one multiplication and one addition. The tables' order is the elements' for every dtype.
void FastKernels::normalise_image(Stream stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) {
  if (!runs_here("normalise_image", y.dtype)) return reference_->normalise_image(stream, x, mean, inv_std, y);
  const auto period = ChannelPeriod::of<float>(x.shape[1]);
  ChannelTables memory(period, 2);
  const float* scale = memory.fill<float>(0, simd_.lanes, [&](std::int64_t c) {
    return static_cast<float>(inv_std[static_cast<std::size_t>(c)] / 255.0);
  });
  const float* shift = memory.fill<float>(1, simd_.lanes, [&](std::int64_t c) {
    const auto i = static_cast<std::size_t>(c);
    return static_cast<float>(-static_cast<double>(mean[i]) * inv_std[i]);
  });
  const auto* in = x.data<std::uint8_t>();
  with_storage(y.dtype, [&]<class T>() {
    T* out = elements<T>(y);
    parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
      simd_.typed<T>().normalise(in + begin, scale, shift, out + begin, end - begin, period.length);
    });
  });
}

void FastKernels::mix_images(Stream stream, ConstView x, ConstView mix, View y) {
  if (!runs_here("mix_images", x.dtype)) return reference_->mix_images(stream, x, mix, y);
  const std::int64_t images = x.shape[0], pixel = x.shape[1], line = x.shape[3] * pixel, size = x.shape[2] * line;
  const auto* rows = static_cast<const MixRow*>(mix.ptr);
  with_storage(x.dtype, [&]<class T>() {
    const T* in = elements<T>(x);
    T* out = elements<T>(y);
    parallel_for(threads_, images, [&](std::int64_t i) {
      const MixRow& row = rows[i];
      const T *own = in + i * size, *other = in + row.partner * size;
      T* to = out + i * size;
      if (row.height == 0 && row.weight < 1) return simd_.typed<T>().mix(own, other, row.weight, to, size);
      std::copy_n(own, size, to);
      for (std::int64_t h = row.top; h < row.top + row.height; ++h) {
        const std::int64_t begin = h * line + row.left * pixel;
        std::copy_n(other + begin, row.width * pixel, to + begin);
      }
    });
  });
}

}  // namespace lockstep
