// What the ops refuse, and the words in which they do.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/batch_norm.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/mix_images.h"
#include "ops/normalise_image.h"
#include "ops/relu.h"
#include "ops/softmax_cross_entropy.h"

namespace lockstep {
namespace {

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "(accepted)";
}

Tensor tensor(const Shape& shape, DType dtype = DType::kF32) { return Tensor::zeros(shape, dtype); }

class Refusal : public ::testing::Test {
 protected:
  std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
  Context ctx_{.kernels = *kernels_, .training = true};
};

TEST_F(Refusal, Conv2dShapes) {
  const Shape x{2, 6, 5, 5};
  EXPECT_EQ(refusal([&] { conv2d_shape({2, 6, 5}, {4, 6, 3, 3}, {}); }),
            "conv2d: argument x: got shape (2, 6, 5), want (N, C, H, W) without empty axes after the first");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 6, 0, 3}, {}); }),
            "conv2d: argument w: got shape (4, 6, 0, 3), want (K, C / groups, R, S) without empty axes after the first");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 3, 3, 3}, {}); }),
            "conv2d: argument w: got shape (4, 3, 3, 3), want (K, 6, R, S): x (2, 6, 5, 5) in 1 group(s)");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 2, 3, 3}, {.groups = 3}); }),
            "conv2d: argument groups: got 3, want a divisor of x's 6 and of w's 4 channels");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 6, 3, 3}, {.groups = 0}); }),
            "conv2d: argument groups: got 0, want a divisor of x's 6 and of w's 4 channels");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 6, 3, 3}, {.stride = {1, 0}}); }),
            "conv2d: argument stride (width): got 0, want at least 1");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 6, 3, 3}, {.pad = {-1, 0}}); }),
            "conv2d: argument pad (height): got -1, want at least 0");
  EXPECT_EQ(refusal([&] { conv2d_shape(x, {4, 6, 3, 3}, {.pad = {1, 0}, .dilation = {4, 1}}); }),
            "conv2d: argument x: got height 5 with padding 1, want at least the window's reach of 9 pixels with both paddings");
}

TEST_F(Refusal, Conv2dDtypesAndBias) {
  const Var x{tensor({1, 2, 3, 3})}, w{tensor({4, 2, 3, 3})}, short_bias{tensor({3})}, wide_bias{tensor({4}, DType::kF64)};
  EXPECT_EQ(refusal([&] { conv2d(ctx_, x, {tensor({4, 2, 3, 3}, DType::kF64)}); }), "conv2d: argument w: got dtype f64, want f32");
  EXPECT_EQ(refusal([&] { conv2d(ctx_, {tensor({1, 2, 3, 3}, DType::kU8)}, w); }),
            "conv2d: argument x: got dtype u8, want a floating-point dtype");
  EXPECT_EQ(refusal([&] { conv2d(ctx_, x, w, {}, &short_bias); }), "conv2d: argument bias: got shape (3), want (4)");
  EXPECT_EQ(refusal([&] { conv2d(ctx_, x, w, {}, &wide_bias); }), "conv2d: argument bias: got dtype f64, want f32");
}

TEST_F(Refusal, OutputShapesRoundDown) {
  EXPECT_EQ(conv2d_shape({2, 3, 224, 224}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}), (Shape{2, 64, 112, 112}));
  EXPECT_EQ(conv2d_shape({1, 1, 6, 7}, {1, 1, 3, 3}, {.stride = {2, 2}}), (Shape{1, 1, 2, 3}));
  EXPECT_EQ(conv2d_shape({1, 4, 7, 7}, {2, 4, 3, 3}, {.dilation = {3, 1}}), (Shape{1, 2, 1, 5}));
  EXPECT_EQ(max_pool_shape({1, 1, 112, 111}, {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}), (Shape{1, 1, 56, 56}));
}

TEST_F(Refusal, Pools) {
  EXPECT_EQ(refusal([&] { max_pool_shape({1, 1, 4, 4}, {.kernel = {2, 2}, .pad = {0, 2}}); }),
            "max_pool: argument pad: got 0x2, want at most half the kernel 2x2");
  EXPECT_EQ(refusal([&] { max_pool_shape({1, 1, 40, 40}, {.kernel = {17, 16}}); }),
            "max_pool: argument kernel: got 17x16, want at most 256 positions");
  EXPECT_EQ(refusal([&] { avg_pool_shape({1, 1, 4, 4}, {.kernel = {0, 2}}); }), "avg_pool: argument kernel: got 0x2, want at least 1x1");
  EXPECT_EQ(refusal([&] { avg_pool_shape({1, 1, 1, 4}, {}); }),
            "avg_pool: argument x: got height 1 with padding 0, want at least the window's reach of 2 pixels with both paddings");
  EXPECT_EQ(refusal([&] { global_avg_pool_shape({4, 3}); }),
            "global_avg_pool: argument x: got shape (4, 3), want (N, C, H, W) without empty axes after the first");
  EXPECT_EQ(refusal([&] { flatten_shape({4, 3}); }),
            "flatten: argument x: got shape (4, 3), want (N, C, H, W) without empty axes after the first");
}

