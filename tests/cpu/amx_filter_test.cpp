// The filter gradient on AMX tiles: against the f64 reference, the same bits for any number of threads, and its parts.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/amx_dispatch.h"
#include "cpu/fast/amx_filter_gradient.h"
#include "ops/conv2d.h"
#include "tests/cpu/bf16_test_util.h"

namespace lockstep {
namespace {

struct Case {
  Shape x, w;
  Conv2dParams params = {};
};

// More than one block of pixels (512), both sides as the packed one, partial panels (32) and steps (32), filter rows merged
// into one tap with and without padding, tiles of 16 rows, dilation, unequal strides and pads.
std::vector<Case> cases() {
  return {{{2, 64, 17, 17}, {64, 64, 1, 1}},
          {{2, 256, 17, 17}, {64, 256, 1, 1}},
          {{2, 64, 17, 17}, {256, 64, 1, 1}},
          {{2, 17, 7, 7}, {33, 17, 1, 1}, {.stride = {2, 2}}},
          {{3, 33, 7, 7}, {17, 33, 1, 1}, {.stride = {2, 2}}},
          {{2, 17, 7, 7}, {33, 17, 3, 3}, {.pad = {1, 1}}},
          {{4, 32, 13, 13}, {64, 32, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{3, 64, 14, 14}, {48, 64, 3, 3}, {.pad = {1, 1}}},
          {{2, 3, 45, 45}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}},
          {{3, 16, 9, 9}, {16, 16, 3, 3}, {.pad = {1, 1}}},
          {{3, 5, 9, 11}, {7, 5, 3, 3}},
          {{1, 1, 1, 1}, {1, 1, 1, 1}},
          {{1, 5, 1, 1}, {7, 5, 3, 3}, {.pad = {1, 1}}},
          {{2, 10, 8, 11}, {13, 10, 3, 2}, {.stride = {2, 1}, .pad = {1, 0}}},
          {{2, 17, 12, 12}, {33, 17, 3, 3}, {.pad = {2, 2}, .dilation = {2, 2}}},
          {{1, 8, 15, 9}, {24, 8, 5, 3}, {.stride = {3, 2}, .pad = {2, 1}, .dilation = {1, 2}}}};
}

ConvProblem problem_of(const Shape& x, const Shape& w, const Conv2dParams& params) {
  return bf16_problem(ConvPass::kBackwardFilter, x, w, params);
}

class AmxFilter : public AmxTest {
 protected:
  Tensor gradient(const Case& a, const Tensor& x, const Tensor& dy, const Tensor& start, bool accumulate, int threads = 1) {
    Tensor dw = start.clone();
    amx_filter_gradient(*kernels_, threads, problem_of(a.x, a.w, a.params), x.host<bf16>().data(), dy.host<bf16>().data(),
                        dw.host<float>().data(), accumulate);
    return dw;
  }
};

TEST_F(AmxFilter, MatchesTheReference) {
  for (const Case& a : cases())
    for (const bool accumulate : {false, true}) {
      const Shape y_shape = conv2d_shape(a.x, a.w, a.params);
      const Tensor x = random_bf16(a.x, 1), dy = random_bf16(y_shape, 2), start = random_tensor(a.w, 3);
      const Tensor dw = gradient(a, x, dy, start, accumulate);
      const GradMode mode = accumulate ? GradMode::kAccumulate : GradMode::kOverwrite;
      Tensor want = exact(start), size = exact_magnitudes(start);
      reference_->conv2d_backward_filter(kStream, exact(x), exact(dy), a.params, want, mode);
      reference_->conv2d_backward_filter(kStream, exact_magnitudes(x), exact_magnitudes(dy), a.params, size, mode);
      expect_bf16_close("amx " + a.x.str() + a.w.str(), dw, want, size, y_shape[0] * y_shape[2] * y_shape[3] + 1);
    }
}

TEST_F(AmxFilter, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const Case& a : cases()) {
    const Tensor x = random_bf16(a.x, 1), dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 2), start = random_tensor(a.w, 3);
    const Tensor one = gradient(a, x, dy, start, true);
    EXPECT_TRUE(same_bits(one, gradient(a, x, dy, start, true))) << "two calls differ, " << a.x.str() << a.w.str();
#if !defined(__SANITIZE_THREAD__)
    for (const int threads : {2, 3})
      EXPECT_TRUE(same_bits(one, gradient(a, x, dy, start, true, threads))) << threads << " threads, " << a.x.str() << a.w.str();
#endif
  }
}

// Sums of one block are tile sums of f32; a wrong pixel, tap or channel must show in integers that are exact.
TEST_F(AmxFilter, IsExactOnSmallIntegers) {
  for (const Case& a : cases()) {
    Tensor x = random_bf16(a.x, 1), dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 2);
    for (Tensor* tensor : {&x, &dy})
      for (bf16& value : tensor->host<bf16>()) value = bf16(std::round(static_cast<float>(value) * 4));
    const Tensor dw = gradient(a, x, dy, random_tensor(a.w, 3), false);
    Tensor want = exact(dw);
    reference_->conv2d_backward_filter(kStream, exact(x), exact(dy), a.params, want, GradMode::kOverwrite);
    const Tensor got = exact(dw);
    EXPECT_TRUE(same_bits(got, want)) << a.x.str() << a.w.str();
  }
}

TEST_F(AmxFilter, TakesNothingFromTheSystemWhenWarm) {
  const Case a = cases().front();
  const Tensor x = random_bf16(a.x, 1), dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 2);
  Tensor dw = random_tensor(a.w, 3);
  const auto call = [&] {
    amx_filter_gradient(*kernels_, 1, problem_of(a.x, a.w, a.params), x.host<bf16>().data(), dy.host<bf16>().data(),
                        dw.host<float>().data(), false);
  };
  call();
  const auto before = cpu_pool().stats().system_allocations;
  call();
  EXPECT_EQ(cpu_pool().stats().system_allocations, before);
}

TEST_F(AmxFilter, TakesBf16FilterGradientsOfOneGroupOnly) {
  ConvProblem problem{.pass = ConvPass::kBackwardFilter, .dtype = DType::kBF16};
  EXPECT_TRUE(amx_filter_supports(problem));
  problem.groups = 2;
  EXPECT_FALSE(amx_filter_supports(problem));
  EXPECT_FALSE(amx_filter_supports({.pass = ConvPass::kBackwardFilter}));
  EXPECT_FALSE(amx_filter_supports({.pass = ConvPass::kForward, .dtype = DType::kBF16}));
}

TEST(AmxDispatch, ObeysTheEnvironment) {
  const SimdSetting scalar("scalar");
  EXPECT_EQ(select_amx_kernels(), nullptr);
}

}  // namespace
}  // namespace lockstep
