// FastKernels: construction, the dtype rule, elementwise work and image normalisation.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <string>

#include "core/error.h"
#include "cpu/fast/channel_period.h"
#include "cpu/fast/fast_backend.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/fast/parallel.h"
#include "cpu/fast/simd_dispatch.h"
#include "cpu/reference/reference_kernels.h"

namespace lockstep {

std::unique_ptr<Kernels> make_fast_kernels(int threads) { return std::make_unique<FastKernels>(threads); }

FastKernels::FastKernels(int threads)
    : threads_(threads), simd_(select_simd_kernels()), reference_(make_reference_kernels()), dnnl_(threads) {
  LS_CHECK(threads >= 1, "fast kernels: " + std::to_string(threads) + " threads");
}

bool FastKernels::runs_here(std::string_view call, DType dtype) const {
  if (dtype == DType::kF32) return true;
  if (dtype == DType::kF64) return false;
  throw EnvironmentError("cpu fast: " + std::string(call) + " can't take " + std::string(dtype_name(dtype)) +
                         "; use f32, or f64 for checks");
}

void FastKernels::relu_forward(Stream stream, ConstView x, View y) {
  if (!runs_here("relu_forward", x.dtype)) return reference_->relu_forward(stream, x, y);
  const auto* in = x.data<float>();
  auto* out = y.data<float>();
  parallel_chunks(threads_, x.numel(), kChunk, [&](auto begin, auto end) { simd_.relu(in + begin, out + begin, end - begin); });
}

void FastKernels::relu_backward(Stream stream, ConstView dy, ConstView y, View dx, GradMode mode) {
  if (!runs_here("relu_backward", dy.dtype)) return reference_->relu_backward(stream, dy, y, dx, mode);
  const auto *g = dy.data<float>(), *out = y.data<float>();
  auto* to = dx.data<float>();
  parallel_chunks(threads_, dy.numel(), kChunk, [&](auto begin, auto end) {
    simd_.relu_backward(g + begin, out + begin, to + begin, end - begin, mode == GradMode::kAccumulate);
  });
}

void FastKernels::add(Stream stream, ConstView a, ConstView b, View y) {
  if (!runs_here("add", a.dtype)) return reference_->add(stream, a, b, y);
  const auto *left = a.data<float>(), *right = b.data<float>();
  auto* out = y.data<float>();
  parallel_chunks(threads_, a.numel(), kChunk,
                  [&](auto begin, auto end) { simd_.add(left + begin, right + begin, out + begin, end - begin); });
}

void FastKernels::accumulate(Stream stream, ConstView src, View dst, GradMode mode) {
  if (!runs_here("accumulate", src.dtype)) return reference_->accumulate(stream, src, dst, mode);
  const auto* from = src.data<float>();
  auto* to = dst.data<float>();
  parallel_chunks(threads_, src.numel(), kChunk, [&](auto begin, auto end) {
    simd_.copy_rows({.src = from + begin, .dst = to + begin, .rows = 1, .count = end - begin, .src_stride = 0,
                     .dst_stride = 0, .accumulate = mode == GradMode::kAccumulate});
  });
}

void FastKernels::scale(Stream stream, ConstView x, ConstView factor, View y, GradMode mode) {
  if (!runs_here("scale", x.dtype)) return reference_->scale(stream, x, factor, y, mode);
  const auto* in = x.data<float>();
  auto* out = y.data<float>();
  const float by = *factor.data<float>();
  parallel_chunks(threads_, x.numel(), kChunk, [&](auto begin, auto end) {
    simd_.scale(in + begin, by, out + begin, end - begin, mode == GradMode::kAccumulate);
  });
}

// The words of the counter and the key are RandomKey::block's; (word >> 8) * 2^-24 >= p is decided on integers.
void FastKernels::dropout(Stream stream, ConstView x, double p, const RandomKey& key, View y, GradMode mode) {
  if (!runs_here("dropout", x.dtype)) return reference_->dropout(stream, x, p, key, y, mode);
  const auto mixed = static_cast<std::uint32_t>(key.b >> 32) * 0x85EBCA6Bu + static_cast<std::uint32_t>(key.purpose) * 0xC2B2AE35u;
  simd::Dropout work{.x = x.data<float>(), .y = y.data<float>(), .begin = 0, .end = 0,
                     .counter = {key.a, static_cast<std::uint32_t>(key.b), mixed},
                     .key = {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)},
                     .threshold = static_cast<std::uint32_t>(std::ceil(p * 0x1p24)),
                     .scale = static_cast<float>(1.0 / (1.0 - p)), .accumulate = mode == GradMode::kAccumulate};
  parallel_chunks(threads_, x.numel(), kChunk, [&](auto begin, auto end) {
    simd::Dropout part = work;
    part.begin = begin;
    part.end = end;
    simd_.dropout(part);
  });
}

void FastKernels::copy_channels(Stream stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin,
                                std::int64_t count, GradMode mode) {
  if (!runs_here("copy_channels", src.dtype))
    return reference_->copy_channels(stream, src, src_begin, dst, dst_begin, count, mode);
  const std::int64_t from = src.shape[1], to = dst.shape[1], pixels = src.numel() / from;
  const auto* in = src.data<float>() + src_begin;
  auto* out = dst.data<float>() + dst_begin;
  parallel_chunks(threads_, pixels, std::max<std::int64_t>(1, kChunk / count), [&](auto begin, auto end) {
    simd_.copy_rows({.src = in + begin * from, .dst = out + begin * to, .rows = end - begin, .count = count,
                     .src_stride = from, .dst_stride = to, .accumulate = mode == GradMode::kAccumulate});
  });
}

// (x / 255 - mean) * inv_std as one multiplication and one addition.
void FastKernels::normalise_image(Stream stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) {
  if (!runs_here("normalise_image", y.dtype)) return reference_->normalise_image(stream, x, mean, inv_std, y);
  const std::int64_t channels = x.shape[1];
  const ChannelPeriod period(channels);
  ChannelTables tables(period, 2);
  tables.fill(0, [&](std::int64_t c) { return static_cast<float>(inv_std[static_cast<std::size_t>(c)] / 255.0); });
  tables.fill(1, [&](std::int64_t c) {
    const auto i = static_cast<std::size_t>(c);
    return static_cast<float>(-static_cast<double>(mean[i]) * inv_std[i]);
  });
  const auto* in = x.data<std::uint8_t>();
  auto* out = y.data<float>();
  parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
    simd_.normalise(in + begin, tables[0], tables[1], out + begin, end - begin, period.length);
  });
}

}  // namespace lockstep
