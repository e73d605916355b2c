// FastKernels: pooling. Threads split the rows of all images.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/fast/fast_backend.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

simd::Pool pool_of(const Shape& x, const Shape& y, const Pool2dParams& params) {
  return {.h = x[2], .w = x[3], .c = x[1], .p = y[2], .q = y[3], .kernel_h = params.kernel.h, .kernel_w = params.kernel.w,
          .stride_h = params.stride.h, .stride_w = params.stride.w, .pad_h = params.pad.h, .pad_w = params.pad.w,
          .count_include_pad = params.count_include_pad};
}

std::int64_t rows_per_chunk(const Shape& image) { return std::max<std::int64_t>(1, kChunk / (image[1] * image[3])); }

}  // namespace

void FastKernels::max_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y, View indices) {
  if (!runs_here("max_pool_forward", x.dtype)) return reference_->max_pool_forward(stream, x, params, y, indices);
  const simd::Pool pool = pool_of(x.shape, y.shape, params);
  std::uint8_t* positions = indices ? indices.data<std::uint8_t>() : nullptr;
  with_storage(x.dtype, [&]<class T>() {
    parallel_chunks(threads_, y.shape[0] * y.shape[2], rows_per_chunk(y.shape), [&](auto begin, auto end) {
      simd_.typed<T>().max_pool(pool, elements<T>(x), elements<T>(y), positions, begin, end);
    });
  });
}

void FastKernels::max_pool_backward(Stream stream, ConstView dy, ConstView indices, const Pool2dParams& params, View dx, GradMode mode) {
  if (!runs_here("max_pool_backward", dy.dtype)) return reference_->max_pool_backward(stream, dy, indices, params, dx, mode);
  const simd::Pool pool = pool_of(dx.shape, dy.shape, params);
  const auto* positions = indices.data<std::uint8_t>();
  with_storage(dy.dtype, [&]<class T>() {
    parallel_chunks(threads_, dx.shape[0] * dx.shape[2], rows_per_chunk(dx.shape), [&](auto begin, auto end) {
      simd_.typed<T>().max_pool_backward(pool, elements<T>(dy), positions, elements<T>(dx), begin, end,
                                         mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::avg_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y) {
  if (!runs_here("avg_pool_forward", x.dtype)) return reference_->avg_pool_forward(stream, x, params, y);
  const simd::Pool pool = pool_of(x.shape, y.shape, params);
  with_storage(x.dtype, [&]<class T>() {
    parallel_chunks(threads_, y.shape[0] * y.shape[2], rows_per_chunk(y.shape), [&](auto begin, auto end) {
      simd_.typed<T>().avg_pool(pool, elements<T>(x), elements<T>(y), begin, end);
    });
  });
}

void FastKernels::avg_pool_backward(Stream stream, ConstView dy, const Pool2dParams& params, View dx, GradMode mode) {
  if (!runs_here("avg_pool_backward", dy.dtype)) return reference_->avg_pool_backward(stream, dy, params, dx, mode);
  const simd::Pool pool = pool_of(dx.shape, dy.shape, params);
  with_storage(dy.dtype, [&]<class T>() {
    parallel_chunks(threads_, dx.shape[0] * dx.shape[2], rows_per_chunk(dx.shape), [&](auto begin, auto end) {
      simd_.typed<T>().avg_pool_backward(pool, elements<T>(dy), elements<T>(dx), begin, end, mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::adaptive_avg_pool_forward(Stream stream, ConstView x, View y) {
  if (!runs_here("adaptive_avg_pool_forward", x.dtype)) return reference_->adaptive_avg_pool_forward(stream, x, y);
  const simd::Pool pool = pool_of(x.shape, y.shape, {});
  with_storage(x.dtype, [&]<class T>() {
    parallel_chunks(threads_, y.shape[0] * y.shape[2], rows_per_chunk(y.shape), [&](auto begin, auto end) {
      simd_.typed<T>().adaptive_pool(pool, elements<T>(x), elements<T>(y), begin, end);
    });
  });
}

void FastKernels::adaptive_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode) {
  if (!runs_here("adaptive_avg_pool_backward", dy.dtype)) return reference_->adaptive_avg_pool_backward(stream, dy, dx, mode);
  const simd::Pool pool = pool_of(dx.shape, dy.shape, {});
  with_storage(dy.dtype, [&]<class T>() {
    parallel_chunks(threads_, dx.shape[0] * dx.shape[2], rows_per_chunk(dx.shape), [&](auto begin, auto end) {
      simd_.typed<T>().adaptive_pool_backward(pool, elements<T>(dy), elements<T>(dx), begin, end, mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::global_avg_pool_forward(Stream stream, ConstView x, View y) {
  if (!runs_here("global_avg_pool_forward", x.dtype)) return reference_->global_avg_pool_forward(stream, x, y);
  const std::int64_t images = x.shape[0], channels = x.shape[1], pixels = x.shape[2] * x.shape[3], padded = (channels + 31) / 32 * 32;
  Tensor sums = Tensor::empty({images, channels}, DType::kF64), scratch = Tensor::empty({images, padded}, DType::kF32);
  with_storage(x.dtype, [&]<class T>() {
    parallel_for(threads_, images, [&](std::int64_t i) {
      double* sum = static_cast<double*>(sums.ptr()) + i * channels;
      float* means = static_cast<float*>(scratch.ptr()) + i * padded;
      simd_.typed<T>().column_sums(elements<T>(x) + i * pixels * channels, pixels, channels, sum, means);
      for (std::int64_t c = 0; c < channels; ++c) means[c] = static_cast<float>(sum[c] / static_cast<double>(pixels));
      T* to = elements<T>(y) + i * channels;
      if constexpr (sizeof(T) == 2) {
        simd_.narrow(means, to, channels);
      } else {
        std::copy_n(means, channels, to);
      }
    });
  });
}

void FastKernels::global_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode) {
  if (!runs_here("global_avg_pool_backward", dy.dtype)) return reference_->global_avg_pool_backward(stream, dy, dx, mode);
  const std::int64_t channels = dx.shape[1], pixels = dx.shape[2] * dx.shape[3];
  const float factor = 1.0f / static_cast<float>(pixels);
  with_storage(dy.dtype, [&]<class T>() {
    parallel_for(threads_, dx.shape[0], [&](std::int64_t i) {
      simd_.typed<T>().spread_row(elements<T>(dy) + i * channels, factor, elements<T>(dx) + i * pixels * channels, pixels,
                                  channels, mode == GradMode::kAccumulate);
    });
  });
}

}  // namespace lockstep
