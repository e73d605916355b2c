// What activations, local response norm, shuffled and shifted channels, adaptive pooling and pools that round up compute, against
// definitions written down a second time by logical index; what they refuse; what they leave out.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/activation.h"
#include "ops/adaptive_avg_pool.h"
#include "ops/avg_pool.h"
#include "ops/max_pool.h"
#include "ops/response_norm.h"
#include "ops/shift_channels.h"
#include "ops/shuffle_channels.h"
#include "ops/to_statistics.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

class ChannelOps : public ::testing::Test {
 protected:
  std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
  Context ctx_{.kernels = *kernels_};
};

// Element (n, c, h, w) of a channels-last tensor; 0 outside.
double at(const Tensor& t, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  const Shape& s = t.shape();
  return c < 0 || c >= s[1] || h < 0 || h >= s[2] || w < 0 || w >= s[3] ? 0.0 : get_value(t, ((n * s[2] + h) * s[3] + w) * s[1] + c);
}

// want(n, c, h, w) for every element of y, within as many f64 roundings as one element takes.
template <class Want>
void expect_elements(const Tensor& y, std::int64_t roundings, Want want) {
  for (std::int64_t n = 0; n < y.shape()[0]; ++n)
    for (std::int64_t c = 0; c < y.shape()[1]; ++c)
      for (std::int64_t h = 0; h < y.shape()[2]; ++h)
        for (std::int64_t w = 0; w < y.shape()[3]; ++w) {
          const double value = want(n, c, h, w);
          ASSERT_PRED3(within, at(y, n, c, h, w), value, 2 * error_bound(DType::kF64, roundings, std::fabs(value) + 1)) << n << c << h << w;
        }
}

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST_F(ChannelOps, ActivationsByHand) {
  const Tensor x = from_vector({7}, DType::kF64, {-2, -0.5, 0, 0.5, 2, 7, NAN});
  const auto values = [&](Activation function) { return to_vector(activation(ctx_, {x}, function).value); };
  const auto expect = [&](Activation function, std::vector<double> want) {
    const std::vector<double> got = values(function);
    for (std::size_t i = 0; i + 1 < got.size(); ++i) EXPECT_DOUBLE_EQ(got[i], want[i]) << activation_name(function.kind) << i;
    EXPECT_TRUE(std::isnan(got.back())) << activation_name(function.kind);
  };
  expect({Activation::Kind::kLeakyRelu, 0.1}, {-0.2, -0.05, 0, 0.5, 2, 7});
  expect({Activation::Kind::kTanh}, {std::tanh(-2), std::tanh(-0.5), 0, std::tanh(0.5), std::tanh(2), std::tanh(7)});
  expect({Activation::Kind::kSigmoid}, {1 / (1 + std::exp(2)), 1 / (1 + std::exp(0.5)), 0.5, 1 / (1 + std::exp(-0.5)),
                                        1 / (1 + std::exp(-2)), 1 / (1 + std::exp(-7))});
  expect({Activation::Kind::kThreshold, 0.5, -9}, {-9, -9, -9, -9, 2, 7});  // at the limit: the value
  expect({Activation::Kind::kClamp, -0.5, 6}, {-0.5, -0.5, 0, 0.5, 2, 6});
}

// torch.nn.functional.local_response_norm: alpha is divided by the size; an even window reaches further down.
TEST_F(ChannelOps, ResponseNormIsTheDefinition) {
  const Tensor x = random_tensor({2, 7, 3, 2}, DType::kF64, 1);
  for (const ResponseNorm& p : {ResponseNorm{.size = 5, .alpha = 3, .beta = 0.75, .k = 2}, ResponseNorm{.size = 4, .alpha = 2, .beta = 0.5},
                                ResponseNorm{.size = 1, .alpha = 1}, ResponseNorm{.size = 20, .alpha = 5}})
    expect_elements(response_norm(ctx_, {x}, p).value, 20, [&](auto n, auto c, auto h, auto w) {
      double sum = 0;
      for (std::int64_t j = c - p.size / 2; j < c - p.size / 2 + p.size; ++j) sum += at(x, n, j, h, w) * at(x, n, j, h, w);
      return at(x, n, c, h, w) / std::pow(p.k + p.alpha * sum / p.size, p.beta);
    });
}

