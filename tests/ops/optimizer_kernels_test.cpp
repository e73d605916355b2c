// The reference's optimizer kernels, against PyTorch's rule for SGD written down step by step.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "cpu/reference/reference_kernels.h"
#include "tests/ops/sample_values.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

struct Scalar {
  double value, buffer;
};

Scalar sgd(Scalar s, double grad, double lr, double momentum, double decay, bool nesterov) {
  const double g = grad + decay * s.value;
  s.buffer = momentum * s.buffer + g;
  s.value -= lr * (nesterov ? g + momentum * s.buffer : s.buffer);
  return s;
}

TEST(SgdStep, FollowsPyTorchsRuleOverSeveralSteps) {
  const auto kernels = make_reference_kernels();
  for (const bool nesterov : {false, true}) {
    Tensor value = from_vector({2}, DType::kF64, {1, -2}), momentum = Tensor::zeros({2}, DType::kF64);
    Tensor other = from_vector({}, DType::kF32, {4}), other_momentum = Tensor::zeros({}, DType::kF32);
    const Tensor grad = from_vector({2}, DType::kF64, {0.5, 0.25}), other_grad = from_vector({}, DType::kF32, {1});
    Scalar first{1, 0}, second{-2, 0}, third{4, 0};
    for (int step = 0; step < 3; ++step) {
      const std::array<SgdTensor, 2> tensors{SgdTensor{value, momentum, {}, grad, 0.1, 0.01},
                                             SgdTensor{other, other_momentum, {}, other_grad, 0, 0.02}};
      kernels->sgd_step({}, tensors, {.momentum = 0.9, .nesterov = nesterov, .grad_scale = 0.5});
      first = sgd(first, 0.25, 0.01, 0.9, 0.1, nesterov);
      second = sgd(second, 0.125, 0.01, 0.9, 0.1, nesterov);
      third = sgd(third, 0.5, 0.02, 0.9, 0, nesterov);
    }
    EXPECT_PRED3(within, get_value(value, 0), first.value, error_bound(DType::kF64, 3 * 8, 1));
    EXPECT_PRED3(within, get_value(value, 1), second.value, error_bound(DType::kF64, 3 * 8, 2));
    EXPECT_PRED3(within, get_value(momentum, 1), second.buffer, error_bound(DType::kF64, 3 * 8, 2));
    EXPECT_PRED3(within, get_value(other, 0), third.value, error_bound(DType::kF32, 3 * 8, 4));
  }
}

TEST(SquaredNorm, AddsAllTensorsAndShowsNan) {
  const auto kernels = make_reference_kernels();
  const Tensor a = from_vector({2}, DType::kF64, {3, 4}), b = from_vector({1}, DType::kF32, {12});
  const Tensor bad = from_vector({1}, DType::kF32, {std::nan("")});
  Tensor result = Tensor::zeros({1}, DType::kF64);
  const std::array<ConstView, 2> good{a, b};
  kernels->squared_norm({}, good, result);
  EXPECT_EQ(get_value(result, 0), 169);
  const std::array<ConstView, 2> spoilt{a, bad};
  kernels->squared_norm({}, spoilt, result);
  EXPECT_TRUE(std::isnan(get_value(result, 0)));
  kernels->squared_norm({}, {}, result);
  EXPECT_EQ(get_value(result, 0), 0);
}

TEST(MovingAverage, BlendsTheObservation) {
  const auto kernels = make_reference_kernels();
  Tensor value = from_vector({2}, DType::kF64, {1, 8});
  kernels->moving_average({}, from_vector({2}, DType::kF64, {3, 0}), 0.25, value);
  EXPECT_EQ(to_vector(value), (std::vector<double>{1.5, 6}));
}

}  // namespace
}  // namespace lockstep
