// The data gradient on AMX tiles: against the f64 reference, one rounding only, the same bits for any number of threads.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/amx_data_gradient.h"
#include "cpu/fast/amx_dispatch.h"
#include "ops/conv2d.h"
#include "tests/cpu/bf16_test_util.h"

namespace lockstep {
namespace {

struct Case {
  Shape x, w;
  Conv2dParams params = {};
};

// Strides with and without pixels that no tap reaches, more filters than one chunk (512) and more pixels than one block (256),
// partial panels (32), pixels of x that the last window does not reach, dilation that skips classes.
std::vector<Case> cases() {
  return {{{2, 64, 17, 17}, {64, 64, 1, 1}},
          {{2, 33, 15, 15}, {70, 33, 1, 1}, {.stride = {2, 2}}},
          {{1, 48, 9, 9}, {550, 48, 1, 1}, {.stride = {2, 2}}},
          {{2, 40, 9, 9}, {20, 40, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{2, 17, 8, 8}, {33, 17, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{2, 17, 7, 7}, {33, 17, 3, 3}, {.pad = {1, 1}}},
          {{1, 3, 21, 21}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}},
          {{1, 1, 1, 1}, {1, 1, 1, 1}},
          {{1, 5, 1, 1}, {7, 5, 3, 3}, {.pad = {1, 1}}},
          {{2, 10, 8, 11}, {13, 10, 3, 2}, {.stride = {2, 1}, .pad = {1, 0}}},
          {{2, 17, 12, 12}, {33, 17, 3, 3}, {.stride = {2, 2}, .pad = {2, 2}, .dilation = {2, 2}}},
          {{1, 8, 15, 9}, {24, 8, 5, 3}, {.stride = {3, 2}, .pad = {2, 1}, .dilation = {1, 2}}},
          {{1, 8, 2, 2}, {8, 8, 1, 1}, {.stride = {3, 3}}}};
}

ConvProblem problem_of(const Shape& x, const Shape& w, const Conv2dParams& params) {
  return bf16_problem(ConvPass::kBackwardData, x, w, params);
}

class AmxData : public AmxTest {
 protected:
  Tensor gradient(const Case& a, const Tensor& dy, const Tensor& w, const Tensor& start, bool accumulate, int threads = 1) {
    Tensor dx = start.clone();
    amx_data_gradient(*kernels_, threads, problem_of(a.x, a.w, a.params), dy.host<bf16>().data(), w.host<bf16>().data(),
                      dx.host<bf16>().data(), accumulate);
    return dx;
  }
};

TEST_F(AmxData, MatchesTheReferenceWithOneRounding) {
  for (const Case& a : cases())
    for (const bool accumulate : {false, true}) {
      const Tensor dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 1), w = random_bf16(a.w, 2), start = random_bf16(a.x, 3);
      const Tensor dx = gradient(a, dy, w, start, accumulate);
      const GradMode mode = accumulate ? GradMode::kAccumulate : GradMode::kOverwrite;
      Tensor want = exact(start), size = exact_magnitudes(start);
      reference_->conv2d_backward_data(kStream, exact(dy), exact(w), a.params, want, mode);
      reference_->conv2d_backward_data(kStream, exact_magnitudes(dy), exact_magnitudes(w), a.params, size, mode);
      expect_bf16_close("amx data " + a.x.str() + a.w.str(), dx, want, size, a.w[0] * a.w[2] * a.w[3] + 1);
    }
}

TEST_F(AmxData, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const Case& a : cases()) {
    const Tensor dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 1), w = random_bf16(a.w, 2), start = random_bf16(a.x, 3);
    const Tensor one = gradient(a, dy, w, start, true);
    EXPECT_TRUE(same_bits(one, gradient(a, dy, w, start, true))) << "two calls differ, " << a.x.str() << a.w.str();
#if !defined(__SANITIZE_THREAD__)
    for (const int threads : {2, 3})
      EXPECT_TRUE(same_bits(one, gradient(a, dy, w, start, true, threads))) << threads << " threads, " << a.x.str() << a.w.str();
#endif
  }
}

// Overwriting must not look at what was there, where no tap reaches neither.
TEST_F(AmxData, ReplacesNaN) {
  for (const Case& a : cases()) {
    const Tensor dy = random_bf16(conv2d_shape(a.x, a.w, a.params), 1), w = random_bf16(a.w, 2);
    Tensor nan = random_bf16(a.x, 3);
    for (bf16& value : nan.host<bf16>()) value = bf16(std::nanf(""));
    const Tensor dx = gradient(a, dy, w, nan, false);
    for (const bf16 value : dx.host<bf16>()) ASSERT_FALSE(std::isnan(static_cast<float>(value))) << a.x.str() << a.w.str();
  }
}

// Bits of the rounding: ties, infinities, overflow and NaN as core/dtype.h rounds them.
TEST_F(AmxData, RoundsAsDtypeDoes) {
  const std::uint32_t patterns[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7f800001,
                                    0x7fffffff, 0x00000001, 0x80018000, 0x00000000, 0x80000000, 0x42f6e979, 0xc2f6e979, 0x7fc00000};
  float sums[16];
  std::uint16_t got[16] = {};
  for (std::size_t i = 0; i < 16; ++i) sums[i] = std::bit_cast<float>(patterns[i]);
  std::uint16_t* row = got;
  kernels_->round({sums, 16, &row, 1, 16, false});
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(got[i], bf16(sums[i]).bits) << std::hex << patterns[i];
}

TEST_F(AmxData, TakesBf16DataGradientsOfOneGroupOnly) {
  ConvProblem problem{.pass = ConvPass::kBackwardData, .dtype = DType::kBF16};
  EXPECT_TRUE(amx_data_supports(problem));
  problem.groups = 2;
  EXPECT_FALSE(amx_data_supports(problem));
  EXPECT_FALSE(amx_data_supports({.pass = ConvPass::kBackwardData}));
  EXPECT_FALSE(amx_data_supports({.pass = ConvPass::kForward, .dtype = DType::kBF16}));
}

}  // namespace
}  // namespace lockstep
