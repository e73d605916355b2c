// Depthwise convolutions of the fast backend, f32 and bf16, against the f64 reference: kernels with code of their own and others,
// strides, pads as wide as the filter, rows shorter than a run, channels off any vector width, sums over several segments.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/depthwise_conv.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

// The backend leaves some to oneDNN: our own kernels are called as well.
class FastDepthwise : public FastBackend {
 protected:
  // call(own kernels, output) with one thread and with three, on copies of `start`: the same bits. Returns the result.
  Tensor run_own(const Tensor& start, const std::function<void(const DepthwiseConv&, Tensor&)>& call) {
    const SimdSetting setting(GetParam());
    Tensor one = start.clone(), three = start.clone();
    call(DepthwiseConv(select_simd_kernels(), 1), one);
    call(DepthwiseConv(select_simd_kernels(), kManyThreads == 1 ? 1 : 3), three);
    EXPECT_TRUE(same_bits(one, three)) << "one thread and three threads differ";
    return one;
  }
};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastDepthwise, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

struct DepthwiseCase {
  Shape x;
  Pair kernel, stride, pad;
  Conv2dParams params() const { return {.stride = stride, .pad = pad, .groups = static_cast<int>(x[1])}; }
  Shape filter() const { return {x[1], 1, kernel.h, kernel.w}; }
  Shape y() const { return conv2d_shape(x, filter(), params()); }
  ConvProblem problem(ConvPass pass, DType dtype) const {
    return {.pass = pass, .n = x[0], .c = x[1], .h = x[2], .w = x[3], .k = x[1], .r = kernel.h, .s = kernel.w, .p = y()[2], .q = y()[3],
            .stride_h = stride.h, .stride_w = stride.w, .pad_h = pad.h, .pad_w = pad.w, .groups = x[1], .dtype = dtype};
  }
  std::int64_t taps() const { return std::int64_t{kernel.h} * kernel.w; }
  std::string text() const { return x.str() + " filter " + filter().str() + " stride " + std::to_string(stride.h) + "x" + std::to_string(stride.w); }
};

std::vector<DepthwiseCase> cases() {
  return {{{2, 32, 14, 14}, {3, 3}, {1, 1}, {1, 1}},  {{2, 40, 15, 13}, {3, 3}, {2, 2}, {1, 1}}, {{1, 17, 9, 11}, {5, 5}, {1, 1}, {2, 2}},
          {{1, 70, 12, 9}, {5, 5}, {2, 2}, {2, 2}},   {{1, 5, 8, 10}, {7, 3}, {1, 1}, {3, 1}},   {{1, 24, 7, 9}, {3, 5}, {2, 1}, {1, 2}},
          {{2, 19, 6, 7}, {2, 4}, {3, 2}, {1, 0}},    {{1, 3, 1, 1}, {3, 3}, {1, 1}, {1, 1}},    {{1, 8, 2, 3}, {3, 3}, {1, 1}, {3, 3}},
          {{1, 48, 3, 4}, {3, 3}, {2, 2}, {2, 2}},    {{1, 33, 5, 21}, {3, 3}, {1, 1}, {0, 0}},  {{1, 2, 11, 11}, {11, 11}, {1, 1}, {5, 5}},
          {{1, 16, 9, 40}, {3, 3}, {2, 2}, {0, 0}}};
}

TEST_P(FastDepthwise, ForwardWithAndWithoutBias) {
  for (const DType dtype : kActivationTypes)
    for (const DepthwiseCase& c : cases())
      for (const bool biased : {false, true}) {
        const Tensor x = random_tensor(c.x, 1, -1, 1, dtype), w = random_tensor(c.filter(), 2, -1, 1, dtype), b = random_tensor({c.x[1]}, 3);
        const auto bias = [&](const Tensor& values) { return biased ? ConstView(values) : ConstView{}; };
        const Tensor y = run(filled(c.y(), 5, dtype), [&](Kernels& k, Tensor& out) { k.conv2d_forward(kStream, x, w, bias(b), c.params(), out); });
        Tensor want = widened(y), size = widened(y);
        const Tensor wide_b = widened(b), b_size = magnitudes(b);
        reference_->conv2d_forward(kStream, widened(x), widened(w), bias(wide_b), c.params(), want);
        reference_->conv2d_forward(kStream, magnitudes(x), magnitudes(w), bias(b_size), c.params(), size);
        expect_close("forward " + c.text(), y, want, size, c.taps() + 1);
        const Tensor own = run_own(filled(c.y(), 5, dtype), [&](const DepthwiseConv& conv, Tensor& out) {
          conv.forward(c.problem(ConvPass::kForward, dtype), x.ptr(), w.ptr(), biased ? b.host<float>().data() : nullptr, out.ptr());
        });
        expect_close("own forward " + c.text(), own, want, size, c.taps() + 1);
      }
}

