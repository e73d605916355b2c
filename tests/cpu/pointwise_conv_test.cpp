// Our 1x1 convolutions on every instruction set: parity with the f64 reference, strides, accumulation, normalised reading,
// and the same bits for any number of threads.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "cpu/fast/pointwise_conv.h"
#include "cpu/fast/simd_dispatch.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

struct Case {
  std::int64_t n, c, h, w, k;
  int stride_h = 1, stride_w = 1;
};

// Channels around the panels' widths, pixels around the blocks of 192 and 256, odd sizes under strides.
std::vector<Case> cases() {
  return {{1, 1, 1, 1, 1},      {2, 3, 5, 7, 10},        {1, 64, 14, 14, 64},     {3, 65, 11, 9, 130},    {2, 48, 14, 15, 33},
          {1, 130, 16, 17, 20}, {2, 20, 9, 8, 17, 2, 2}, {3, 64, 15, 15, 70, 2, 2}, {2, 33, 8, 9, 5, 3, 1}, {1, 7, 10, 11, 9, 1, 2}};
}

class PointwiseConvolution : public ::testing::TestWithParam<std::string_view> {
 protected:
  // The layer's tensors, and the reference's result on their f64 copies.
  struct Layer {
    explicit Layer(const Case& c)
        : p((c.h - 1) / c.stride_h + 1), q((c.w - 1) / c.stride_w + 1), params{.stride = {c.stride_h, c.stride_w}},
          x(random_tensor({c.n, c.c, c.h, c.w}, 1)), w(random_tensor({c.k, c.c, 1, 1}, 2)), dy(random_tensor({c.n, c.k, p, q}, 3)),
          bias(random_tensor({c.k}, 4)), problem{.n = c.n, .c = c.c, .h = c.h, .w = c.w, .k = c.k, .p = p, .q = q,
                                                 .stride_h = c.stride_h, .stride_w = c.stride_w} {}
    std::int64_t p, q;
    Conv2dParams params;
    Tensor x, w, dy, bias;
    ConvProblem problem;
  };
  static float* data(const Tensor& tensor) { return static_cast<float*>(const_cast<Tensor&>(tensor).ptr()); }

  // `call` with 1, 2 and 3 threads on copies of `output`: the same bits.
  Tensor run(const Tensor& output, const std::function<void(const PointwiseConv&, Tensor&)>& call) {
    Tensor first = output.clone();
    call(PointwiseConv(select_simd_kernels(), 1), first);
    for (const int threads : {1, 2, 3}) {
      if (threads > kManyThreads && kManyThreads == 1) break;
      Tensor again = output.clone();
      call(PointwiseConv(select_simd_kernels(), threads), again);
      EXPECT_TRUE(same_bits(first, again)) << threads << " threads";
    }
    return first;
  }

  SimdSetting setting_{GetParam()};
  std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};
INSTANTIATE_TEST_SUITE_P(EachSimd, PointwiseConvolution, ::testing::ValuesIn(available_simd().begin(), available_simd().end()),
                         simd_name);

TEST_P(PointwiseConvolution, ForwardMatchesTheReference) {
  for (const Case& c : cases())
    for (const bool biased : {false, true}) {
      Layer a(c);
      const Tensor got = run(filled(a.dy.shape(), 9), [&](const PointwiseConv& conv, Tensor& y) {
        conv.forward(a.problem, data(a.x), {}, data(a.w), biased ? data(a.bias) : nullptr, data(y));
      });
      Tensor want = Tensor::empty(a.dy.shape(), DType::kF64), size = want.clone();
      Tensor bias = biased ? widened(a.bias) : Tensor(), bias_size = biased ? magnitudes(a.bias) : Tensor();
      reference_->conv2d_forward(kStream, widened(a.x), widened(a.w), bias, a.params, want);
      reference_->conv2d_forward(kStream, magnitudes(a.x), magnitudes(a.w), bias_size, a.params, size);
      expect_close("forward", got, want, size, c.c + 1);
    }
}

TEST_P(PointwiseConvolution, DataGradientMatchesTheReferenceAndAddsInPlace) {
  for (const Case& c : cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      Layer a(c);
      const Tensor before = random_tensor(a.x.shape(), 5);
      const Tensor got = run(before, [&](const PointwiseConv& conv, Tensor& dx) {
        conv.backward_data(a.problem, data(a.dy), data(a.w), data(dx), mode == GradMode::kAccumulate);
      });
      Tensor want = widened(before), size = magnitudes(before);
      reference_->conv2d_backward_data(kStream, widened(a.dy), widened(a.w), a.params, want, mode);
      reference_->conv2d_backward_data(kStream, magnitudes(a.dy), magnitudes(a.w), a.params, size, mode);
      expect_close("data gradient", got, want, size, c.k + 1);
    }
}