TEST_F(Refusal, LinearAddReluConcat) {
  EXPECT_EQ(refusal([&] { linear_shape({2, 5}, {3, 4}); }), "linear: argument w: got shape (3, 4), want (OUT, 5): x is (2, 5)");
  EXPECT_EQ(refusal([&] { add(ctx_, {tensor({2, 3})}, {tensor({3, 2})}); }), "add: argument b: got shape (3, 2), want (2, 3)");
  EXPECT_EQ(refusal([&] { add(ctx_, {tensor({2})}, {tensor({2}, DType::kF64)}); }), "add: argument b: got dtype f64, want f32");
  EXPECT_EQ(refusal([&] { relu(ctx_, {tensor({2}, DType::kI32)}); }), "relu: argument x: got dtype i32, want a floating-point dtype");
  const std::array<Shape, 2> misfit{Shape{2, 3, 4, 4}, Shape{2, 3, 4, 5}};
  EXPECT_EQ(refusal([&] { concat_shape(misfit); }), "concat: argument input 1: got shape (2, 3, 4, 5), want (2, 3, 4, 4)");
  EXPECT_EQ(refusal([&] { concat_shape({}); }), "concat: argument inputs: got 0 of them, want 1 to 32");
}

TEST_F(Refusal, BatchNorm) {
  const Shape c{3}, wrong{4}, x{2, 3, 4, 4}, other{2, 3, 4, 5};
  EXPECT_EQ(refusal([&] { batch_norm_shape(x, wrong, c, c, c, nullptr); }), "batch_norm: argument gamma: got shape (4), want (3)");
  EXPECT_EQ(refusal([&] { batch_norm_shape(x, c, c, c, wrong, nullptr); }),
            "batch_norm: argument running_var: got shape (4), want (3)");
  EXPECT_EQ(refusal([&] { batch_norm_shape(x, c, c, c, c, &other); }),
            "batch_norm: argument residual: got shape (2, 3, 4, 5), want (2, 3, 4, 4)");
  const Parameter gamma{0, "bn1.weight", ParameterKind::kNormScale, tensor(c)}, beta{1, "bn1.bias", ParameterKind::kNormBias, tensor(c)};
  const Buffer mean{0, "bn1.running_mean", tensor(c)}, var{1, "bn1.running_var", tensor(c)};
  EXPECT_EQ(refusal([&] { batch_norm(ctx_, {tensor({1, 3, 1, 1})}, {gamma, beta, mean, var}); }),
            "batch_norm: argument x: got shape (1, 3, 1, 1), 1 value(s) per channel for bn1.weight, want at least 2 in training: "
            "raise shard_batch, or widen the batch-norm scope");
  EXPECT_EQ(refusal([&] { batch_norm(ctx_, {tensor(x, DType::kF64)}, {gamma, beta, mean, var}); }),
            "batch_norm: argument bn1.weight: got dtype f32, want f64");
}

TEST_F(Refusal, DropoutLossAndImages) {
  EXPECT_EQ(refusal([&] { dropout(ctx_, {tensor({2})}, 1.0); }), "dropout: argument p: got 1.000000, want 0 <= p < 1");
  const Var logits{tensor({2, 3})};
  EXPECT_EQ(refusal([&] { softmax_cross_entropy(ctx_, logits, tensor({3}, DType::kI32)); }),
            "softmax_cross_entropy: argument labels: got shape (3), want (2)");
  EXPECT_EQ(refusal([&] { softmax_cross_entropy(ctx_, logits, tensor({2}, DType::kI64)); }),
            "softmax_cross_entropy: argument labels: got dtype i64, want i32");
  EXPECT_EQ(refusal([&] { softmax_cross_entropy(ctx_, logits, tensor({2}, DType::kI32), 1.0); }),
            "softmax_cross_entropy: argument label_smoothing: got 1.000000, want 0 <= label_smoothing < 1");
  const std::array<float, 1> one{1.0f}, zero{0.0f};
  EXPECT_EQ(refusal([&] { normalise_image(ctx_, tensor({1, 3, 2, 2}, DType::kU8), one, one, DType::kF32); }),
            "normalise_image: argument mean: got 1 values, want 3, one per channel, at most 16");
  EXPECT_EQ(refusal([&] { normalise_image(ctx_, tensor({1, 1, 2, 2}, DType::kU8), one, zero, DType::kF32); }),
            "normalise_image: argument std: got 0.000000, want a positive number");
  EXPECT_EQ(refusal([&] { normalise_image(ctx_, tensor({1, 1, 2, 2}), one, one, DType::kF32); }),
            "normalise_image: argument images: got dtype f32, want u8");
}

TEST_F(Refusal, MixRows) {
  const Var logits{tensor({2, 3})};
  EXPECT_EQ(refusal([&] { softmax_cross_entropy(ctx_, logits, tensor({2}, DType::kI32), 0, tensor({2, 7}, DType::kI32)); }),
            "softmax_cross_entropy: argument mix: got shape (2, 7), want (2, 8)");
  EXPECT_EQ(refusal([&] { softmax_cross_entropy(ctx_, logits, tensor({2}, DType::kI32), 0, tensor({2, 8})); }),
            "softmax_cross_entropy: argument mix: got dtype f32, want i32");
  EXPECT_EQ(refusal([&] { mix_images(ctx_, tensor({2, 3, 4, 4}), tensor({1, 8}, DType::kI32)); }),
            "mix_images: argument mix: got shape (1, 8), want (2, 8)");
  EXPECT_EQ(refusal([&] { mix_images(ctx_, tensor({2, 3}), tensor({2, 8}, DType::kI32)); }),
            "mix_images: argument images: got shape (2, 3), want (N, C, H, W) without empty axes after the first");
}

}  // namespace
}  // namespace lockstep
