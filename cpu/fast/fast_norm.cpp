// FastKernels: batch norm and per-channel sums. Long reductions are cut into segments by size alone; the segments' double
// results are joined in order, so the bits do not depend on the number of threads.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "cpu/fast/channel_period.h"
#include "cpu/fast/fast_backend.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

constexpr std::int64_t kSegmentElements = std::int64_t{1} << 20;
constexpr std::int64_t kMaxSegments = 16;

// Whole periods, cut into equal segments, and the pixels that are left over.
struct Segments {
  Segments(const ChannelPeriod& period, std::int64_t n) : rows(n / period.length) {
    const std::int64_t wanted = std::clamp<std::int64_t>(n / kSegmentElements, 1, kMaxSegments);
    rows_each = (rows + wanted - 1) / wanted;
    count = rows == 0 ? 0 : (rows + rows_each - 1) / rows_each;
    rest = n - rows * period.length;
  }
  std::int64_t first_row(std::int64_t segment) const { return segment * rows_each; }
  std::int64_t rows_of(std::int64_t segment) const { return std::min(rows_each, rows - first_row(segment)); }

  std::int64_t rows, rows_each, count, rest;
};

// Scratch for one result of a period's width per segment, and one more of a pixel's width for the rest.
class SegmentResults {
 public:
  SegmentResults(const ChannelPeriod& period, const Segments& segments, int results, int float_rows)
      : doubles_(results * period.length), floats_(float_rows * period.length),
        results_(Tensor::empty({segments.count + 1, doubles_}, DType::kF64)),
        scratch_(Tensor::empty({segments.count + 1, floats_}, DType::kF32)) {}
  double* result(std::int64_t segment) { return static_cast<double*>(results_.ptr()) + segment * doubles_; }
  float* scratch(std::int64_t segment) { return static_cast<float*>(scratch_.ptr()) + segment * floats_; }

 private:
  std::int64_t doubles_, floats_;
  Tensor results_, scratch_;
};

struct Moments {
  double count = 0, mean = 0, m2 = 0;
  // Chan, Golub, LeVeque (1979), eq. 2.1.
  void merge(double other_count, double other_mean, double other_m2) {
    const double total = count + other_count, delta = other_mean - mean;
    m2 += other_m2 + delta * delta * count * other_count / total;
    mean += delta * other_count / total;
    count = total;
  }
};

// The sum over segments and the copies of channel c inside a period, in order.
double folded(SegmentResults& parts, const ChannelPeriod& period, std::int64_t segments, std::int64_t offset, std::int64_t c) {
  double total = 0;
  for (std::int64_t s = 0; s < segments; ++s)
    for (std::int64_t j = c; j < period.length; j += period.channels) total += parts.result(s)[offset + j];
  return total;
}

}  // namespace

void FastKernels::batch_norm_moments(Stream stream, ConstView x, View mean, View m2) {
  if (!runs_here("batch_norm_moments", x.dtype)) return reference_->batch_norm_moments(stream, x, mean, m2);
  const auto* in = x.data<float>();
  const ChannelPeriod period(x.shape[1]);
  const Segments segments(period, x.numel());
  SegmentResults parts(period, segments, 2, 3);
  parallel_for(threads_, segments.count, [&](std::int64_t s) {
    simd_.column_moments(in + segments.first_row(s) * period.length, segments.rows_of(s), period.length, parts.result(s),
                         parts.result(s) + period.length, parts.scratch(s));
  });
  const std::int64_t rest_pixels = segments.rest / period.channels;
  double* rest = parts.result(segments.count);
  if (rest_pixels > 0)
    simd_.column_moments(in + segments.rows * period.length, rest_pixels, period.channels, rest, rest + period.length,
                         parts.scratch(segments.count));
  for (std::int64_t c = 0; c < period.channels; ++c) {
    Moments all;
    for (std::int64_t s = 0; s < segments.count; ++s)
      for (std::int64_t j = c; j < period.length; j += period.channels)
        all.merge(static_cast<double>(segments.rows_of(s)), parts.result(s)[j], parts.result(s)[period.length + j]);
    if (rest_pixels > 0) all.merge(static_cast<double>(rest_pixels), rest[c], rest[period.length + c]);
    mean.data<float>()[c] = static_cast<float>(all.mean);
    m2.data<float>()[c] = static_cast<float>(all.m2);
  }
}