TEST_F(ChannelOps, ShuffleIsATransposeAndItsInverseUndoesIt) {
  const Tensor x = random_tensor({2, 12, 2, 3}, DType::kF64, 1);
  for (const int groups : {1, 2, 3, 4, 12}) {
    const Var y = shuffle_channels(ctx_, {x}, groups);
    expect_elements(y.value, 0, [&](auto n, auto c, auto h, auto w) { return at(x, n, c % groups * (12 / groups) + c / groups, h, w); });
    EXPECT_EQ(to_vector(shuffle_channels(ctx_, y, 12 / groups).value), to_vector(x));
  }
}

TEST_F(ChannelOps, ShiftReadsEachDirectionOnceAndTheCentreLast) {
  const Tensor x = random_tensor({1, 20, 4, 3}, DType::kF64, 1);  // 2 channels a group, and 2 more for the centre
  const std::int64_t down[] = {-1, -1, -1, 0, 0, 1, 1, 1, 0}, right[] = {-1, 0, 1, -1, 1, -1, 0, 1, 0};
  expect_elements(shift_channels(ctx_, {x}, 3).value, 0, [&](auto n, auto c, auto h, auto w) {
    const std::int64_t group = std::min<std::int64_t>(c / 2, 8);
    return at(x, n, c, h + down[group], w + right[group]);
  });
}

TEST_F(ChannelOps, AdaptivePoolTakesTorchsWindows) {
  const Tensor x = random_tensor({2, 3, 5, 7}, DType::kF64, 1);
  for (const Pair output : {Pair{1, 1}, Pair{2, 3}, Pair{3, 4}, Pair{7, 9}})
    expect_elements(adaptive_avg_pool(ctx_, {x}, output).value, 40, [&](auto n, auto c, auto p, auto q) {
      const auto ratio = [](std::int64_t a, std::int64_t b) { return static_cast<double>(a) / static_cast<double>(b); };
      const auto floor_of = [&](std::int64_t a, std::int64_t b) { return static_cast<std::int64_t>(std::floor(ratio(a, b))); };
      const auto ceil_of = [&](std::int64_t a, std::int64_t b) { return static_cast<std::int64_t>(std::ceil(ratio(a, b))); };
      double sum = 0, count = 0;
      for (std::int64_t h = floor_of(p * 5, output.h); h < ceil_of((p + 1) * 5, output.h); ++h)
        for (std::int64_t w = floor_of(q * 7, output.w); w < ceil_of((q + 1) * 7, output.w); ++w, ++count) sum += at(x, n, c, h, w);
      return sum / count;
    });
}

// Sizes from torch's documentation of ceil_mode: a last window must begin in the image or in the padding before it.
TEST_F(ChannelOps, PoolsThatRoundUp) {
  const Pool2dParams googlenet{.kernel = {3, 3}, .stride = {2, 2}, .ceil = true};
  EXPECT_EQ(max_pool_shape({1, 1, 112, 57}, googlenet), (Shape{1, 1, 56, 28}));
  EXPECT_EQ(max_pool_shape({1, 1, 6, 4}, googlenet), (Shape{1, 1, 3, 2}));
  EXPECT_EQ(max_pool_shape({1, 1, 2, 2}, googlenet), (Shape{1, 1, 1, 1}));  // smaller than the window
  const Pool2dParams behind{.kernel = {2, 3}, .stride = {2, 3}, .pad = {1, 1}, .ceil = true};
  EXPECT_EQ(avg_pool_shape({1, 1, 5, 8}, behind), (Shape{1, 1, 3, 3}));  // 4 and 4 less one that begins behind the image
  EXPECT_EQ(refusal([&] { max_pool_shape({1, 1, 1, 4}, {.kernel = {3, 3}, .stride = {1, 1}, .ceil = true}); }),
            "max_pool: argument x: got height 1 with padding 0, want at least the window's reach of 3 pixels with both paddings");
}

