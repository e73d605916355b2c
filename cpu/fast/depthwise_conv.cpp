// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/depthwise_conv.h"

#include <algorithm>
#include <bit>

#include "core/tensor.h"
#include "cpu/fast/fast_backend.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

std::int64_t padded_channels(std::int64_t channels) { return (channels + 31) / 32 * 32; }

simd::Pool geometry(const ConvProblem& a) {
  const auto narrow = [](std::int64_t value) { return static_cast<int>(value); };
  return {.h = a.h, .w = a.w, .c = a.c, .p = a.p, .q = a.q, .kernel_h = narrow(a.r), .kernel_w = narrow(a.s),
          .stride_h = narrow(a.stride_h), .stride_w = narrow(a.stride_w), .pad_h = narrow(a.pad_h), .pad_w = narrow(a.pad_w),
          .count_include_pad = false};
}

// With stride 1 the data gradient is a convolution of dy with the filter turned round.
bool is_convolution(const ConvProblem& a) { return a.stride_h == 1 && a.stride_w == 1 && a.pad_h < a.r && a.pad_w < a.s; }

simd::Pool turned_geometry(const ConvProblem& a) {
  simd::Pool at = geometry(a);
  std::swap(at.h, at.p);
  std::swap(at.w, at.q);
  at.pad_h = at.kernel_h - 1 - at.pad_h;
  at.pad_w = at.kernel_w - 1 - at.pad_w;
  return at;
}

float number(float value) { return value; }
float number(simd::bf16_word word) { return std::bit_cast<float>(static_cast<std::uint32_t>(word) << 16); }

// Tables for the vector kernels: taps in order, or from the last to the first.
template <class T>
class TapTables {
 public:
  TapTables(const ConvProblem& a, std::int64_t lanes, const void* filter, bool turned, const float* bias = nullptr)
      : width_(padded_channels(a.c)), taps_(a.r * a.s), lanes_(lanes), memory_(Tensor::zeros({taps_ + 1, width_}, DType::kF32)) {
    const T* from = static_cast<const T*>(filter);
    for (std::int64_t t = 0; t < taps_; ++t)
      fill(t, a.c, [&](std::int64_t c) { return number(from[c * taps_ + (turned ? taps_ - 1 - t : t)]); });
    if (bias != nullptr) fill(taps_, a.c, [&](std::int64_t c) { return bias[c]; });
  }
  const float* filter() const { return static_cast<const float*>(memory_.ptr()); }
  const float* bias() const { return filter() + taps_ * width_; }
  std::int64_t width() const { return width_; }

 private:
  // bf16: of each 2 * lanes channels first the even ones (simd/unit.inl).
  template <class Value>
  void fill(std::int64_t i, std::int64_t channels, const Value& value) {
    float* to = static_cast<float*>(memory_.ptr()) + i * width_;
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t in_unit = c % (2 * lanes_);
      to[sizeof(T) == 4 ? c : c - in_unit + in_unit % 2 * lanes_ + in_unit / 2] = value(c);
    }
  }

  std::int64_t width_, taps_, lanes_;
  Tensor memory_;
};

constexpr std::int64_t kSegmentElements = std::int64_t{1} << 20, kMaxSegments = 16;

std::int64_t rows_per_chunk(std::int64_t row_elements) { return std::max<std::int64_t>(1, kChunk / std::max<std::int64_t>(1, row_elements)); }

}  // namespace

bool DepthwiseConv::can_run(const ConvProblem& a) {
  return (a.dtype == DType::kF32 || a.dtype == DType::kBF16) && a.groups > 1 && a.c == a.groups && a.k == a.groups && a.dilation_h == 1 &&
         a.dilation_w == 1 && a.r <= 11 && a.s <= 11;
}