TEST_P(FastDepthwise, BackwardData) {
  for (const DType dtype : kActivationTypes)
    for (const DepthwiseCase& c : cases())
      for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
        const Tensor start = random_tensor(c.x, 1, -1, 1, dtype), w = random_tensor(c.filter(), 2, -1, 1, dtype);
        const Tensor dy = random_tensor(c.y(), 3, -1, 1, dtype);
        const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_data(kStream, dy, w, c.params(), out, mode); });
        Tensor want = widened(start), size = magnitudes(start);
        reference_->conv2d_backward_data(kStream, widened(dy), widened(w), c.params(), want, mode);
        reference_->conv2d_backward_data(kStream, magnitudes(dy), magnitudes(w), c.params(), size, mode);
        expect_close("data " + c.text(), dx, want, size, c.taps() + 1);
        const Tensor own = run_own(start, [&](const DepthwiseConv& conv, Tensor& out) {
          conv.backward_data(c.problem(ConvPass::kBackwardData, dtype), dy.ptr(), w.ptr(), out.ptr(), mode == GradMode::kAccumulate);
        });
        expect_close("own data " + c.text(), own, want, size, c.taps() + 1);
      }
}

TEST_P(FastDepthwise, BackwardFilter) {
  for (const DType dtype : kActivationTypes)
    for (const DepthwiseCase& c : cases())
      for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
        const Tensor x = random_tensor(c.x, 1, -1, 1, dtype), dy = random_tensor(c.y(), 3, -1, 1, dtype), start = random_tensor(c.filter(), 2);
        const Tensor dw = run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_filter(kStream, x, dy, c.params(), out, mode); });
        Tensor want = widened(start), size = magnitudes(start);
        reference_->conv2d_backward_filter(kStream, widened(x), widened(dy), c.params(), want, mode);
        reference_->conv2d_backward_filter(kStream, magnitudes(x), magnitudes(dy), c.params(), size, mode);
        expect_close("filter " + c.text(), dw, want, size, dy.numel() / c.x[1] + 1);
      }
}

// More than 2^21 elements are cut into segments, whose sums are added in order.
TEST_P(FastDepthwise, BackwardFilterInSegments) {
  const DepthwiseCase c{{3, 64, 112, 100}, {3, 3}, {1, 1}, {1, 1}};
  const Tensor x = random_tensor(c.x, 1), dy = random_tensor(c.y(), 3), start = random_tensor(c.filter(), 2);
  const Tensor dw =
      run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_filter(kStream, x, dy, c.params(), out, GradMode::kOverwrite); });
  Tensor want = widened(start), size = magnitudes(start);
  reference_->conv2d_backward_filter(kStream, widened(x), widened(dy), c.params(), want, GradMode::kOverwrite);
  reference_->conv2d_backward_filter(kStream, magnitudes(x), magnitudes(dy), c.params(), size, GradMode::kOverwrite);
  expect_close("filter " + c.text(), dw, want, size, dy.numel() / c.x[1] + 1);
}

// A pixel that no window reads (the last ones of a stride) reaches no result, whatever it holds.
TEST_P(FastDepthwise, UnreadPixelsAreNotMultiplied) {
  const DepthwiseCase c{{1, 16, 6, 12}, {3, 3}, {2, 2}, {0, 0}};  // 2x5 windows see 5x11 pixels
  Tensor x = random_tensor(c.x, 1), dw = filled(c.filter(), 0);
  for (std::int64_t h = 0; h < 6; ++h)
    for (std::int64_t channel = 0; channel < 16; ++channel) set_value(x, static_cast<std::size_t>((h * 12 + 11) * 16 + channel), NAN);
  fast_->conv2d_backward_filter(kStream, x, random_tensor(c.y(), 2), c.params(), dw, GradMode::kOverwrite);
  for (std::size_t i = 0; i < static_cast<std::size_t>(dw.numel()); ++i) EXPECT_FALSE(std::isnan(value_of(dw, i))) << i;
}

// No input, no output, and a filter gradient of zeros.
TEST_P(FastDepthwise, NoImages) {
  const DepthwiseCase c{{0, 16, 8, 8}, {3, 3}, {1, 1}, {1, 1}};
  Tensor x = filled(c.x, 0), w = filled(c.filter(), 1), y = filled(c.y(), 0), dw = filled(c.filter(), 7);
  fast_->conv2d_forward(kStream, x, w, {}, c.params(), y);
  fast_->conv2d_backward_data(kStream, y, w, c.params(), x, GradMode::kOverwrite);
  fast_->conv2d_backward_filter(kStream, x, y, c.params(), dw, GradMode::kOverwrite);
  EXPECT_TRUE(same_bits(dw, filled(c.filter(), 0)));
}

}  // namespace
}  // namespace lockstep
