// What the ops compute, against definitions written down a second time: by logical index, without any memory layout.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/flatten.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/normalise_image.h"
#include "ops/relu.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

class Forward : public ::testing::Test {
 protected:
  std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
  Context ctx_{.kernels = *kernels_};
};

// Element (n, c, h, w) of a channels-last tensor.
double at(const Tensor& t, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  const Shape& s = t.shape();
  return get_value(t, ((n * s[2] + h) * s[3] + w) * s[1] + c);
}

// The same with zeros around the image.
double padded(const Tensor& t, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  const Shape& s = t.shape();
  return h < 0 || h >= s[2] || w < 0 || w >= s[3] ? 0.0 : at(t, n, c, h, w);
}

struct ConvCase {
  Shape x, w;
  Conv2dParams params;
};

TEST_F(Forward, Conv2dIsTheDefiningSum) {
  const ConvCase cases[] = {
      {{2, 3, 5, 6}, {4, 3, 3, 3}, {.pad = {1, 1}}},
      {{1, 4, 9, 7}, {6, 2, 3, 2}, {.stride = {2, 3}, .pad = {2, 1}, .dilation = {1, 2}, .groups = 2}},
      {{2, 2, 8, 8}, {4, 1, 5, 1}, {.stride = {3, 1}, .pad = {0, 2}, .groups = 2}},
  };
  for (const ConvCase& test : cases) {
    const Tensor x = random_tensor(test.x, DType::kF64, 1), w = random_tensor(test.w, DType::kF64, 2);
    const Var bias{random_tensor({test.w[0]}, DType::kF64, 3)};
    const Tensor y = conv2d(ctx_, {x}, {w}, test.params, &bias).value;
    const Conv2dParams& p = test.params;
    const std::int64_t per_group = test.w[0] / p.groups, channels = test.w[1];
    for (std::int64_t n = 0; n < y.shape()[0]; ++n)
      for (std::int64_t k = 0; k < y.shape()[1]; ++k)
        for (std::int64_t i = 0; i < y.shape()[2]; ++i)
          for (std::int64_t j = 0; j < y.shape()[3]; ++j) {
            double sum = get_value(bias.value, k), magnitude = std::fabs(sum);
            for (std::int64_t c = 0; c < channels; ++c)
              for (std::int64_t r = 0; r < test.w[2]; ++r)
                for (std::int64_t s = 0; s < test.w[3]; ++s) {
                  const double term = at(w, k, c, r, s) * padded(x, n, k / per_group * channels + c,
                                                                 i * p.stride.h - p.pad.h + r * p.dilation.h,
                                                                 j * p.stride.w - p.pad.w + s * p.dilation.w);
                  sum += term;
                  magnitude += std::fabs(term);
                }
            const double bound = 2 * error_bound(DType::kF64, channels * test.w[2] * test.w[3] + 1, magnitude);
            ASSERT_PRED3(within, at(y, n, k, i, j), sum, bound) << n << " " << k << " " << i << " " << j;
          }
  }
}

TEST_F(Forward, Conv2dByHand) {
  // x (1,1,2,3) = 1 2 3 / 4 5 6, w (1,1,2,2) = 1 2 / 3 4: cross-correlation, not convolution.
  const Tensor x = from_vector({1, 1, 2, 3}, DType::kF32, {1, 2, 3, 4, 5, 6});
  const Tensor w = from_vector({1, 1, 2, 2}, DType::kF32, {1, 2, 3, 4});
  EXPECT_EQ(to_vector(conv2d(ctx_, {x}, {w}).value), (std::vector<double>{37, 47}));
}

TEST_F(Forward, Conv2dGroupsDoNotMix) {
  const Tensor x = from_vector({1, 2, 1, 1}, DType::kF64, {3, 5});
  const Tensor w = from_vector({2, 1, 1, 1}, DType::kF64, {10, 100});
  EXPECT_EQ(to_vector(conv2d(ctx_, {x}, {w}, {.groups = 2}).value), (std::vector<double>{30, 500}));
}

TEST_F(Forward, FloatStorageRoundsOnce) {
  // 1 + 2^-24 + ... : a float accumulator would lose every small term, a double one loses none.
  std::vector<double> ones(1025, 0x1p-24);
  ones[0] = 1;
  const Tensor x = from_vector({1, 1025}, DType::kF32, ones);
  const Tensor w = from_vector({1, 1025}, DType::kF32, std::vector<double>(1025, 1.0));
  EXPECT_EQ(to_vector(linear(ctx_, {x}, {w}).value)[0], 1 + 1024 * 0x1p-24);
}

TEST_F(Forward, LinearByHand) {
  const Tensor x = from_vector({2, 2}, DType::kF64, {1, 2, 3, 4});
  const Tensor w = from_vector({3, 2}, DType::kF64, {1, 0, 0, 1, 1, 1});
  const Var bias{from_vector({3}, DType::kF64, {10, 20, 30})};
  EXPECT_EQ(to_vector(linear(ctx_, {x}, {w}, &bias).value), (std::vector<double>{11, 22, 33, 13, 24, 37}));
}

