// LARS: what scales whose gradient, the momentum's form against NVIDIA's, and the same bits at any number of ranks. The trajectory
// against timm is in training_trajectory_test.cpp.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "cpu/fast/fast_kernels.h"
#include "cpu/reference/reference_kernels.h"
#include "tests/tolerance.h"
#include "tests/train/step_job.h"
#include "train/optimizer.h"

namespace lockstep {
namespace {

using namespace testing_job;

TEST(Lars, TheRatioIsOneWhereItWouldSayNothing) {
  const Lars lars{.enabled = true, .eta = 0.01, .eps = 0.5};
  EXPECT_EQ(lars.ratio(3, 4, 0.1), 0.01 * 3 / (4 + 0.1 * 3 + 0.5));
  EXPECT_EQ(lars.ratio(0, 4, 0.1), 1) << "no weight";
  EXPECT_EQ(lars.ratio(3, 0, 0.1), 1) << "no gradient";
  EXPECT_EQ(lars.ratio(3, 4, 0), 1) << "no decay";
  EXPECT_EQ((Lars{}.ratio(3, 4, 0.1)), 1) << "off";
}

// A weight and a bias of three numbers in f64.
class LarsStep : public ::testing::Test {
 protected:
  LarsStep() {
    for (const auto& [name, kind] : {std::pair{"fc.weight", ParameterKind::kWeight}, std::pair{"fc.bias", ParameterKind::kBias}}) {
      Tensor value = Tensor::zeros({3}, DType::kF64);
      for (std::size_t i = 0; i < 3; ++i) value.host<double>()[i] = 1.0 + static_cast<double>(i);
      storage_.push_back({static_cast<int>(storage_.size()), name, kind, value});
    }
    for (Parameter& parameter : storage_) parameters_.push_back(&parameter);
    config_.set_type(proto::Optimizer::LARS);
    config_.set_weight_decay(0.1);
  }
  static double gradient_element(int step, std::size_t i) { return std::sin(1.0 + 3.0 * step + static_cast<double>(i)); }
  Tensor gradient(int step) {
    for (std::size_t i = 0; i < 3; ++i) gradient_.host<double>()[i] = gradient_element(step, i);
    return gradient_;
  }
  void step(SgdOptimizer& optimizer, int number, double lr) {
    const auto of = [&](const Parameter&) { return gradient(number); };
    optimizer.step(*kernels_, {}, lr, optimizer.gradient_norm(*kernels_, {}, of), of);
  }
  std::vector<double> values(std::size_t parameter) const {
    const auto span = storage_[parameter].value.host<double>();
    return {span.begin(), span.end()};
  }

