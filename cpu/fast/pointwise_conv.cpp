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

// Few channels in a window, as of an image: a tap row of the window is a run of s * c floats of x.
bool narrow(const ConvProblem& a) { return a.c < 16 && a.r * a.s > 1 && a.dilation_w == 1; }
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

// The pixel of x at the first tap of output pixel i (no padding).
std::int64_t source_pixel(const ConvProblem& a, std::int64_t i) {
  const std::int64_t q = i % a.q, row = i / a.q;
  return (row / a.p * a.h + row % a.p * a.stride_h) * a.w + q * a.stride_w;
}

// The matrix (output pixel, tap and channel) of what outputs read: rows [begin, end), columns [c, c + width). It is x itself,
// or a copy, gathered and normalised, with zeros for the padding.
class PixelReader {
 public:
  PixelReader(const simd::SimdKernels& simd, const ConvProblem& problem, const float* x, const ConvNorm& norm)
      : simd_(simd), problem_(problem), x_(x), norm_(norm.mean != nullptr),
        plain_(problem.r * problem.s == 1 && problem.pad_h == 0 && problem.pad_w == 0 && !strided(problem)),
        period_(ChannelPeriod::of<float>(problem.c)), memory_(period_, norm_ ? 3 : 0) {
    if (!norm_) return;
    tables_ = {.mean = memory_.fill<float>(0, simd.lanes, [&](std::int64_t c) { return norm.mean[c]; }),
               .scale = memory_.fill<float>(1, simd.lanes, [&](std::int64_t c) { return norm.inv_std[c] * norm.gamma[c]; }),
               .beta = memory_.fill<float>(2, simd.lanes, [&](std::int64_t c) { return norm.beta[c]; })};
  }

  bool copies() const { return norm_ || !plain_; }
  struct Rows {
    const float* data;
    std::int64_t pitch;
  };
  Rows read(std::int64_t begin, std::int64_t end, std::int64_t c, std::int64_t width, float* copy) const {
    if (!copies()) return {x_ + begin * problem_.c + c, problem_.c};
    if (plain_ && width == problem_.c) {
      normalise(x_ + begin * width, tables_, period_.length, copy, (end - begin) * width);
    } else {
      for (std::int64_t i = begin; i < end; ++i) gather(i, c, width, copy + (i - begin) * width);
    }
    return {copy, width};
  }

  // Row h of an image, `width` pixels from -pad_w on, with zeros outside.
  void padded_row(std::int64_t image, std::int64_t h, std::int64_t width, float* to) const {
    const ConvProblem& a = problem_;
    const std::int64_t first = a.pad_w * a.c, inside = std::min(a.w, width - a.pad_w) * a.c, all = width * a.c;
    std::memset(to, 0, static_cast<std::size_t>(first) * sizeof(float));
    const float* from = x_ + (image * a.h + h) * a.w * a.c;
    if (norm_)
      normalise(from, tables_, period_.length, to + first, inside);
    else
      std::memcpy(to + first, from, static_cast<std::size_t>(inside) * sizeof(float));
    std::memset(to + first + inside, 0, static_cast<std::size_t>(all - first - inside) * sizeof(float));
  }

 private:
  void gather(std::int64_t i, std::int64_t begin, std::int64_t width, float* to) const {
    const ConvProblem& a = problem_;
    const std::int64_t q = i % a.q, row = i / a.q, p = row % a.p, image = row / a.p;
    for (std::int64_t at = begin, count = 0; at < begin + width; at += count, to += count) {
      const std::int64_t tap = at / a.c, c = at - tap * a.c;
      count = std::min(a.c - c, begin + width - at);
      const std::int64_t h = p * a.stride_h + tap / a.s * a.dilation_h - a.pad_h;
      const std::int64_t w = q * a.stride_w + tap % a.s * a.dilation_w - a.pad_w;
      const float* from = x_ + ((image * a.h + h) * a.w + w) * a.c + c;
      if (h < 0 || h >= a.h || w < 0 || w >= a.w)
        std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float));
      else if (norm_)
        normalise(from, {.mean = tables_.mean + c, .scale = tables_.scale + c, .beta = tables_.beta + c}, count, to, count);
      else
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    }
  }

  void normalise(const float* from, const simd::NormTables& tables, std::int64_t period, float* to, std::int64_t n) const {
    simd_.f32.norm_apply({.x = from, .residual = nullptr, .tables = tables, .y = to, .mask = nullptr, .n = n,
                          .period = period, .relu = true});
  }

  const simd::SimdKernels& simd_;
  const ConvProblem& problem_;
  const float* x_;
  bool norm_, plain_;
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
  const bool pointwise = a.r == 1 && a.s == 1 && a.pad_h == 0 && a.pad_w == 0;
  return a.dtype == DType::kF32 && a.groups == 1 && (pointwise || a.pass == ConvPass::kBackwardFilter);
}

