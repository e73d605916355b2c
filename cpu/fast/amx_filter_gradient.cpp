// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/amx_filter_gradient.h"

#include <algorithm>

#include "core/tensor.h"
#include "cpu/fast/amx_rows.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

using Row = const std::uint16_t*;
using simd::kAmxPanel;
using simd::kAmxPanelBytes;
using simd::kAmxStep;

// Pixels per block. With 256, one panel (16 KB) stays in the L1 cache while those of the whole side pass by. Sums of twice the
// L2 cache are visited seldom instead: larger blocks, as long as the whole side (2 bytes a pixel and column) stays in L2.
// Measured on ResNet-50's layers: 128 is 20 % slower, 512 and 1024 too but for the last stage's layers.
std::int64_t block_pixels(std::int64_t sums, std::int64_t whole_columns) {
  constexpr std::int64_t kSmall = 256, kLarge = 1024, kManySums = std::int64_t{1} << 20, kCacheBytes = std::int64_t{1} << 20;
  if (sums < kManySums) return kSmall;
  return std::clamp(kCacheBytes / (2 * whole_columns) / kAmxStep * kAmxStep, kSmall, kLarge);
}

std::int64_t panels(std::int64_t channels) { return (channels + kAmxPanel - 1) / kAmxPanel; }

Tensor bytes(std::int64_t count) { return Tensor::empty({count}, DType::kU8); }

// A filter's row of s taps on few channels is one tap of s * c channels when each image row has its padding in memory. Pays
// when fewer panels hold them: a stem of 3 channels and 7 taps fills one panel instead of seven.
bool merges_taps(const ConvProblem& a) { return a.s > 1 && a.dilation_w == 1 && panels(a.s * a.c) < a.s * panels(a.c); }

// x with pad_w pixels of zeros at both ends of every image row.
Tensor padded_rows(const ConvProblem& a, Row x, int threads) {
  const std::int64_t pad = a.pad_w * a.c, line = a.w * a.c, padded = line + 2 * pad;
  Tensor copy = Tensor::empty({a.n * a.h, padded}, DType::kBF16);
  auto* to = static_cast<std::uint16_t*>(copy.ptr());
  parallel_for(threads, a.n * a.h, [&](std::int64_t i) {
    std::fill_n(to + i * padded, pad, std::uint16_t{0});
    std::copy_n(x + i * line, line, to + i * padded + pad);
    std::fill_n(to + i * padded + pad + line, pad, std::uint16_t{0});
  });
  return copy;
}

ConvProblem merged_taps(ConvProblem a) {
  a.w += 2 * a.pad_w;
  a.pad_w = 0;
  a.s = 1;
  return a;
}

