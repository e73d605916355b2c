// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/pointwise_conv.h"

#include <algorithm>
#include <cstring>

#include "core/tensor.h"
#include "cpu/fast/channel_period.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

// Pixels per block of forward and data passes: the rows of A that gemm keeps in the L2 cache.
constexpr std::int64_t kBlock = 192;
// Pixels per block of filter gradients: a multiple of every instruction set's depth, and a rest of half of it joins the last
// one, so that sums have gemm's own blocks and the order of a single call.
constexpr std::int64_t kSumBlock = 256, kMaxSumBlock = 384;

bool strided(const ConvProblem& a) { return a.stride_h != 1 || a.stride_w != 1; }
std::int64_t pixels(const ConvProblem& a) { return a.n * a.p * a.q; }
std::int64_t blocks_of(std::int64_t n, std::int64_t block) { return (n + block - 1) / block; }
float* floats(Tensor& tensor) { return static_cast<float*>(tensor.ptr()); }
Tensor scratch(std::int64_t count) { return Tensor::empty({std::max<std::int64_t>(1, count)}, DType::kF32); }

// body(worker, begin, end) for workers in [0, count): contiguous shares of [0, n) in units of `grain`.
template <class Body>
void share(int threads, std::int64_t n, std::int64_t grain, const Body& body) {
  const std::int64_t units = blocks_of(n, grain), workers = std::min<std::int64_t>(threads, units);
  parallel_for(threads, workers, [&](std::int64_t worker) {
    body(worker, units * worker / workers * grain, std::min(n, units * (worker + 1) / workers * grain));
  });
}

// The pixel of x that output pixel i reads.
std::int64_t source_pixel(const ConvProblem& a, std::int64_t i) {
  const std::int64_t q = i % a.q, row = i / a.q;
  return (row / a.p * a.h + row % a.p * a.stride_h) * a.w + q * a.stride_w;
}

// What reads pixels of x [begin, end) (of the output's grid), channels [c, c + width): x itself, or a copy, gathered and
// normalised.
class PixelReader {
 public:
  PixelReader(const simd::SimdKernels& simd, const ConvProblem& problem, const float* x, const PointwiseNorm& norm)
      : simd_(simd), problem_(problem), x_(x), norm_(norm.mean != nullptr), period_(ChannelPeriod::of<float>(problem.c)),
        memory_(period_, norm_ ? 3 : 0) {
    if (!norm_) return;
    tables_ = {.mean = memory_.fill<float>(0, simd.lanes, [&](std::int64_t c) { return norm.mean[c]; }),
               .scale = memory_.fill<float>(1, simd.lanes, [&](std::int64_t c) { return norm.inv_std[c] * norm.gamma[c]; }),
               .beta = memory_.fill<float>(2, simd.lanes, [&](std::int64_t c) { return norm.beta[c]; })};
  }

  bool copies() const { return norm_ || strided(problem_); }
  struct Rows {
    const float* data;
    std::int64_t pitch;
  };
  Rows read(std::int64_t begin, std::int64_t end, std::int64_t c, std::int64_t width, float* copy) const {
    if (!copies()) return {x_ + begin * problem_.c + c, problem_.c};
    if (!strided(problem_) && width == problem_.c) {
      normalise(x_ + begin * width, tables_, period_.length, copy, (end - begin) * width);
      return {copy, width};
    }
    const simd::NormTables tables{.mean = tables_.mean + c, .scale = tables_.scale + c, .beta = tables_.beta + c};
    float* to = copy;
    for (std::int64_t i = begin; i < end; ++i, to += width) {
      const float* from = x_ + source_pixel(problem_, i) * problem_.c + c;
      if (norm_)
        normalise(from, tables, period_.length, to, width);
      else
        std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(float));
    }
    return {copy, width};
  }

 private:
  void normalise(const float* from, const simd::NormTables& tables, std::int64_t period, float* to, std::int64_t n) const {
    simd_.f32.norm_apply({.x = from, .residual = nullptr, .tables = tables, .y = to, .mask = nullptr, .n = n,
                          .period = period, .relu = true});
  }

  const simd::SimdKernels& simd_;
  const ConvProblem& problem_;
  const float* x_;
  bool norm_;
  ChannelPeriod period_;
  ChannelTables memory_;
  simd::NormTables tables_{};
};

// Pixels of dx that belong to output pixel i alone: its own, and those up to the next output pixel's, which are zero.
void clear_between(const ConvProblem& a, std::int64_t i, float* dx) {
  const std::int64_t q = i % a.q, row = i / a.q, p = row % a.p;
  const std::int64_t next_column = q + 1 == a.q ? a.w : (q + 1) * a.stride_w;
  const auto clear = [&](std::int64_t from, std::int64_t count) {
    std::memset(dx + from * a.c, 0, static_cast<std::size_t>(count * a.c) * sizeof(float));
  };
  const std::int64_t pixel = source_pixel(a, i);
  clear(pixel + 1, next_column - q * a.stride_w - 1);
  if (q != 0) return;
  const std::int64_t next_row = p + 1 == a.p ? a.h : (p + 1) * a.stride_h;
  clear(pixel + a.w, (next_row - p * a.stride_h - 1) * a.w);
}

}  // namespace

