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

// Scratch for one result of a period's width per segment, and one more for the rest.
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

// Tables 0 to 2.
template <class T>
simd::NormTables norm_tables(ChannelTables& tables, std::int64_t lanes, const NormVectors& norm) {
  const auto *mean = norm.mean.data<float>(), *inverse = norm.inv_std.data<float>(), *gamma = norm.gamma.data<float>(),
             *beta = norm.beta.data<float>();
  return {.mean = tables.fill<T>(0, lanes, [&](std::int64_t c) { return mean[c]; }),
          .scale = tables.fill<T>(1, lanes, [&](std::int64_t c) { return inverse[c] * gamma[c]; }),
          .beta = tables.fill<T>(2, lanes, [&](std::int64_t c) { return beta[c]; })};
}

template <class T>
simd::NormGradient<T> gradient_of(ConstView dy, const ReluGate& gate, ConstView x, const simd::NormTables& tables,
                                  const ChannelPeriod& period) {
  static_assert(static_cast<int>(simd::Gate::kRecompute) == static_cast<int>(ReluGate::Kind::kRecompute));
  return {.dy = elements<T>(dy), .x = elements<T>(x), .gate = static_cast<simd::Gate>(gate.kind),
          .mask = gate.kind == ReluGate::Kind::kBits ? gate.bits.data<std::uint8_t>() : nullptr, .tables = tables,
          .n = x.numel(), .period = period.length};
}

template <class T>
simd::NormGradient<T> part_of(simd::NormGradient<T> all, std::int64_t begin, std::int64_t end) {
  all.dy += begin;
  all.x += begin;
  if (all.mask != nullptr) all.mask += begin / 8;
  all.n = end - begin;
  return all;
}

}  // namespace

void FastKernels::batch_norm_moments(Stream stream, ConstView x, View mean, View m2) {
  if (!runs_here("batch_norm_moments", x.dtype)) return reference_->batch_norm_moments(stream, x, mean, m2);
  with_storage(x.dtype, [&]<class T>() {
    const auto& simd = simd_.typed<T>();
    const T* in = elements<T>(x);
    const auto period = ChannelPeriod::of<T>(x.shape[1]);
    const Segments segments(period, x.numel());
    SegmentResults parts(period, segments, 2, 3);
    parallel_for(threads_, segments.count, [&](std::int64_t s) {
      simd.column_moments(in + segments.first_row(s) * period.length, segments.rows_of(s), period.length, parts.result(s),
                          parts.result(s) + period.length, parts.scratch(s));
    });
    const std::int64_t rest_pixels = segments.rest / period.channels;
    double* rest = parts.result(segments.count);
    if (rest_pixels > 0)
      simd.column_moments(in + segments.rows * period.length, rest_pixels, period.channels, rest, rest + period.length,
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
  });
}

void FastKernels::batch_norm_inv_std(Stream stream, ConstView m2, double count, double eps, View inv_std, View unbiased) {
  if (!statistic_runs_here("batch_norm_inv_std", m2.dtype))
    return reference_->batch_norm_inv_std(stream, m2, count, eps, inv_std, unbiased);
  for (std::int64_t c = 0; c < m2.numel(); ++c) {
    const double sum = m2.data<float>()[c];
    inv_std.data<float>()[c] = static_cast<float>(1.0 / std::sqrt(sum / count + eps));
    if (unbiased) unbiased.data<float>()[c] = static_cast<float>(sum / (count - 1.0));
  }
}

void FastKernels::batch_norm_apply(Stream stream, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y,
                                   View mask) {
  if (!runs_here("batch_norm_apply", x.dtype)) return reference_->batch_norm_apply(stream, x, norm, residual, relu, y, mask);
  with_storage(x.dtype, [&]<class T>() {
    const auto period = ChannelPeriod::of<T>(x.shape[1]);
    ChannelTables memory(period, 3);
    const simd::NormTables tables = norm_tables<T>(memory, simd_.lanes, norm);
    const T *in = elements<T>(x), *added = elements<T>(residual);
    T* out = elements<T>(y);
    std::uint8_t* bits = relu && mask ? mask.data<std::uint8_t>() : nullptr;
    parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
      simd_.typed<T>().norm_apply({.x = in + begin, .residual = added == nullptr ? nullptr : added + begin, .tables = tables,
                                   .y = out + begin, .mask = bits == nullptr ? nullptr : bits + begin / 8, .n = end - begin,
                                   .period = period.length, .relu = relu});
    });
  });
}