// dw is the product of A = dy, packed transposed, and B = x, packed tap by tap. Of a block of pixels the side with fewer
// columns is packed whole and stays in the L2 cache; the other is packed one panel at a time and meets all of the first.
class FilterGradient {
 public:
  FilterGradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* x, const bf16* dy)
      : kernels_(kernels),
        threads_(threads),
        a_(merges_taps(problem) ? merged_taps(problem) : problem),
        padded_(a_.w != problem.w ? padded_rows(problem, reinterpret_cast<Row>(x), threads) : Tensor()),
        x_(padded_ ? static_cast<Row>(padded_.ptr()) : reinterpret_cast<Row>(x)),
        dy_(reinterpret_cast<Row>(dy)),
        taps_(a_.r * a_.s),
        pixels_(a_.n * a_.p * a_.q),
        columns_(problem.s / a_.s * a_.c),
        whole_x_(taps_ == 1 && columns_ < a_.k),
        block_(std::min(block_pixels(a_.k * taps_ * columns_, whole_x_ ? columns_ : a_.k), round_up(pixels_))),
        zeros_(Tensor::zeros({std::max(columns_, a_.k)}, DType::kBF16)),
        rows_(bytes(2 * (taps_ + 1) * block_ * static_cast<std::int64_t>(sizeof(Row)))),
        whole_(bytes(panels(whole_x_ ? columns_ : a_.k) * panel_bytes())),
        parts_(bytes(threads_ * panel_bytes())) {}

  void run(float* dw, bool accumulate) {
    find_rows(0);
    for (std::int64_t begin = 0; begin < pixels_; begin += block_) {
      find_rows(begin + block_);
      add_block(begin, dw, accumulate || begin > 0);
    }
  }

 private:
  static std::int64_t round_up(std::int64_t pixels) { return (pixels + kAmxStep - 1) / kAmxStep * kAmxStep; }
  std::int64_t panel_bytes() const { return block_ / kAmxStep * kAmxPanelBytes; }
  std::int64_t pixels_from(std::int64_t begin) const { return std::clamp<std::int64_t>(pixels_ - begin, 0, block_); }
  Row zeros() const { return static_cast<Row>(zeros_.ptr()); }
  std::uint8_t* whole(std::int64_t panel) { return static_cast<std::uint8_t*>(whole_.ptr()) + panel * panel_bytes(); }
  std::uint8_t* part(std::int64_t thread) { return static_cast<std::uint8_t*>(parts_.ptr()) + thread * panel_bytes(); }
  // The rows of dy (table 0) and of x (1 + tap) for the block that begins at a pixel; those of the next block are kept too.
  Row* rows(std::int64_t begin, std::int64_t table) {
    return static_cast<Row*>(rows_.ptr()) + (begin / block_ % 2 * (taps_ + 1) + table) * block_;
  }

  void find_rows(std::int64_t begin);
  void pack_dy(std::int64_t begin, std::int64_t panel, void* to);
  void pack_x(std::int64_t begin, std::int64_t panel, void* to);  // panel: tap * panels(columns_) + its panel
  void add_block(std::int64_t begin, float* dw, bool accumulate);
  void multiply(std::int64_t begin, std::int64_t dy_panel, std::int64_t x_panel, const std::uint8_t* other, float* dw, bool accumulate);
  simd::AmxAhead ahead(std::int64_t begin, std::int64_t call, std::int64_t table, std::int64_t channels);

  const simd::AmxKernels& kernels_;
  int threads_;
  ConvProblem a_;
  Tensor padded_;
  Row x_, dy_;
  std::int64_t taps_, pixels_;
  std::int64_t columns_;  // of x per tap: its channels, or those of a merged row of taps
  bool whole_x_;
  std::int64_t block_;
  Tensor zeros_, rows_, whole_, parts_;
};

// Where the block's pixels lie in dy and, tap by tap, in x; padding and the last step's missing pixels are rows of zeros.
void FilterGradient::find_rows(std::int64_t begin) {
  const std::int64_t count = pixels_from(begin);
  const GridRows<const std::uint16_t> dy{dy_, a_.p, a_.q, a_.k, 1, 1, 0, 0, zeros()};
  dy.find(a_.p, a_.q, begin, count, rows(begin, 0));
  for (std::int64_t tap = 0; tap < taps_; ++tap) {
    const GridRows<const std::uint16_t> x{x_, a_.h, a_.w, a_.c, a_.stride_h, a_.stride_w, tap / a_.s * a_.dilation_h - a_.pad_h,
                                          tap % a_.s * a_.dilation_w - a_.pad_w, zeros()};
    x.find(a_.p, a_.q, begin, count, rows(begin, 1 + tap));
  }
}

void FilterGradient::pack_dy(std::int64_t begin, std::int64_t panel, void* to) {
  const std::int64_t offset = panel * kAmxPanel;
  kernels_.pack_a({rows(begin, 0), offset, std::min(kAmxPanel, a_.k - offset), round_up(pixels_from(begin)) / kAmxStep}, to);
}