// In f32 with 3x3 filters oneDNN's forward pass takes 0.63 to 0.87 of our time on maps from 112 to 7 pixels wide, its data gradient 0.66
// on 14 and 0.96 to 1.9 on others. All else stays here: oneDNN takes 0.5 (3x3 filter gradient, bf16, 7 pixels) to 36 times as long (5x5
// filter gradients).
bool DepthwiseConv::wins(const ConvProblem& a, bool accumulate) const {
  if (!can_run(a)) return false;
  const bool small_filter = a.dtype == DType::kF32 && a.r == 3 && a.s == 3 && simd_.lanes == 16;
  if (small_filter && a.pass == ConvPass::kForward) return false;
  const bool library_data = small_filter && a.pass == ConvPass::kBackwardData && a.stride_h == 1 && a.w > 8 && a.w <= 20;
  return accumulate || !library_data;
}

void DepthwiseConv::forward(const ConvProblem& a, const void* x, const void* filter, const float* bias, void* y) const {
  with_storage(a.dtype, [&]<class T>() {
    const TapTables<T> tables(a, simd_.lanes, filter, false, bias);
    const simd::Depthwise<T> work{.at = geometry(a), .width = tables.width(), .x = static_cast<const T*>(x), .filter = tables.filter(),
                                  .bias = bias != nullptr ? tables.bias() : nullptr, .y = static_cast<T*>(y), .accumulate = false};
    parallel_chunks(threads_, a.n * a.p, rows_per_chunk(a.q * a.c),
                    [&](auto begin, auto end) { simd_.typed<T>().depthwise(work, begin, end); });
  });
}

void DepthwiseConv::backward_data(const ConvProblem& a, const void* dy, const void* filter, void* dx, bool accumulate) const {
  with_storage(a.dtype, [&]<class T>() {
    const bool convolution = is_convolution(a);
    const TapTables<T> tables(a, simd_.lanes, filter, convolution);
    const simd::Depthwise<T> work{.at = convolution ? turned_geometry(a) : geometry(a), .width = tables.width(),
                                  .x = static_cast<const T*>(dy), .filter = tables.filter(), .bias = nullptr, .y = static_cast<T*>(dx),
                                  .accumulate = accumulate};
    const auto& kernels = simd_.typed<T>();
    parallel_chunks(threads_, a.n * a.h, rows_per_chunk(a.w * a.c), [&](auto begin, auto end) {
      return convolution ? kernels.depthwise(work, begin, end) : kernels.depthwise_backward(work, begin, end);
    });
  });
}

// Segments of rows, cut by size alone; their double sums are added in order.
void DepthwiseConv::backward_filter(const ConvProblem& a, const void* x, const void* dy, float* dfilter, bool accumulate) const {
  const std::int64_t rows = a.n * a.p, taps = a.r * a.s, width = padded_channels(a.c), size = taps * width;
  const std::int64_t wanted = std::clamp<std::int64_t>(rows * a.q * a.c / kSegmentElements, 1, kMaxSegments);
  const std::int64_t rows_each = std::max<std::int64_t>(1, (rows + wanted - 1) / wanted), segments = (rows + rows_each - 1) / rows_each;
  Tensor sums = Tensor::empty({segments, size}, DType::kF64), scratch = Tensor::empty({segments, size}, DType::kF32);
  const auto sums_of = [&](std::int64_t segment) { return static_cast<double*>(sums.ptr()) + segment * size; };
  with_storage(a.dtype, [&]<class T>() {
    parallel_for(threads_, segments, [&](std::int64_t i) {
      simd_.typed<T>().depthwise_filter({.at = geometry(a), .width = width, .x = static_cast<const T*>(x), .dy = static_cast<const T*>(dy),
                                         .sums = sums_of(i), .scratch = static_cast<float*>(scratch.ptr()) + i * size},
                                        i * rows_each, std::min(rows, (i + 1) * rows_each));
    });
  });
  parallel_for(1, a.c, [&](std::int64_t c) {
    for (std::int64_t t = 0; t < taps; ++t) {
      double total = accumulate ? static_cast<double>(dfilter[c * taps + t]) : 0.0;
      for (std::int64_t i = 0; i < segments; ++i) total += sums_of(i)[t * width + c];
      dfilter[c * taps + t] = static_cast<float>(total);
    }
  });
}

}  // namespace lockstep