void FastKernels::batch_norm_inv_std(Stream stream, ConstView m2, double count, double eps, View inv_std, View unbiased) {
  if (!runs_here("batch_norm_inv_std", m2.dtype)) return reference_->batch_norm_inv_std(stream, m2, count, eps, inv_std, unbiased);
  for (std::int64_t c = 0; c < m2.numel(); ++c) {
    const double sum = m2.data<float>()[c];
    inv_std.data<float>()[c] = static_cast<float>(1.0 / std::sqrt(sum / count + eps));
    if (unbiased) unbiased.data<float>()[c] = static_cast<float>(sum / (count - 1.0));
  }
}

void FastKernels::batch_norm_apply(Stream stream, ConstView x, ConstView mean, ConstView inv_std, ConstView gamma,
                                   ConstView beta, ConstView residual, bool relu, View y, View mask) {
  if (!runs_here("batch_norm_apply", x.dtype))
    return reference_->batch_norm_apply(stream, x, mean, inv_std, gamma, beta, residual, relu, y, mask);
  const ChannelPeriod period(x.shape[1]);
  ChannelTables tables(period, 3);
  const auto *center = mean.data<float>(), *inverse = inv_std.data<float>(), *scale = gamma.data<float>(), *shift = beta.data<float>();
  tables.fill(0, [&](std::int64_t c) { return center[c]; });
  tables.fill(1, [&](std::int64_t c) { return inverse[c] * scale[c]; });
  tables.fill(2, [&](std::int64_t c) { return shift[c]; });
  const float *in = x.data<float>(), *added = residual ? residual.data<float>() : nullptr;
  auto* out = y.data<float>();
  std::uint8_t* bits = relu && mask ? mask.data<std::uint8_t>() : nullptr;
  parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
    simd_.norm_apply({.x = in + begin, .mean = tables[0], .scale = tables[1], .beta = tables[2],
                      .residual = added == nullptr ? nullptr : added + begin, .y = out + begin,
                      .mask = bits == nullptr ? nullptr : bits + begin / 8, .n = end - begin, .period = period.length,
                      .relu = relu});
  });
}

void FastKernels::batch_norm_backward_sums(Stream stream, ConstView dy, ConstView mask, ConstView x, ConstView mean,
                                           ConstView inv_std, View sum_g, View sum_g_xhat) {
  if (!runs_here("batch_norm_backward_sums", x.dtype))
    return reference_->batch_norm_backward_sums(stream, dy, mask, x, mean, inv_std, sum_g, sum_g_xhat);
  const ChannelPeriod period(x.shape[1]);
  const Segments segments(period, x.numel());
  ChannelTables tables(period, 1);
  const auto *center = mean.data<float>(), *inverse = inv_std.data<float>(), *g = dy.data<float>(), *in = x.data<float>();
  tables.fill(0, [&](std::int64_t c) { return center[c]; });
  const std::uint8_t* bits = mask ? mask.data<std::uint8_t>() : nullptr;
  SegmentResults parts(period, segments, 2, 2);
  const std::int64_t count = std::max<std::int64_t>(1, segments.count);  // fewer pixels than a period: one short segment
  parallel_for(threads_, count, [&](std::int64_t s) {
    const std::int64_t begin = segments.first_row(s) * period.length;
    const std::int64_t end = s + 1 == count ? x.numel() : begin + segments.rows_of(s) * period.length;
    simd_.norm_sums({.dy = g + begin, .mask = bits == nullptr ? nullptr : bits + begin / 8, .x = in + begin,
                     .mean = tables[0], .n = end - begin, .period = period.length, .sum_g = parts.result(s),
                     .sum_gd = parts.result(s) + period.length, .scratch = parts.scratch(s)});
  });
  for (std::int64_t c = 0; c < period.channels; ++c) {
    sum_g.data<float>()[c] = static_cast<float>(folded(parts, period, count, 0, c));
    sum_g_xhat.data<float>()[c] = static_cast<float>(folded(parts, period, count, period.length, c) * inverse[c]);
  }
}

