// Our 1x1 convolutions on every instruction set: parity with the f64 reference, strides, accumulation, normalised reading,
// and the same bits for any number of threads.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "cpu/fast/pointwise_conv.h"
#include "cpu/fast/simd_dispatch.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

struct Case {
  std::int64_t n, c, h, w, k;
  int stride_h = 1, stride_w = 1;
  std::int64_t r = 1, s = 1;
  int pad_h = 0, pad_w = 0, dilation = 1;
};

// Channels around the panels' widths, pixels around the blocks of 192 and 256, odd sizes under strides.
std::vector<Case> cases() {
  return {{1, 1, 1, 1, 1},      {2, 3, 5, 7, 10},        {1, 64, 14, 14, 64},     {3, 65, 11, 9, 130},    {2, 48, 14, 15, 33},
          {1, 130, 16, 17, 20}, {2, 20, 9, 8, 17, 2, 2}, {3, 64, 15, 15, 70, 2, 2}, {2, 33, 8, 9, 5, 3, 1},
          {1, 7, 10, 11, 9, 1, 2}};
}

// For filter gradients.
std::vector<Case> windows() {
  return {{2, 20, 9, 8, 17, 2, 2, 3, 3, 1, 1}, {1, 130, 12, 11, 70, 2, 2, 3, 3, 1, 1}, {1, 3, 30, 28, 64, 2, 2, 7, 7, 3, 3},
          {2, 9, 12, 13, 10, 1, 2, 3, 2, 0, 2, 2}, {1, 2, 5, 4, 20, 1, 3, 2, 3, 1, 2}};
}

