// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/amx_data_gradient.h"

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

// Pixels per task, and steps of 32 filters per product: a task's dy (256 KB) and sums (1 KB a channel) stay in the L2 cache,
// one panel of the filter (32 KB) in L1.
constexpr std::int64_t kBlockPixels = 256, kChunkSteps = 16;

std::int64_t panels(std::int64_t count) { return (count + kAmxPanel - 1) / kAmxPanel; }
Tensor bytes(std::int64_t count) { return Tensor::empty({count}, DType::kU8); }

// Along one axis, the input positions first, first + stride, ... and the taps that reach them: r with (first + pad - r *
// dilation) a multiple of the stride.
struct AxisClass {
  std::int64_t first, stride, count;
  bool reached_by(std::int64_t tap, std::int64_t pad, std::int64_t dilation) const {
    return (first + pad - tap * dilation) % stride == 0;
  }
};

AxisClass axis_class(std::int64_t first, std::int64_t stride, std::int64_t size) {
  return {first, stride, first < size ? (size - first + stride - 1) / stride : 0};
}

class DataGradient {
 public:
  DataGradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* dy, const bf16* filter, bf16* dx,
               bool accumulate)
      : kernels_(kernels),
        threads_(threads),
        a_(problem),
        dy_(reinterpret_cast<Row>(dy)),
        filter_(reinterpret_cast<Row>(filter)),
        dx_(reinterpret_cast<std::uint16_t*>(dx)),
        accumulate_(accumulate),
        steps_(panels(a_.k)),
        zeros_(Tensor::zeros({std::max(a_.k, a_.c)}, DType::kBF16)),
        packed_(bytes(a_.r * a_.s * panels(a_.c) * steps_ * kAmxPanelBytes)),
        filter_rows_(bytes(threads_ * steps_ * kAmxStep * 8)),
        dy_rows_(bytes(threads_ * kBlockPixels * 8)),
        dx_rows_(bytes(threads_ * kBlockPixels * 8)),
        dy_panels_(bytes(threads_ * kBlockPixels / kAmxPanel * kChunkSteps * kAmxPanelBytes)),
        sums_(Tensor::empty({threads_, kBlockPixels, a_.c}, DType::kF32)) {}

  void run() {
    pack_filter();
    for (std::int64_t h = 0; h < a_.stride_h; ++h)
      for (std::int64_t w = 0; w < a_.stride_w; ++w) run_class(axis_class(h, a_.stride_h, a_.h), axis_class(w, a_.stride_w, a_.w));
  }

 private:
  Row zeros() const { return static_cast<Row>(zeros_.ptr()); }
  // One thread's tables and scratch.
  struct Workspace {
    Row* dy_rows;             // kBlockPixels
    std::uint16_t** dx_rows;  // kBlockPixels
    std::uint8_t* panels;
    float* sums;  // (kBlockPixels, c)
  };
  Workspace workspace(std::int64_t thread) {
    return {static_cast<Row*>(dy_rows_.ptr()) + thread * kBlockPixels,
            static_cast<std::uint16_t**>(dx_rows_.ptr()) + thread * kBlockPixels,
            static_cast<std::uint8_t*>(dy_panels_.ptr()) + thread * kBlockPixels / kAmxPanel * kChunkSteps * kAmxPanelBytes,
            static_cast<float*>(sums_.ptr()) + thread * kBlockPixels * a_.c};
  }
  std::uint8_t* packed(std::int64_t tap, std::int64_t panel, std::int64_t step) {
    return static_cast<std::uint8_t*>(packed_.ptr()) + ((tap * panels(a_.c) + panel) * steps_ + step) * kAmxPanelBytes;
  }

  void pack_filter();
  void run_class(const AxisClass& h, const AxisClass& w);
  void run_block(const AxisClass& h, const AxisClass& w, std::int64_t begin, std::int64_t count, const Workspace& work);
  void add_tap(std::int64_t tap, std::int64_t count, bool first, const Workspace& work);

  const simd::AmxKernels& kernels_;
  int threads_;
  ConvProblem a_;
  Row dy_, filter_;
  std::uint16_t* dx_;
  bool accumulate_;
  std::int64_t steps_;  // of 32 filters
  Tensor zeros_, packed_, filter_rows_, dy_rows_, dx_rows_, dy_panels_, sums_;
};

// B: for each tap, panels of 32 channels; the summed index is the filter.
void DataGradient::pack_filter() {
  const std::int64_t taps = a_.r * a_.s, rows = steps_ * kAmxStep;
  parallel_for(threads_, threads_, [&](std::int64_t thread) {
    Row* table = static_cast<Row*>(filter_rows_.ptr()) + thread * rows;
    for (std::int64_t tap = thread * taps / threads_; tap < (thread + 1) * taps / threads_; ++tap) {
      for (std::int64_t k = 0; k < rows; ++k) table[k] = k < a_.k ? filter_ + (k * taps + tap) * a_.c : zeros();
      for (std::int64_t panel = 0; panel < panels(a_.c); ++panel) {
        const std::int64_t offset = panel * kAmxPanel;
        kernels_.pack_b({table, offset, std::min(kAmxPanel, a_.c - offset), steps_}, packed(tap, panel, 0));
      }
    }
  });
}

