// FastKernels: local response norm, shuffled and shifted channels. Threads split the pixels or the rows of all images.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/fast/fast_backend.h"
#include "cpu/fast/parallel.h"
#include "ops/shift_channels.h"

namespace lockstep {
namespace {

// Each thread has a stretch of pixels and lines of scratch of its own; a pixel's bits don't depend on who has it.
template <class Body>
void with_lines(int threads, std::int64_t pixels, std::int64_t floats, const Body& body) {
  const std::int64_t parts = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(1, pixels)), each = (pixels + parts - 1) / parts;
  Tensor scratch = Tensor::empty({parts, floats}, DType::kF32);
  parallel_for(threads, parts, [&](std::int64_t i) {
    const std::int64_t begin = std::min(pixels, i * each), end = std::min(pixels, begin + each);
    body(static_cast<float*>(scratch.ptr()) + i * floats, begin, end);
  });
}

// Windows reach over all channels at most, whatever the size: the rest doesn't exist.
simd::ResponseNorm norm_of(const ResponseNorm& params, std::int64_t channels) {
  const std::int64_t before = std::min<std::int64_t>(params.size / 2, channels), after = std::min<std::int64_t>((params.size - 1) / 2, channels);
  return {.channels = channels, .before = before, .after = after, .line = before + (channels + 15) / 16 * 16 + after,
          .k = static_cast<float>(params.k), .alpha = static_cast<float>(params.alpha / params.size), .beta = static_cast<float>(params.beta)};
}

// Pixels [begin, end) of `image`'s row that a group reads from inside of it.
struct Inside {
  std::int64_t begin, end;
};
Inside inside(std::int64_t extent, std::int64_t offset) {
  return {std::clamp<std::int64_t>(-offset, 0, extent), std::clamp<std::int64_t>(extent - offset, 0, extent)};
}

// One group of channels of one row of dst.
template <class T>
void shift_row(const simd::TypedKernels<T>& kernels, const Shape& image, const ShiftGroup& group, const T* src, T* dst, std::int64_t row,
               bool accumulate) {
  const std::int64_t channels = image[1], height = image[2], width = image[3], h = row % height + group.down;
  Inside columns = inside(width, group.right);
  if (h < 0 || h >= height || columns.begin >= columns.end) columns = {width, width};
  T* to = dst + row * width * channels + group.begin;
  const auto copy = [&](const T* from, std::int64_t stride, Inside range, bool add) {
    kernels.copy_rows({.src = from, .dst = to + range.begin * channels, .rows = range.end - range.begin, .count = group.count,
                       .src_stride = stride, .dst_stride = channels, .accumulate = add});
  };
  const auto clear = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t w = begin; w < end && !accumulate; ++w) std::fill_n(to + w * channels, group.count, T{});
  };
  clear(0, columns.begin);
  if (columns.begin < columns.end) {
    const std::int64_t from = ((row / height * height + h) * width + columns.begin + group.right) * channels + group.begin;
    copy(src + from, channels, columns, accumulate);
  }
  clear(columns.end, width);
}

}  // namespace

void FastKernels::response_norm_forward(Stream stream, ConstView x, const ResponseNorm& params, View y) {
  if (!runs_here("response_norm_forward", x.dtype)) return reference_->response_norm_forward(stream, x, params, y);
  const std::int64_t channels = x.shape[1];
  const simd::ResponseNorm norm = norm_of(params, channels);
  with_storage(x.dtype, [&]<class T>() {
    with_lines(threads_, x.numel() / channels, norm.line, [&](float* scratch, std::int64_t begin, std::int64_t end) {
      simd_.typed<T>().response_norm(norm, elements<T>(x), elements<T>(y), scratch, begin, end);
    });
  });
}

void FastKernels::response_norm_backward(Stream stream, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode) {
  if (!runs_here("response_norm_backward", dy.dtype)) return reference_->response_norm_backward(stream, dy, x, params, dx, mode);
  const std::int64_t channels = x.shape[1];
  const simd::ResponseNorm norm = norm_of(params, channels);
  with_storage(dy.dtype, [&]<class T>() {
    with_lines(threads_, x.numel() / channels, 3 * norm.line, [&](float* scratch, std::int64_t begin, std::int64_t end) {
      simd_.typed<T>().response_norm_backward(norm, elements<T>(dy), elements<T>(x), elements<T>(dx), scratch, begin, end,
                                              mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::shuffle_channels(Stream stream, ConstView src, int groups, View dst, GradMode mode) {
  if (!runs_here("shuffle_channels", src.dtype)) return reference_->shuffle_channels(stream, src, groups, dst, mode);
  const std::int64_t channels = src.shape[1];
  with_storage(src.dtype, [&]<class T>() {
    parallel_chunks(threads_, src.numel() / channels, std::max<std::int64_t>(1, kChunk / channels), [&](auto begin, auto end) {
      simd_.typed<T>().shuffle(elements<T>(src) + begin * channels, elements<T>(dst) + begin * channels, end - begin, groups,
                               channels / groups, mode == GradMode::kAccumulate);
    });
  });
}

void FastKernels::shift_channels(Stream stream, ConstView src, const ChannelShift& shift, View dst, GradMode mode) {
  if (!runs_here("shift_channels", src.dtype)) return reference_->shift_channels(stream, src, shift, dst, mode);
  const Shape& image = src.shape;
  const std::int64_t groups = std::int64_t{shift.kernel} * shift.kernel;
  with_storage(src.dtype, [&]<class T>() {
    parallel_chunks(threads_, image[0] * image[2], std::max<std::int64_t>(1, kChunk / (image[1] * image[3])), [&](auto begin, auto end) {
      for (std::int64_t row = begin; row < end; ++row)
        for (std::int64_t i = 0; i < groups; ++i)
          shift_row(simd_.typed<T>(), image, shift_group(shift, image[1], i), elements<T>(src), elements<T>(dst), row,
                    mode == GradMode::kAccumulate);
    });
  });
}

}  // namespace lockstep
