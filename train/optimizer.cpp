// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/accelerator.h"
#include "core/error.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

bool matches(const proto::ParameterGroup& group, const Parameter& parameter) {
  const auto kind = static_cast<proto::ParameterGroup::Kind>(parameter.kind);
  static_assert(static_cast<int>(ParameterKind::kWeight) == proto::ParameterGroup::WEIGHT &&
                static_cast<int>(ParameterKind::kBias) == proto::ParameterGroup::BIAS &&
                static_cast<int>(ParameterKind::kNormScale) == proto::ParameterGroup::NORM_SCALE &&
                static_cast<int>(ParameterKind::kNormBias) == proto::ParameterGroup::NORM_BIAS);
  const bool kind_fits = group.kind().empty() || std::find(group.kind().begin(), group.kind().end(), kind) != group.kind().end();
  const bool name_fits = group.name().empty() || std::any_of(group.name().begin(), group.name().end(), [&](const std::string& glob) {
                           return fnmatch(glob.c_str(), parameter.name.c_str(), 0) == 0;
                         });
  return kind_fits && name_fits;
}

ParameterRule default_rule(const proto::Optimizer& config, const Parameter& parameter) {
  const bool decays = parameter.kind == ParameterKind::kWeight || config.decay_norm_and_bias();
  return {decays ? config.weight_decay() : 0, 1};
}

}  // namespace

std::vector<ParameterRule> parameter_rules(const proto::Optimizer& config, const std::vector<Parameter*>& parameters) {
  std::vector<int> members(static_cast<std::size_t>(config.group_size()), 0);
  std::vector<ParameterRule> rules;
  for (const Parameter* parameter : parameters) {
    ParameterRule rule = default_rule(config, *parameter);
    for (int g = 0; g < config.group_size(); ++g) {
      const proto::ParameterGroup& group = config.group(g);
      if (!matches(group, *parameter)) continue;
      ++members[static_cast<std::size_t>(g)];
      if (group.has_weight_decay()) rule.weight_decay = group.weight_decay();
      rule.lr_multiplier = group.lr_multiplier();
      break;
    }
    rules.push_back(rule);
  }
  for (int g = 0; g < config.group_size(); ++g)
    if (members[static_cast<std::size_t>(g)] == 0)
      throw UserError(fmt::format("optimizer.group[{}]: matches no parameter (or an earlier group takes them all): {}\n"
                                  "  the model's parameters are named like {}",
                                  g, config.group(g).ShortDebugString(), parameters.empty() ? "" : parameters.front()->name));
  return rules;
}

std::string describe_rules(const std::vector<ParameterRule>& rules, const Lars& lars) {
  std::map<std::pair<double, double>, int, std::greater<>> counts;
  for (const ParameterRule& rule : rules) ++counts[{rule.weight_decay, rule.lr_multiplier}];
  std::string text = fmt::format("{} parameters:", rules.size());
  const char* separator = " ";
  for (const auto& [rule, count] : counts) {
    text += fmt::format("{}{} {}", separator, count, rule.first > 0 ? fmt::format("decay {:g}", rule.first) : "do not decay");
    if (rule.second != 1) text += fmt::format(" (lr x {:g})", rule.second);
    separator = ", ";
  }
  if (lars.enabled) text += fmt::format("; LARS (trust coefficient {:g}) on those that decay", lars.eta);
  return text;
}

SgdOptimizer::SgdOptimizer(const proto::Optimizer& config, const std::vector<Parameter*>& parameters)
    : parameters_(parameters),
      rules_(parameter_rules(config, parameters)),
      params_{.momentum = config.momentum(), .nesterov = config.nesterov()},
      clip_norm_(config.clip_norm()),
      lars_{.enabled = config.type() == proto::Optimizer::LARS, .eta = config.lars().trust_coefficient(), .eps = config.lars().eps()},
      norm_result_(Tensor::zeros({1}, DType::kF64)),
      squares_(parameters.size()) {
  for (const Parameter* parameter : parameters_)
    momentum_.push_back(Tensor::zeros(parameter->value.shape(), parameter->value.dtype()));
}

double SgdOptimizer::gradient_norm(Kernels& kernels, Stream stream, const GradientOf& gradient) {
  double sum = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor tensor = gradient(*parameters_[i]);
    const ConstView view = tensor;
    kernels.squared_norm(stream, std::span(&view, 1), norm_result_);
    squares_[i] = norm_result_.host<double>()[0];
    sum += squares_[i];
  }
  return std::sqrt(sum);
}

void SgdOptimizer::to_device(Device device) {
  for (Tensor& momentum : momentum_) momentum = lockstep::to_device(momentum, device);
}

void SgdOptimizer::list_tensors(double lr, const GradientOf& gradient) {
  tensors_.clear();
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    tensors_.push_back({.value = parameters_[i]->value,
                        .momentum = momentum_[i],
                        .compute = parameters_[i]->compute,
                        .grad = gradient(*parameters_[i]),
                        .weight_decay = rules_[i].weight_decay,
                        .lr = lr * rules_[i].lr_multiplier});
}

std::vector<SgdTensor> SgdOptimizer::tensors(const GradientOf& gradient) {
  list_tensors(1, gradient);
  return tensors_;
}

void SgdOptimizer::step(Kernels& kernels, Stream stream, double lr, double norm, const GradientOf& gradient) {
  list_tensors(lr, gradient);
  SgdParams params = params_;
  if (clip_norm_ > 0 && norm > clip_norm_) params.grad_scale = clip_norm_ / norm;
  for (SgdTensor& tensor : tensors_) tensor.ratio = lars_ratio(kernels, stream, tensor, lars_, params.grad_scale);
  kernels.sgd_step(stream, tensors_, params);
}

}  // namespace lockstep