TEST_P(PointwiseConvolution, FilterGradientMatchesTheReferenceAndAddsInPlace) {
  for (const Case& c : cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      Layer a(c);
      const Tensor before = random_tensor(a.w.shape(), 5);
      const Tensor got = run(before, [&](const PointwiseConv& conv, Tensor& dw) {
        conv.backward_filter(a.problem, data(a.x), {}, data(a.dy), data(dw), mode == GradMode::kAccumulate);
      });
      Tensor want = widened(before), size = magnitudes(before);
      reference_->conv2d_backward_filter(kStream, widened(a.x), widened(a.dy), a.params, want, mode);
      reference_->conv2d_backward_filter(kStream, magnitudes(a.x), magnitudes(a.dy), a.params, size, mode);
      expect_close("filter gradient", got, want, size, c.n * a.p * a.q + 1);
    }
}

TEST_P(PointwiseConvolution, NormalisingWhileReadingGivesTheBitsOfNormalisingBefore) {
  const SimdSetting setting(GetParam());
  const auto fast = make_fast_kernels(1);
  for (const Case& c : cases()) {
    Layer a(c);
    Tensor mean = random_tensor({c.c}, 6), inv_std = random_tensor({c.c}, 7, 0.5f, 2), gamma = random_tensor({c.c}, 8),
           beta = random_tensor({c.c}, 9), normalised = Tensor::empty(a.x.shape(), DType::kF32);
    fast->batch_norm_apply(kStream, a.x, {mean, inv_std, gamma, beta}, {}, true, normalised, {});
    const PointwiseNorm norm{.mean = data(mean), .inv_std = data(inv_std), .gamma = data(gamma), .beta = data(beta)};
    const auto forward = [&](const Tensor& x, const PointwiseNorm& how) {
      return run(a.dy, [&](const PointwiseConv& conv, Tensor& y) { conv.forward(a.problem, data(x), how, data(a.w), nullptr, data(y)); });
    };
    const auto filter = [&](const Tensor& x, const PointwiseNorm& how) {
      return run(a.w, [&](const PointwiseConv& conv, Tensor& dw) {
        conv.backward_filter(a.problem, data(x), how, data(a.dy), data(dw), false);
      });
    };
    EXPECT_TRUE(same_bits(forward(a.x, norm), forward(normalised, {}))) << c.c << "->" << c.k;
    EXPECT_TRUE(same_bits(filter(a.x, norm), filter(normalised, {}))) << c.c << "->" << c.k;
    EXPECT_FALSE(same_bits(forward(a.x, {}), forward(normalised, {}))) << "the norm does nothing here";
  }
}

TEST_P(PointwiseConvolution, AWarmCallTakesNothingFromTheSystem) {
  Layer a({.n = 2, .c = 64, .h = 15, .w = 15, .k = 70, .stride_h = 2, .stride_w = 2});
  const PointwiseConv conv(select_simd_kernels(), 1);
  const auto all = [&] {
    conv.forward(a.problem, data(a.x), {}, data(a.w), data(a.bias), data(a.dy));
    conv.backward_data(a.problem, data(a.dy), data(a.w), data(a.x), false);
    conv.backward_filter(a.problem, data(a.x), {}, data(a.dy), data(a.w), true);
  };
  all();
  const auto allocations = cpu_pool().stats().system_allocations;
  all();
  EXPECT_EQ(cpu_pool().stats().system_allocations, allocations);
}

TEST(PointwiseConvolutionRule, OnlyPlainOneByOneFiltersInF32AreTaken) {
  const ConvProblem good{.n = 2, .c = 64, .h = 9, .w = 9, .k = 32, .p = 9, .q = 9};
  EXPECT_TRUE(PointwiseConv::can_run(good));
  for (const auto& spoil : std::vector<std::function<void(ConvProblem&)>>{
           [](ConvProblem& a) { a.r = 3; }, [](ConvProblem& a) { a.s = 3; }, [](ConvProblem& a) { a.groups = 2; },
           [](ConvProblem& a) { a.pad_h = 1; }, [](ConvProblem& a) { a.pad_w = 1; }, [](ConvProblem& a) { a.dtype = DType::kBF16; }}) {
    ConvProblem bad = good;
    spoil(bad);
    EXPECT_FALSE(PointwiseConv::can_run(bad));
    EXPECT_FALSE(PointwiseConv::wins(bad));
  }
}

}  // namespace
}  // namespace lockstep