TEST_F(ChannelOps, WindowsCutOffCountWhatIsThere) {
  const Tensor x = from_vector({1, 1, 1, 4}, DType::kF64, {1, 2, 4, 8});
  Pool2dParams params{.kernel = {1, 3}, .stride = {1, 2}, .pad = {0, 1}, .ceil = true};
  // Windows [pad 1 2], [2 4 8], and [8 pad] of which a third position lies beyond the padding.
  EXPECT_EQ(to_vector(avg_pool(ctx_, {x}, params).value), (std::vector<double>{1, 14.0 / 3, 4}));
  params.count_include_pad = false;
  EXPECT_EQ(to_vector(avg_pool(ctx_, {x}, params).value), (std::vector<double>{1.5, 14.0 / 3, 8}));
  EXPECT_EQ(to_vector(max_pool(ctx_, {x}, params).value), (std::vector<double>{2, 8, 8}));
}

TEST_F(ChannelOps, WhatChangesNothingIsLeftOut) {
  const Var x{random_tensor({1, 8, 2, 3}, DType::kF32, 1)};
  EXPECT_EQ(adaptive_avg_pool(ctx_, x, {2, 3}).value.ptr(), x.value.ptr());
  EXPECT_EQ(shuffle_channels(ctx_, x, 1).value.ptr(), x.value.ptr());
  EXPECT_EQ(shift_channels(ctx_, x, 3).value.ptr(), x.value.ptr()) << "8 channels, 9 directions: all are the centre's";
  EXPECT_EQ(to_statistics(ctx_, x).value.ptr(), x.value.ptr());
}

TEST_F(ChannelOps, Refusals) {
  const auto refused = [](Activation function) { return refusal([&] { check_activation(function); }); };
  EXPECT_EQ(refused({Activation::Kind::kLeakyRelu, 0}), "leaky_relu: argument slope: got 0.000000, want a finite number above 0");
  EXPECT_EQ(refused({Activation::Kind::kThreshold, NAN, 0}), "threshold: argument limit and value: got nan and 0.000000, want finite numbers");
  EXPECT_EQ(refused({Activation::Kind::kClamp, 6, 6}),
            "clamp: argument limits: got 6.000000 and 6.000000, want two finite numbers, the lower first");
  EXPECT_EQ(refusal([&] { activation(ctx_, {Tensor::zeros({2}, DType::kI32)}, {Activation::Kind::kTanh}); }),
            "tanh: argument x: got dtype i32, want a floating-point dtype");
  const Shape x{1, 6, 4, 4};
  EXPECT_EQ(refusal([&] { response_norm_shape(x, {.size = 0}); }), "response_norm: argument size: got 0, want at least 1 channel");
  EXPECT_EQ(refusal([&] { response_norm_shape(x, {.k = 0}); }), "response_norm: argument k: got 0.000000, want a finite number above 0");
  EXPECT_EQ(refusal([&] { response_norm_shape(x, {.beta = -1}); }),
            "response_norm: argument beta: got -1.000000, want a finite number, at least 0");
  EXPECT_EQ(refusal([&] { response_norm_shape({6, 4}, {}); }),
            "response_norm: argument x: got shape (6, 4), want (N, C, H, W) without empty axes after the first");
  EXPECT_EQ(refusal([&] { shuffle_channels_shape(x, 4); }), "shuffle_channels: argument groups: got 4, want a divisor of x's 6 channels");
  EXPECT_EQ(refusal([&] { shift_channels_shape(x, 2); }), "shift_channels: argument kernel: got 2, want an odd number, at least 1");
  EXPECT_EQ(refusal([&] { adaptive_avg_pool_shape(x, {0, 3}); }), "adaptive_avg_pool: argument output: got 0x3, want at least 1x1");
}

}  // namespace
}  // namespace lockstep