  std::vector<Parameter> storage_;
  std::vector<Parameter*> parameters_;
  proto::Optimizer config_;
  Tensor gradient_ = Tensor::zeros({3}, DType::kF64);
  const std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
};

double rate_of(int step) { return 0.1 * (step + 1) * (step + 1); }  // the steepest warm-up

// NVIDIA's MLPerf code keeps m = lr * momentum: m = 0.9 * (lr / last lr) * m + lr * ratio * (g + decay * w); w -= m.
TEST_F(LarsStep, IsScaledMomentumUnderAChangingRate) {
  SgdOptimizer optimizer(config_, parameters_);
  std::vector<double> w = values(0), m(3, 0), unscaled = w, u(3, 0);
  for (int number = 0; number < 8; ++number) {
    const double lr = rate_of(number), rescale = number > 0 ? lr / rate_of(number - 1) : 0;
    double w_square = 0, g_square = 0, unscaled_square = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double g = gradient_element(number, i);
      w_square += w[i] * w[i], g_square += g * g, unscaled_square += unscaled[i] * unscaled[i];
    }
    const auto ratio = [&](double square) { return 0.001 * std::sqrt(square) / (std::sqrt(g_square) + 0.1 * std::sqrt(square)); };
    const double scaled_ratio = ratio(w_square), unscaled_ratio = ratio(unscaled_square);
    for (std::size_t i = 0; i < 3; ++i) {
      const double g = gradient_element(number, i);
      m[i] = 0.9 * rescale * m[i] + lr * scaled_ratio * (g + 0.1 * w[i]);
      w[i] -= m[i];
      u[i] = 0.9 * u[i] + lr * unscaled_ratio * (g + 0.1 * unscaled[i]);  // the control: momentum that isn't rescaled
      unscaled[i] -= u[i];
    }
    step(optimizer, number, lr);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(values(0)[i], w[i], error_bound(DType::kF64, 16 * (number + 1), w[i])) << number;
  }
  EXPECT_GT(std::fabs(unscaled[0] - w[0]), 1e-4) << "the rate changed too little to show a difference";
}

TEST_F(LarsStep, WhatDoesNotDecayIsPlainSgd) {
  SgdOptimizer lars(config_, parameters_);
  for (int number = 0; number < 3; ++number) step(lars, number, 0.1);
  const std::vector<double> with_lars[] = {values(0), values(1)};
  for (Parameter& parameter : storage_)
    for (std::size_t i = 0; i < 3; ++i) parameter.value.host<double>()[i] = 1.0 + static_cast<double>(i);
  config_.set_type(proto::Optimizer::SGD);
  SgdOptimizer sgd(config_, parameters_);
  for (int number = 0; number < 3; ++number) step(sgd, number, 0.1);
  EXPECT_EQ(with_lars[1], values(1));
  EXPECT_NE(with_lars[0], values(0));
}

TEST_F(LarsStep, TheBannerSaysSo) {
  EXPECT_EQ(describe_rules(SgdOptimizer(config_, parameters_).rules(), SgdOptimizer(config_, parameters_).lars()),
            "2 parameters: 1 decay 0.1, 1 do not decay; LARS (trust coefficient 0.001) on those that decay");
}

// One fused pass in f32 against the formula in f64, ratios far from 1.
TEST(Lars, TheFastBackendAppliesTheRatio) {
  const auto fast = make_fast_kernels(1), reference = make_reference_kernels();
  Tensor value = Tensor::zeros({37}, DType::kF32), momentum = Tensor::zeros({37}, DType::kF32), grad = Tensor::zeros({37}, DType::kF32);
  Tensor value64 = Tensor::zeros({37}, DType::kF64), momentum64 = value64.clone(), grad64 = value64.clone();
  for (std::size_t i = 0; i < 37; ++i) {
    value.host<float>()[i] = static_cast<float>(std::cos(static_cast<double>(i)));
    grad.host<float>()[i] = static_cast<float>(std::sin(static_cast<double>(i)));
    value64.host<double>()[i] = static_cast<double>(value.host<float>()[i]);
    grad64.host<double>()[i] = static_cast<double>(grad.host<float>()[i]);
  }
  const SgdParams params{.momentum = 0.9, .nesterov = true, .grad_scale = 0.5};
  const SgdTensor narrow[] = {{.value = value, .momentum = momentum, .compute = {}, .grad = grad, .weight_decay = 0.1, .lr = 2, .ratio = 0.03}};
  const SgdTensor wide[] = {{.value = value64, .momentum = momentum64, .compute = {}, .grad = grad64, .weight_decay = 0.1, .lr = 2, .ratio = 0.03}};
  fast->sgd_step({}, narrow, params);
  reference->sgd_step({}, wide, params);
  for (std::size_t i = 0; i < 37; ++i)
    EXPECT_NEAR(static_cast<double>(value.host<float>()[i]), value64.host<double>()[i], error_bound(DType::kF32, 8, 1.2)) << i;
}

TEST(Lars, HasTheSameBitsAtAnyNumberOfRanks) {
  const Overrides lars{"optimizer.type=LARS", "optimizer.lars.trust_coefficient=0.01", "optimizer.clip_norm=1"};
  const std::string one = digest_after(lars, 3);
  EXPECT_EQ(digest_after(lars, 3, 2), one);
  EXPECT_EQ(digest_after(lars, 3, 4), one);
  EXPECT_NE(digest_after({"optimizer.clip_norm=1"}, 3), one);
}

}  // namespace
}  // namespace lockstep