bool PointwiseConv::can_run(const ConvProblem& a) {
  return a.dtype == DType::kF32 && a.r == 1 && a.s == 1 && a.groups == 1 && a.pad_h == 0 && a.pad_w == 0;
}

bool PointwiseConv::wins(const ConvProblem& a) { return can_run(a); }

// y (pixels, K) = x (pixels, C) filter^T.
void PointwiseConv::forward(const ConvProblem& a, const float* x, const PointwiseNorm& norm, const float* filter,
                            const float* bias, float* y) const {
  Tensor packed = scratch(simd_.packed_size(a.k, a.c));
  simd_.pack(filter, 1, a.c, a.k, a.c, floats(packed));
  const PixelReader reader(simd_, a, x, norm);
  Tensor copies = scratch(reader.copies() ? threads_ * kBlock * a.c : 0);
  share(threads_, pixels(a), kBlock, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    for (std::int64_t begin = first; begin < last; begin += kBlock) {
      const std::int64_t end = std::min(last, begin + kBlock);
      const auto rows = reader.read(begin, end, 0, a.c, floats(copies) + worker * kBlock * a.c);
      if (bias != nullptr) simd_.f32.spread_row(bias, 1.0f, y + begin * a.k, end - begin, a.k, false);
      simd_.gemm({.a = rows.data, .a_row = rows.pitch, .a_col = 1, .b = floats(packed), .b_row = 0, .c = y + begin * a.k,
                  .c_row = a.k, .m = end - begin, .n = a.k, .k = a.c, .accumulate = bias != nullptr, .b_packed = true});
    }
  });
}

// dx (pixels, C) = dy (pixels, K) filter.
void PointwiseConv::backward_data(const ConvProblem& a, const float* dy, const float* filter, float* dx, bool accumulate) const {
  Tensor packed = scratch(simd_.packed_size(a.c, a.k));
  simd_.pack(filter, a.c, 1, a.c, a.k, floats(packed));
  const bool scatter = strided(a);
  Tensor fresh = scratch(scatter ? threads_ * kBlock * a.c : 0);
  share(threads_, pixels(a), kBlock, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    for (std::int64_t begin = first; begin < last; begin += kBlock) {
      const std::int64_t end = std::min(last, begin + kBlock);
      float* to = scatter ? floats(fresh) + worker * kBlock * a.c : dx + begin * a.c;
      simd_.gemm({.a = dy + begin * a.k, .a_row = a.k, .a_col = 1, .b = floats(packed), .b_row = 0, .c = to, .c_row = a.c,
                  .m = end - begin, .n = a.c, .k = a.k, .accumulate = accumulate && !scatter, .b_packed = true});
      for (std::int64_t i = begin; scatter && i < end; ++i, to += a.c) {
        simd_.f32.copy_rows({.src = to, .dst = dx + source_pixel(a, i) * a.c, .rows = 1, .count = a.c, .src_stride = a.c,
                             .dst_stride = a.c, .accumulate = accumulate});
        if (!accumulate) clear_between(a, i, dx);
      }
    }
  });
}

// dfilter (K, C) = dy^T x, over blocks of pixels. A thread has some of the columns, or, where those are few, of the rows.
void PointwiseConv::backward_filter(const ConvProblem& a, const float* x, const PointwiseNorm& norm, const float* dy,
                                    float* dfilter, bool accumulate) const {
  constexpr std::int64_t kColumns = 64, kCached = std::int64_t{1} << 18;  // a panel; floats of dfilter in the L2 cache
  const std::int64_t width = std::clamp(kCached / a.k / kColumns, std::int64_t{1}, std::int64_t{8}) * kColumns;
  const bool by_columns = blocks_of(a.c, kColumns) >= threads_;
  const PixelReader reader(simd_, a, x, norm);
  Tensor copies = scratch(reader.copies() ? threads_ * kMaxSumBlock * std::min(width, a.c) : 0);
  const auto columns = [&](std::int64_t worker, std::int64_t c, std::int64_t count, std::int64_t row, std::int64_t rows) {
    for (std::int64_t begin = 0, end = 0; begin < pixels(a); begin = end) {
      end = !reader.copies() || pixels(a) - begin <= kMaxSumBlock ? pixels(a) : begin + kSumBlock;
      const auto source = reader.read(begin, end, c, count, floats(copies) + worker * kMaxSumBlock * std::min(width, a.c));
      simd_.gemm({.a = dy + begin * a.k + row, .a_row = 1, .a_col = a.k, .b = source.data, .b_row = source.pitch,
                  .c = dfilter + row * a.c + c, .c_row = a.c, .m = rows, .n = count, .k = end - begin,
                  .accumulate = accumulate || begin > 0});
    }
  };
  share(threads_, by_columns ? a.c : a.k, by_columns ? kColumns : 6, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    const std::int64_t c_begin = by_columns ? first : 0, c_end = by_columns ? last : a.c;
    for (std::int64_t c = c_begin; c < c_end; c += width)
      columns(worker, c, std::min(width, c_end - c), by_columns ? 0 : first, by_columns ? a.k : last - first);
  });
}

}  // namespace lockstep