class PointwiseConvolution : public ::testing::TestWithParam<std::string_view> {
 protected:
  // The layer's tensors, and the reference's result on their f64 copies.
  struct Layer {
    explicit Layer(const Case& c)
        : params{.stride = {c.stride_h, c.stride_w}, .pad = {c.pad_h, c.pad_w}, .dilation = {c.dilation, c.dilation}},
          x(random_tensor({c.n, c.c, c.h, c.w}, 1)), w(random_tensor({c.k, c.c, c.r, c.s}, 2)),
          p(conv2d_shape(x.shape(), w.shape(), params)[2]), q(conv2d_shape(x.shape(), w.shape(), params)[3]),
          dy(random_tensor({c.n, c.k, p, q}, 3)), bias(random_tensor({c.k}, 4)),
          problem{.n = c.n, .c = c.c, .h = c.h, .w = c.w, .k = c.k, .r = c.r, .s = c.s, .p = p, .q = q, .stride_h = c.stride_h,
                  .stride_w = c.stride_w, .pad_h = c.pad_h, .pad_w = c.pad_w, .dilation_h = c.dilation, .dilation_w = c.dilation} {}
    Conv2dParams params;
    Tensor x, w;
    std::int64_t p, q;
    Tensor dy, bias;
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
  std::vector<Case> all = cases();
  for (const Case& c : windows()) all.push_back(c);
  for (const Case& c : all)
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

// More workers than column panels share the rows: what each gathers must still fit its own scratch.
TEST_P(PointwiseConvolution, FilterGradientsOfManyThreadsKeepToTheirScratch) {
  if (kManyThreads == 1) GTEST_SKIP() << "OpenMP's own synchronisation is invisible to the thread sanitizer";
  Layer a({2, 512, 28, 28, 1024, 2, 2});  // 8 panels, of which 4 fit the cache
  const auto gradient = [&](int threads) {
    Tensor dw = Tensor::empty(a.w.shape(), DType::kF32);
    PointwiseConv(select_simd_kernels(), threads).backward_filter(a.problem, data(a.x), {}, data(a.dy), data(dw), false);
    return dw;
  };
  EXPECT_TRUE(same_bits(gradient(1), gradient(9)));
}

struct Normalised {
  Normalised(Kernels& kernels, const Tensor& x) : c(x.shape()[1]), y(Tensor::empty(x.shape(), DType::kF32)) {
    kernels.batch_norm_apply(kStream, x, {mean, inv_std, gamma, beta}, {}, true, y, {});
  }
  ConvNorm norm() const {
    const auto data = [](const Tensor& tensor) { return tensor.host<float>().data(); };
    return {.mean = data(mean), .inv_std = data(inv_std), .gamma = data(gamma), .beta = data(beta)};
  }
  std::int64_t c;
  Tensor mean = random_tensor({c}, 6), inv_std = random_tensor({c}, 7, 0.5f, 2), gamma = random_tensor({c}, 8),
         beta = random_tensor({c}, 9), y;
};

TEST_P(PointwiseConvolution, NormalisingInTheForwardPassGivesTheBitsOfNormalisingBefore) {
  const auto fast = make_fast_kernels(1);
  for (const Case& c : cases()) {
    Layer a(c);
    const Normalised x(*fast, a.x);
    const auto forward = [&](const Tensor& from, const ConvNorm& how) {
      return run(a.dy, [&](const PointwiseConv& conv, Tensor& y) {
        conv.forward(a.problem, data(from), how, data(a.w), nullptr, data(y));
      });
    };
    EXPECT_TRUE(same_bits(forward(a.x, x.norm()), forward(x.y, {}))) << c.c << "->" << c.k;
    EXPECT_FALSE(same_bits(forward(a.x, {}), forward(x.y, {}))) << "the norm does nothing here";
  }
}

TEST_P(PointwiseConvolution, NormalisingInTheFilterGradientGivesTheBitsOfNormalisingBefore) {
  const auto fast = make_fast_kernels(1);
  std::vector<Case> all = cases();
  for (const Case& c : windows()) all.push_back(c);
  for (const Case& c : all) {
    Layer a(c);
    const Normalised x(*fast, a.x);
    const auto filter = [&](const Tensor& from, const ConvNorm& how) {
      return run(a.w, [&](const PointwiseConv& conv, Tensor& dw) {
        conv.backward_filter(a.problem, data(from), how, data(a.dy), data(dw), false);
      });
    };
    EXPECT_TRUE(same_bits(filter(a.x, x.norm()), filter(x.y, {}))) << c.c << "->" << c.k << " " << c.r << "x" << c.s;
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

TEST(PointwiseConvolutionRule, OnlyPlainOneByOneFiltersInF32AreTakenOrAnyFilterGradient) {
  const ConvProblem good{.n = 2, .c = 64, .h = 9, .w = 9, .k = 32, .p = 9, .q = 9};
  EXPECT_TRUE(PointwiseConv::can_run(good));
  for (const auto& spoil : std::vector<std::function<void(ConvProblem&)>>{
           [](ConvProblem& a) { a.r = 3; }, [](ConvProblem& a) { a.s = 3; }, [](ConvProblem& a) { a.groups = 2; },
           [](ConvProblem& a) { a.pad_h = 1; }, [](ConvProblem& a) { a.pad_w = 1; },
           [](ConvProblem& a) { a.dtype = DType::kBF16; }}) {
    ConvProblem bad = good;
    spoil(bad);
    EXPECT_FALSE(PointwiseConv::can_run(bad));
    bad.pass = ConvPass::kBackwardFilter;
    EXPECT_EQ(PointwiseConv::can_run(bad), bad.groups == 1 && bad.dtype == DType::kF32);
    bad.pass = ConvPass::kForward;
    EXPECT_FALSE(PointwiseConv(select_simd_kernels(), 1).wins(bad, true));
  }
}

TEST(PointwiseConvolutionRule, FewChannelsStayWithTheLibrary) {
  const PointwiseConv conv(select_simd_kernels(), 1);
  for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData, ConvPass::kBackwardFilter})
    for (const auto& [c, k] : {std::pair<std::int64_t, std::int64_t>{16, 64}, {64, 16}, {32, 32}})
      EXPECT_FALSE(conv.wins({.pass = pass, .n = 2, .c = c, .h = 9, .w = 9, .k = k, .p = 9, .q = 9}, true));
}

}  // namespace
}  // namespace lockstep