// ResNet-50's layers, batch 16, one core, GFLOP/s of the library and ours (peak 242): data gradients of stride 2 97..185 and
// 183..198, of 64..128 channels at 56^2 142..207 and 202..227, filter gradients there 164..186 and 181..199, forward there
// 186..221 and 199..226, filter gradients of 3x3 windows with stride 2 125..153 and 154..171, of the image's 7x7 window 123 and
// 155. Between, with filters of 64 k to 512 k, the library is ahead by 1 to 5 %, in filter gradients by up to 12 %.
bool PointwiseConv::wins(const ConvProblem& a, bool extra) const {
  constexpr std::int64_t kSmall = std::int64_t{1} << 15, kLarge = std::int64_t{1} << 19;  // filter elements
  if (!can_run(a) || simd_.lanes != 16 || a.k < 64 || (a.c < 64 && !narrow(a))) return false;  // less than a panel
  const std::int64_t filter = a.c * a.k;
  const bool small = filter <= kSmall;
  switch (a.pass) {
    case ConvPass::kForward: return small ? a.k <= a.c || extra : filter >= kLarge && a.k <= 2 * a.c;
    case ConvPass::kBackwardData: return small || strided(a) || extra || filter >= kLarge;
    case ConvPass::kBackwardFilter:
      if (narrow(a)) return a.s * a.c >= 16;  // a ResNet's first layer
      return a.r * a.s > 1 ? strided(a) && a.c >= 128 : small || (strided(a) && a.c >= 512);
  }
  return false;
}

// y (pixels, K) = x (pixels, C) filter^T.
void PointwiseConv::forward(const ConvProblem& a, const float* x, const ConvNorm& norm, const float* filter,
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

namespace {

// The filter gradient of narrow windows, transposed: `sums` (r, s * c, k). Output pixel q of a row reads s * c floats from
// q * stride * c on, so that a row of x is a matrix as it lies. A thread has some of the window's rows.
void add_window_rows(const simd::SimdKernels& simd, const ConvProblem& a, const PixelReader& reader, const float* dy,
                     std::int64_t r_begin, std::int64_t r_end, std::int64_t width, float* row, float* sums) {
  const std::int64_t taps = a.s * a.c;
  std::memset(sums + r_begin * taps * a.k, 0, static_cast<std::size_t>((r_end - r_begin) * taps * a.k) * sizeof(float));
  for (std::int64_t i = 0; i < a.n * a.p; ++i)
    for (std::int64_t r = r_begin; r < r_end; ++r) {
      const std::int64_t h = i % a.p * a.stride_h + r * a.dilation_h - a.pad_h;
      if (h < 0 || h >= a.h) continue;
      reader.padded_row(i / a.p, h, width, row);
      simd.gemm({.a = row, .a_row = 1, .a_col = a.stride_w * a.c, .b = dy + i * a.q * a.k, .b_row = a.k,
                 .c = sums + r * taps * a.k, .c_row = a.k, .m = taps, .n = a.k, .k = a.q, .accumulate = true});
    }
}

void narrow_filter_gradient(const simd::SimdKernels& simd, int threads, const ConvProblem& a, const PixelReader& reader,
                            const float* dy, float* dfilter, bool accumulate) {
  const std::int64_t width = std::max((a.q - 1) * a.stride_w + a.s, a.pad_w + 1), columns = a.r * a.s * a.c;
  Tensor sums = scratch(columns * a.k), rows = scratch(threads * width * a.c);
  share(threads, a.r, 1, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    add_window_rows(simd, a, reader, dy, first, last, width, floats(rows) + worker * width * a.c, floats(sums));
  });
  for (std::int64_t k = 0; k < a.k; ++k)
    for (std::int64_t j = 0; j < columns; ++j) {
      float& to = dfilter[k * columns + j];
      to = accumulate ? to + floats(sums)[j * a.k + k] : floats(sums)[j * a.k + k];
    }
}

}  // namespace

// dfilter (K, columns) = dy^T (what the outputs read), over blocks of pixels. A thread has some of the columns, or, where
// those are few, of the rows.
void PointwiseConv::backward_filter(const ConvProblem& a, const float* x, const ConvNorm& norm, const float* dy, float* dfilter,
                                    bool accumulate) const {
  constexpr std::int64_t kPanel = 64, kCached = std::int64_t{1} << 18;  // columns; floats of dfilter in the L2 cache
  const std::int64_t columns = a.r * a.s * a.c;
  const std::int64_t width = std::min(columns, std::clamp(kCached / a.k / kPanel, std::int64_t{1}, std::int64_t{8}) * kPanel);
  const bool by_columns = blocks_of(columns, kPanel) >= threads_;
  const PixelReader reader(simd_, a, x, norm);
  if (narrow(a)) return narrow_filter_gradient(simd_, threads_, a, reader, dy, dfilter, accumulate);
  Tensor copies = scratch(reader.copies() ? threads_ * kMaxSumBlock * width : 0);
  const auto add_block = [&](float* copy, std::int64_t c, std::int64_t count, std::int64_t row, std::int64_t rows) {
    for (std::int64_t begin = 0, end = 0; begin < pixels(a); begin = end) {
      end = !reader.copies() || pixels(a) - begin <= kMaxSumBlock ? pixels(a) : begin + kSumBlock;
      const auto source = reader.read(begin, end, c, count, copy);
      simd_.gemm({.a = dy + begin * a.k + row, .a_row = 1, .a_col = a.k, .b = source.data, .b_row = source.pitch,
                  .c = dfilter + row * columns + c, .c_row = columns, .m = rows, .n = count, .k = end - begin,
                  .accumulate = accumulate || begin > 0});
    }
  };
  const std::int64_t split = by_columns ? columns : a.k, grain = by_columns ? kPanel : 6;
  share(threads_, split, grain, [&](std::int64_t worker, std::int64_t first, std::int64_t last) {
    float* copy = floats(copies) + worker * kMaxSumBlock * width;
    const std::int64_t begin = by_columns ? first : 0, end = by_columns ? last : columns;
    const std::int64_t row = by_columns ? 0 : first, rows = by_columns ? a.k : last - first;
    for (std::int64_t c = begin; c < end; c += width) add_block(copy, c, std::min(width, end - c), row, rows);
  });
}

}  // namespace lockstep