void FilterGradient::pack_x(std::int64_t begin, std::int64_t panel, void* to) {
  const std::int64_t tap = panel / panels(columns_), offset = panel % panels(columns_) * kAmxPanel;
  kernels_.pack_b({rows(begin, 1 + tap), offset, std::min(kAmxPanel, columns_ - offset), round_up(pixels_from(begin)) / kAmxStep}, to);
}

void FilterGradient::add_block(std::int64_t begin, float* dw, bool accumulate) {
  const std::int64_t dy_panels = panels(a_.k), x_panels = taps_ * panels(columns_);
  parallel_for(threads_, whole_x_ ? x_panels : dy_panels,
               [&](std::int64_t i) { whole_x_ ? pack_x(begin, i, whole(i)) : pack_dy(begin, i, whole(i)); });
  const std::int64_t tasks = whole_x_ ? dy_panels : x_panels, others = whole_x_ ? x_panels : dy_panels;
  parallel_for(threads_, threads_, [&](std::int64_t thread) {
    kernels_.begin();
    for (std::int64_t task = thread * tasks / threads_; task < (thread + 1) * tasks / threads_; ++task) {
      whole_x_ ? pack_dy(begin, task, part(thread)) : pack_x(begin, task, part(thread));
      for (std::int64_t i = 0; i < others; ++i)
        whole_x_ ? multiply(begin, task, i, part(thread), dw, accumulate) : multiply(begin, i, task, part(thread), dw, accumulate);
    }
    kernels_.end();
  });
}

// One block of 32 filters by 32 columns of dw. part: the packed panel of the side that is not kept whole.
void FilterGradient::multiply(std::int64_t begin, std::int64_t dy_panel, std::int64_t x_panel, const std::uint8_t* part, float* dw,
                              bool accumulate) {
  const std::int64_t tap = x_panel / panels(columns_), offset = x_panel % panels(columns_) * kAmxPanel;
  const std::int64_t filter = dy_panel * kAmxPanel, stride = taps_ * columns_;
  const std::int64_t call = whole_x_ ? dy_panel * taps_ * panels(columns_) + x_panel : x_panel * panels(a_.k) + dy_panel;
  kernels_.multiply({.a = whole_x_ ? part : whole(dy_panel), .b = whole_x_ ? whole(x_panel) : part,
                     .steps = round_up(pixels_from(begin)) / kAmxStep, .c = dw + filter * stride + tap * columns_ + offset,
                     .stride = stride, .rows = std::min(kAmxPanel, a_.k - filter),
                     .columns = std::min(kAmxPanel, columns_ - offset), .accumulate = accumulate,
                     .ahead = {ahead(begin, call, 0, a_.k), ahead(begin, call, 1 + taps_ / 2, columns_)}});
}

// One product's share in fetching the next block's rows; of the taps, the middle one's stand for all.
simd::AmxAhead FilterGradient::ahead(std::int64_t begin, std::int64_t call, std::int64_t table, std::int64_t channels) {
  const std::int64_t calls = taps_ * panels(columns_) * panels(a_.k), next = begin + block_, count = pixels_from(next);
  const std::int64_t share = (count + calls - 1) / calls, first = std::min(call * share, count);
  return {rows(next, table) + first, std::min(share, count - first), channels * 2};
}

}  // namespace

bool amx_filter_supports(const ConvProblem& problem) {
  return problem.pass == ConvPass::kBackwardFilter && problem.dtype == DType::kBF16 && problem.groups == 1;
}

// GFLOP/s beside oneDNN 2.6's, one core: 1x1 404-1106 beside 87-408 (16 channels: 102 beside 57), 3x3 of 64 filters and more
// 780-1285 beside 147-1063, the stem's 7x7 505 beside 214; but 3x3 of 16 and 32 filters 235-394 beside 328-626.
bool amx_filter_wins(const ConvProblem& problem) { return problem.r * problem.s == 1 || problem.k >= 64; }

void amx_filter_gradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* x, const bf16* dy,
                         float* dw, bool accumulate) {
  FilterGradient(kernels, threads, problem, x, dy).run(dw, accumulate);
}

}  // namespace lockstep
