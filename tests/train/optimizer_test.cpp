// Parameter groups: who decays, at which rate who learns; and the update itself against its formula.
// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

class Optimizer : public ::testing::Test {
 protected:
  Optimizer() {
    const auto add = [&](const char* name, ParameterKind kind, double value) {
      Tensor tensor = Tensor::zeros({2}, DType::kF64);
      for (double& each : tensor.host<double>()) each = value;
      storage_.push_back({static_cast<int>(storage_.size()), name, kind, tensor});
    };
    add("conv1.weight", ParameterKind::kWeight, 1);
    add("bn1.weight", ParameterKind::kNormScale, 2);
    add("bn1.bias", ParameterKind::kNormBias, 3);
    add("fc.weight", ParameterKind::kWeight, 4);
    add("fc.bias", ParameterKind::kBias, 5);
    for (Parameter& parameter : storage_) parameters_.push_back(&parameter);
    config_.set_weight_decay(0.1);
  }
  static Tensor gradient(const Parameter&) {
    static Tensor tensor = Tensor::zeros({2}, DType::kF64);  // the caller owns gradients: the optimizer keeps views
    tensor.host<double>()[0] = 3;
    tensor.host<double>()[1] = -4;
    return tensor;
  }
  std::vector<Parameter> storage_;
  std::vector<Parameter*> parameters_;
  proto::Optimizer config_;
};

TEST_F(Optimizer, OnlyWeightsDecayByDefault) {
  const std::vector<ParameterRule> rules = parameter_rules(config_, parameters_);
  EXPECT_EQ(rules[0].weight_decay, 0.1);
  for (const std::size_t i : {1u, 2u, 4u}) EXPECT_EQ(rules[i].weight_decay, 0);
  config_.set_decay_norm_and_bias(true);
  for (const ParameterRule& rule : parameter_rules(config_, parameters_)) EXPECT_EQ(rule.weight_decay, 0.1);
}

TEST_F(Optimizer, TheFirstGroupThatMatchesWins) {
  proto::ParameterGroup* head = config_.add_group();
  head->add_name("fc.*");
  head->set_lr_multiplier(10);
  proto::ParameterGroup* biases = config_.add_group();
  biases->add_kind(proto::ParameterGroup::NORM_BIAS);
  biases->add_kind(proto::ParameterGroup::BIAS);
  biases->set_weight_decay(0.5);
  const std::vector<ParameterRule> rules = parameter_rules(config_, parameters_);
  EXPECT_EQ(rules[3].lr_multiplier, 10);
  EXPECT_EQ(rules[3].weight_decay, 0.1) << "a group without weight_decay keeps the default rule";
  EXPECT_EQ(rules[4].lr_multiplier, 10) << "fc.bias is in the first group";
  EXPECT_EQ(rules[2].weight_decay, 0.5);
}

TEST_F(Optimizer, AGroupThatMatchesNothingIsAnError) {
  config_.add_group()->add_name("layer1.*");
  EXPECT_THROW(parameter_rules(config_, parameters_), UserError);
}

TEST_F(Optimizer, MomentumDecayAndNesterovFollowTheFormula) {
  const auto kernels = make_reference_kernels();
  config_.set_momentum(0.9);
  config_.set_nesterov(true);
  SgdOptimizer optimizer(config_, parameters_);
  double value = 1, buffer = 0;
  for (int step = 0; step < 3; ++step) {
    const double g = 3 + 0.1 * value;
    buffer = 0.9 * buffer + g;
    value -= 0.01 * (g + 0.9 * buffer);
    optimizer.step(*kernels, {}, 0.01, optimizer.gradient_norm(*kernels, {}, gradient), gradient);
    EXPECT_NEAR(storage_[0].value.host<double>()[0], value, 8 * dtype_epsilon(DType::kF64) * std::fabs(value)) << "step " << step;
  }
}

TEST_F(Optimizer, ClippingScalesTheWholeGradientToTheNorm) {
  const auto kernels = make_reference_kernels();
  config_.set_weight_decay(0);
  config_.set_momentum(0);
  config_.set_clip_norm(1);
  SgdOptimizer optimizer(config_, parameters_);
  const double norm = optimizer.gradient_norm(*kernels, {}, gradient);
  EXPECT_DOUBLE_EQ(norm, std::sqrt(5 * 25.0));
  optimizer.step(*kernels, {}, 1, norm, gradient);
  EXPECT_DOUBLE_EQ(storage_[0].value.host<double>()[0], 1 - 3 / norm);
  EXPECT_DOUBLE_EQ(storage_[4].value.host<double>()[1], 5 + 4 / norm);
}

}  // namespace
}  // namespace lockstep