TEST_F(Forward, MaxPoolIgnoresPaddingAndTakesTheFirstOfEqualValues) {
  const Tensor x = from_vector({1, 1, 2, 3}, DType::kF64, {-1, -1, -4, -2, -1, -5});
  const Pool2dParams params{.kernel = {2, 2}, .stride = {1, 2}, .pad = {1, 1}};
  Tensor indices = Tensor::empty({1, 1, 3, 2}, DType::kU8), y = Tensor::empty({1, 1, 3, 2}, DType::kF64);
  kernels_->max_pool_forward({}, x, params, y, indices);
  EXPECT_EQ(to_vector(y), (std::vector<double>{-1, -1, -1, -1, -2, -1}));
  EXPECT_EQ(to_vector(indices), (std::vector<double>{3, 2, 1, 0, 1, 0}));
  EXPECT_EQ(to_vector(max_pool(ctx_, {x}, params).value), to_vector(y));
}

TEST_F(Forward, AvgPoolCountsPaddingOnlyIfAsked) {
  const Tensor x = from_vector({1, 1, 2, 2}, DType::kF64, {4, 8, 12, 16});
  Pool2dParams params{.kernel = {2, 2}, .stride = {2, 2}, .pad = {1, 1}};
  EXPECT_EQ(to_vector(avg_pool(ctx_, {x}, params).value), (std::vector<double>{1, 2, 3, 4}));
  params.count_include_pad = false;
  EXPECT_EQ(to_vector(avg_pool(ctx_, {x}, params).value), (std::vector<double>{4, 8, 12, 16}));
}

TEST_F(Forward, GlobalAvgPoolIsTheMeanOfEachChannel) {
  const Tensor x = from_vector({1, 2, 1, 2}, DType::kF64, {1, 10, 3, 30});  // channels last
  EXPECT_EQ(to_vector(global_avg_pool(ctx_, {x}).value), (std::vector<double>{2, 20}));
}

TEST_F(Forward, ConcatJoinsChannels) {
  const std::array<Var, 2> inputs{Var{from_vector({1, 1, 1, 2}, DType::kF64, {1, 2})},
                                  Var{from_vector({1, 2, 1, 2}, DType::kF64, {3, 4, 5, 6})}};
  const Tensor y = concat(ctx_, inputs).value;
  EXPECT_EQ(y.shape(), (Shape{1, 3, 1, 2}));
  EXPECT_EQ(to_vector(y), (std::vector<double>{1, 3, 4, 2, 5, 6}));
}

TEST_F(Forward, FlattenSharesMemory) {
  const Tensor x = random_tensor({2, 3, 2, 2}, DType::kF64, 1);
  const Tensor y = flatten(ctx_, {x}).value;
  EXPECT_EQ(y.shape(), (Shape{2, 12}));
  EXPECT_EQ(y.ptr(), x.ptr());
}

TEST_F(Forward, NormaliseImageMatchesTheFormulaForEveryByte) {
  Tensor bytes = Tensor::empty({1, 2, 16, 16}, DType::kU8);
  for (std::int64_t i = 0; i < bytes.numel(); ++i) set_value(bytes, i, static_cast<double>(i / 2));
  const std::array<float, 2> mean{0.5f, 0.25f}, std{0.25f, 0.2f};
  const Tensor y = normalise_image(ctx_, bytes, mean, std, DType::kF64);
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const auto c = static_cast<std::size_t>(i % 2);
    const double want = (static_cast<double>(i / 2) / 255 - static_cast<double>(mean[c])) / static_cast<double>(std[c]);
    // 1 / std is a float, and so is what the op is told
    EXPECT_PRED3(within, get_value(y, i), want, error_bound(DType::kF32, 1, std::fabs(want)));
  }
}

TEST_F(Forward, NanAndInfinityAreNotHidden) {
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const Tensor x = from_vector({1, 1, 2, 2}, DType::kF64, {1, nan, -inf, inf});
  const std::vector<double> r = to_vector(relu(ctx_, {x}).value);
  EXPECT_TRUE(r[0] == 1 && std::isnan(r[1]) && r[2] == 0 && r[3] == inf);
  EXPECT_TRUE(std::isnan(to_vector(max_pool(ctx_, {x}, {}).value)[0]));
  EXPECT_TRUE(std::isnan(to_vector(global_avg_pool(ctx_, {x}).value)[0]));
  const Tensor w = from_vector({1, 1, 1, 1}, DType::kF64, {0});
  EXPECT_TRUE(std::isnan(to_vector(conv2d(ctx_, {x}, {w}).value)[3])) << "0 * inf";
}

TEST_F(Forward, EmptyBatchesPass) {
  const Tensor x = Tensor::empty({0, 2, 4, 4}, DType::kF64);
  const Tensor w = random_tensor({3, 2, 3, 3}, DType::kF64, 1);
  EXPECT_EQ(conv2d(ctx_, {x}, {w}).value.shape(), (Shape{0, 3, 2, 2}));
  EXPECT_EQ(max_pool(ctx_, {x}, {}).value.shape(), (Shape{0, 2, 2, 2}));
  EXPECT_EQ(global_avg_pool(ctx_, {x}).value.shape(), (Shape{0, 2}));
  EXPECT_EQ(flatten(ctx_, {x}).value.shape(), (Shape{0, 32}));
}

TEST_F(Forward, SixteenBitDtypesAreRefusedByName) {
  const Tensor x = Tensor::empty({1, 1, 1, 1}, DType::kBF16);
  try {
    relu(ctx_, {x});
    FAIL() << "bf16 was accepted";
  } catch (const EnvironmentError& error) {
    EXPECT_STREQ(error.what(), "cpu reference: relu_forward: got bf16, want f32 or f64; use another backend for this dtype");
  }
}

}  // namespace
}  // namespace lockstep