// dx = a g - b - (x - mean) c with a = gamma inv_std, b = a sum_g / count, c = a inv_std sum_g_xhat / count.
void FastKernels::batch_norm_backward_apply(Stream stream, ConstView dy, ConstView mask, ConstView x, ConstView mean,
                                            ConstView inv_std, ConstView gamma, ConstView sum_g, ConstView sum_g_xhat,
                                            double count, View dx, GradMode dx_mode, View dresidual, GradMode dresidual_mode) {
  if (!runs_here("batch_norm_backward_apply", x.dtype))
    return reference_->batch_norm_backward_apply(stream, dy, mask, x, mean, inv_std, gamma, sum_g, sum_g_xhat, count, dx,
                                                 dx_mode, dresidual, dresidual_mode);
  const ChannelPeriod period(x.shape[1]);
  ChannelTables tables(period, 4);
  const auto *center = mean.data<float>(), *inverse = inv_std.data<float>(), *scale = gamma.data<float>();
  const auto *first = sum_g.data<float>(), *second = sum_g_xhat.data<float>();
  tables.fill(0, [&](std::int64_t c) { return center[c]; });
  tables.fill(1, [&](std::int64_t c) { return scale[c] * inverse[c]; });
  tables.fill(2, [&](std::int64_t c) { return static_cast<float>(double{scale[c]} * inverse[c] * first[c] / count); });
  tables.fill(3, [&](std::int64_t c) { return static_cast<float>(double{scale[c]} * inverse[c] * inverse[c] * second[c] / count); });
  const auto *g = dy.data<float>(), *in = x.data<float>();
  const std::uint8_t* bits = mask ? mask.data<std::uint8_t>() : nullptr;
  float *to = dx.data<float>(), *to_residual = dresidual ? dresidual.data<float>() : nullptr;
  parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
    simd_.norm_backward({.dy = g + begin, .mask = bits == nullptr ? nullptr : bits + begin / 8, .x = in + begin,
                         .mean = tables[0], .a = tables[1], .b = tables[2], .c = tables[3], .dx = to + begin,
                         .dresidual = to_residual == nullptr ? nullptr : to_residual + begin, .n = end - begin,
                         .period = period.length, .dx_accumulate = dx_mode == GradMode::kAccumulate,
                         .dresidual_accumulate = dresidual_mode == GradMode::kAccumulate});
  });
}

void FastKernels::channel_sums(const float* x, std::int64_t n, std::int64_t channels, double* sums) const {
  const ChannelPeriod period(channels);
  const Segments segments(period, n);
  SegmentResults parts(period, segments, 1, 1);
  parallel_for(threads_, segments.count, [&](std::int64_t s) {
    simd_.column_sums(x + segments.first_row(s) * period.length, segments.rows_of(s), period.length, parts.result(s),
                      parts.scratch(s));
  });
  for (std::int64_t c = 0; c < channels; ++c) sums[c] = folded(parts, period, segments.count, 0, c);
  if (segments.rest == 0) return;
  double* rest = parts.result(segments.count);
  simd_.column_sums(x + segments.rows * period.length, segments.rest / channels, channels, rest, parts.scratch(segments.count));
  for (std::int64_t c = 0; c < channels; ++c) sums[c] += rest[c];
}

void FastKernels::bias_backward(Stream stream, ConstView dy, View db, GradMode mode) {
  if (!runs_here("bias_backward", dy.dtype)) return reference_->bias_backward(stream, dy, db, mode);
  const std::int64_t channels = dy.shape[1];
  Tensor sums = Tensor::empty({channels}, DType::kF64);
  channel_sums(dy.data<float>(), dy.numel(), channels, sums.host<double>().data());
  auto* to = db.data<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto sum = static_cast<float>(sums.host<double>()[static_cast<std::size_t>(c)]);
    to[c] = mode == GradMode::kAccumulate ? to[c] + sum : sum;
  }
}

}  // namespace lockstep