void FastKernels::batch_norm_backward_sums(Stream stream, ConstView dy, const ReluGate& gate, ConstView x,
                                           const NormVectors& norm, View sum_g, View sum_g_xhat) {
  if (!runs_here("batch_norm_backward_sums", x.dtype))
    return reference_->batch_norm_backward_sums(stream, dy, gate, x, norm, sum_g, sum_g_xhat);
  with_storage(x.dtype, [&]<class T>() {
    const auto period = ChannelPeriod::of<T>(x.shape[1]);
    const Segments segments(period, x.numel());
    ChannelTables memory(period, 3);
    simd::NormTables tables{};
    if (gate.kind == ReluGate::Kind::kRecompute)
      tables = norm_tables<T>(memory, simd_.lanes, norm);
    else
      tables.mean = memory.fill<T>(0, simd_.lanes, [&](std::int64_t c) { return norm.mean.data<float>()[c]; });
    const auto all = gradient_of<T>(dy, gate, x, tables, period);
    SegmentResults parts(period, segments, 2, 2);
    const std::int64_t count = std::max<std::int64_t>(1, segments.count);  // fewer pixels than a period: one short segment
    parallel_for(threads_, count, [&](std::int64_t s) {
      const std::int64_t begin = segments.first_row(s) * period.length;
      const std::int64_t end = s + 1 == count ? x.numel() : begin + segments.rows_of(s) * period.length;
      simd_.typed<T>().norm_sums({.in = part_of(all, begin, end), .sum_g = parts.result(s),
                                  .sum_gd = parts.result(s) + period.length, .scratch = parts.scratch(s)});
    });
    for (std::int64_t c = 0; c < period.channels; ++c) {
      sum_g.data<float>()[c] = static_cast<float>(folded(parts, period, count, 0, c));
      sum_g_xhat.data<float>()[c] =
          static_cast<float>(folded(parts, period, count, period.length, c) * norm.inv_std.data<float>()[c]);
    }
  });
}

// dx = scale g - b - (x - mean) c with scale = gamma inv_std, b = scale sum_g / count, c = scale inv_std sum_g_xhat / count.
void FastKernels::batch_norm_backward_apply(Stream stream, ConstView dy, const ReluGate& gate, ConstView x,
                                            const NormVectors& norm, ConstView sum_g, ConstView sum_g_xhat, double count,
                                            View dx, GradMode dx_mode, View dresidual, GradMode dresidual_mode) {
  if (!runs_here("batch_norm_backward_apply", x.dtype))
    return reference_->batch_norm_backward_apply(stream, dy, gate, x, norm, sum_g, sum_g_xhat, count, dx, dx_mode, dresidual,
                                                 dresidual_mode);
  with_storage(x.dtype, [&]<class T>() {
    const auto period = ChannelPeriod::of<T>(x.shape[1]);
    ChannelTables memory(period, 5);
    const auto *inverse = norm.inv_std.data<float>(), *gamma = norm.gamma.data<float>();
    const auto *first = sum_g.data<float>(), *second = sum_g_xhat.data<float>();
    const auto all = gradient_of<T>(dy, gate, x, norm_tables<T>(memory, simd_.lanes, norm), period);
    const float* b = memory.fill<T>(3, simd_.lanes, [&](std::int64_t c) {
      return static_cast<float>(double{gamma[c]} * inverse[c] * first[c] / count);
    });
    const float* slope = memory.fill<T>(4, simd_.lanes, [&](std::int64_t c) {
      return static_cast<float>(double{gamma[c]} * inverse[c] * inverse[c] * second[c] / count);
    });
    T *to = elements<T>(dx), *to_residual = elements<T>(dresidual);
    parallel_chunks(threads_, x.numel(), period.chunk(), [&](auto begin, auto end) {
      simd_.typed<T>().norm_backward({.in = part_of(all, begin, end), .b = b, .c = slope, .dx = to + begin,
                                      .dresidual = to_residual == nullptr ? nullptr : to_residual + begin,
                                      .dx_accumulate = dx_mode == GradMode::kAccumulate,
                                      .dresidual_accumulate = dresidual_mode == GradMode::kAccumulate});
    });
  });
}

template <class T>
void FastKernels::channel_sums(const T* x, std::int64_t n, std::int64_t channels, double* sums) const {
  const auto& simd = simd_.typed<T>();
  const auto period = ChannelPeriod::of<T>(channels);
  const Segments segments(period, n);
  SegmentResults parts(period, segments, 1, 1);
  parallel_for(threads_, segments.count, [&](std::int64_t s) {
    simd.column_sums(x + segments.first_row(s) * period.length, segments.rows_of(s), period.length, parts.result(s),
                     parts.scratch(s));
  });
  for (std::int64_t c = 0; c < channels; ++c) sums[c] = folded(parts, period, segments.count, 0, c);
  if (segments.rest == 0) return;
  double* rest = parts.result(segments.count);
  simd.column_sums(x + segments.rows * period.length, segments.rest / channels, channels, rest, parts.scratch(segments.count));
  for (std::int64_t c = 0; c < channels; ++c) sums[c] += rest[c];
}

void FastKernels::bias_backward(Stream stream, ConstView dy, View db, GradMode mode) {
  if (!runs_here("bias_backward", dy.dtype)) return reference_->bias_backward(stream, dy, db, mode);
  const std::int64_t channels = dy.shape[1];
  Tensor sums = Tensor::empty({channels}, DType::kF64);
  const auto* sum = static_cast<const double*>(sums.ptr());
  with_storage(dy.dtype, [&]<class T>() { channel_sums(elements<T>(dy), dy.numel(), channels, static_cast<double*>(sums.ptr())); });
  auto* to = db.data<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto value = static_cast<float>(sum[c]);
    to[c] = mode == GradMode::kAccumulate ? to[c] + value : value;
  }
}

}  // namespace lockstep