void DataGradient::run_class(const AxisClass& h, const AxisClass& w) {
  const std::int64_t pixels = a_.n * h.count * w.count, blocks = (pixels + kBlockPixels - 1) / kBlockPixels;
  parallel_for(threads_, threads_, [&](std::int64_t thread) {
    kernels_.begin();
    for (std::int64_t block = thread * blocks / threads_; block < (thread + 1) * blocks / threads_; ++block)
      run_block(h, w, block * kBlockPixels, std::min(kBlockPixels, pixels - block * kBlockPixels), workspace(thread));
    kernels_.end();
  });
}

void DataGradient::run_block(const AxisClass& h, const AxisClass& w, std::int64_t begin, std::int64_t count, const Workspace& work) {
  const GridRows<std::uint16_t> dx{dx_, a_.h, a_.w, a_.c, h.stride, w.stride, h.first, w.first, nullptr};
  dx.find(h.count, w.count, begin, count, work.dx_rows);
  bool first = true;
  for (std::int64_t tap = 0; tap < a_.r * a_.s; ++tap) {
    if (!h.reached_by(tap / a_.s, a_.pad_h, a_.dilation_h) || !w.reached_by(tap % a_.s, a_.pad_w, a_.dilation_w)) continue;
    const std::int64_t shift_h = (h.first + a_.pad_h - tap / a_.s * a_.dilation_h) / h.stride;
    const std::int64_t shift_w = (w.first + a_.pad_w - tap % a_.s * a_.dilation_w) / w.stride;
    const GridRows<const std::uint16_t> dy{dy_, a_.p, a_.q, a_.k, 1, 1, shift_h, shift_w, zeros()};
    dy.find(h.count, w.count, begin, count, work.dy_rows);
    add_tap(tap, count, first, work);
    first = false;
  }
  if (!first) return kernels_.round({work.sums, a_.c, work.dx_rows, count, a_.c, accumulate_});
  if (!accumulate_)
    for (std::int64_t i = 0; i < count; ++i) std::fill_n(work.dx_rows[i], a_.c, std::uint16_t{0});
}

// sums (count, c) [+]= the tap's dy rows times its filters, a chunk of filters at a time.
void DataGradient::add_tap(std::int64_t tap, std::int64_t count, bool first, const Workspace& work) {
  for (std::int64_t step = 0; step < steps_; step += kChunkSteps) {
    const std::int64_t steps = std::min(kChunkSteps, steps_ - step), k = step * kAmxStep;
    for (std::int64_t i = 0; i < panels(count); ++i)
      kernels_.pack_rows({work.dy_rows + i * kAmxPanel, k, std::min(steps * kAmxStep, a_.k - k), steps},
                         work.panels + i * steps * kAmxPanelBytes);
    for (std::int64_t panel = 0; panel < panels(a_.c); ++panel)
      for (std::int64_t i = 0; i < panels(count); ++i)
        kernels_.multiply({.a = work.panels + i * steps * kAmxPanelBytes, .b = packed(tap, panel, step), .steps = steps,
                           .c = work.sums + i * kAmxPanel * a_.c + panel * kAmxPanel, .stride = a_.c,
                           .rows = std::min(kAmxPanel, count - i * kAmxPanel),
                           .columns = std::min(kAmxPanel, a_.c - panel * kAmxPanel), .accumulate = !(first && step == 0),
                           .ahead = {}});
  }
}

}  // namespace

bool amx_data_supports(const ConvProblem& problem) {
  return problem.pass == ConvPass::kBackwardData && problem.dtype == DType::kBF16 && problem.groups == 1;
}

// GFLOP/s beside oneDNN 2.6's, ResNet-50, batch 16, one core: strided 610-1000 beside 270-510; filters of a million and more
// elements (the 7 x 7 layers) 700-1040 beside 570-660; other 1x1 360-1060 beside 600-1280, but a sum costs oneDNN two more
// passes over dx, which is more than the difference; other 3x3 280-1300 beside 1700. Layers of 16 and 32 channels fill half
// of the tiles and lose (54-400 beside 106-540).
bool amx_data_wins(const ConvProblem& problem, bool accumulate) {
  constexpr std::int64_t kLargeFilter = std::int64_t{1} << 20, kSmallFilter = 64 * 64;
  const std::int64_t taps = problem.r * problem.s, products = problem.c * problem.k;
  if (products * taps >= kLargeFilter) return true;
  return products >= kSmallFilter && (problem.stride_h > 1 || problem.stride_w > 1 || (accumulate && taps == 1));
}

void amx_data_gradient(const simd::AmxKernels& kernels, int threads, const ConvProblem& problem, const bf16* dy,
                       const bf16* filter, bf16* dx, bool accumulate) {
  DataGradient(kernels, threads, problem, dy, filter, dx, accumulate).run();
}

}  // namespace lockstep
