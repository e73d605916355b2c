// Optimizer: SGD with momentum, or LARS, over explicit parameter groups. State: one momentum tensor per parameter.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "ops/kernels.h"

namespace lockstep {

namespace proto {
class Optimizer;
}

// Which rule a parameter falls under; shown in the banner, so that nobody has to guess what decays.
struct ParameterRule {
  double weight_decay = 0;
  double lr_multiplier = 1;
};

// The first group that matches a parameter wins. Without a match: weights decay; norm scales, norm biases and biases
// only with decay_norm_and_bias. A group that matches no parameter is a user error (a misspelt name).
std::vector<ParameterRule> parameter_rules(const proto::Optimizer& config, const std::vector<Parameter*>& parameters);

// "161 parameters: 54 decay 1e-4, 107 do not decay"; with LARS: "...; LARS (trust coefficient 0.001) on those that decay".
std::string describe_rules(const std::vector<ParameterRule>& rules, const Lars& lars = {});

class SgdOptimizer {
 public:
  // Keeps pointers to the parameters; they must outlive it.
  SgdOptimizer(const proto::Optimizer& config, const std::vector<Parameter*>& parameters);

  // Gradient of parameter `id`: the mean over the global batch. Its memory must live until the call that asked returns.
  using GradientOf = std::function<Tensor(const Parameter&)>;

  // Norm over all parameters, in double and fixed order. On the host.
  double gradient_norm(Kernels& kernels, Stream stream, const GradientOf& gradient);
  // By parameter, what the last gradient_norm has added.
  const std::vector<double>& gradient_squares() const { return squares_; }
  // One update at rate `lr`; gradients are scaled down to clip_norm if `norm` is longer. On the host (a device's: finish_step).
  void step(Kernels& kernels, Stream stream, double lr, double norm, const GradientOf& gradient);

  void to_device(Device device);  // the momentum's memory; blocks

  // What finish_step (ops/kernels.h) needs, for steps on a device: tensors with their rates relative to the schedule's.
  std::vector<SgdTensor> tensors(const GradientOf& gradient);
  UpdateRule rule() const { return {.momentum = params_.momentum, .nesterov = params_.nesterov, .clip_norm = clip_norm_, .lars = lars_}; }

  const std::vector<Tensor>& momentum() const { return momentum_; }  // by parameter id
  const std::vector<ParameterRule>& rules() const { return rules_; }
  const Lars& lars() const { return lars_; }

 private:
  void list_tensors(double lr, const GradientOf& gradient);  // into tensors_

  std::vector<Parameter*> parameters_;
  std::vector<ParameterRule> rules_;
  std::vector<Tensor> momentum_;
  SgdParams params_;
  double clip_norm_;
  Lars lars_;
  Tensor norm_result_;               // f64 (1)
  std::vector<SgdTensor> tensors_;   // rebuilt each step in place
  std::vector<double> squares_;      // by parameter
};

}  // namespace lockstep
