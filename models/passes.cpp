// SPDX-License-Identifier: Apache-2.0
#include "models/passes.h"

#include <utility>

#include "core/error.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/norm_conv2d.h"

namespace lockstep {
namespace {

Var apply_norm(Context& context, const NormLayer& layer, const Var& x, bool relu, const Var* residual) {
  const BatchNormState state{*layer.gamma, *layer.beta, *layer.running_mean, *layer.running_var};
  return batch_norm(context, x, state, {.eps = layer.eps, .relu = relu}, residual);
}

// Runs a shape rule; a misfit's message begins with the layer.
template <class Rule>
Shape in_layer(const std::string& name, Rule rule) {
  try {
    return rule();
  } catch (const UserError& error) {
    throw UserError("layer " + name + ": " + error.what(), error.code());
  }
}

std::int64_t elements(const Parameter* parameter) { return parameter == nullptr ? 0 : parameter->value.numel(); }

}  // namespace

Var OpPass::conv(const ConvLayer& layer, const Var& x) {
  const Var weight = context_.use(*layer.weight);
  if (layer.bias == nullptr) return conv2d(context_, x, weight, layer.params);
  const Var bias = context_.use(*layer.bias);
  return conv2d(context_, x, weight, layer.params, &bias);
}

Var OpPass::norm(const NormLayer& layer, const Var& x) { return apply_norm(context_, layer, x, false, nullptr); }

Var OpPass::norm_relu(const NormLayer& layer, const Var& x) { return apply_norm(context_, layer, x, true, nullptr); }

Var OpPass::norm_add_relu(const NormLayer& layer, const Var& x, const Var& residual) {
  return apply_norm(context_, layer, x, true, &residual);
}

Var OpPass::norm_conv(const NormLayer& norm, const ConvLayer& conv, const Var& x) {
  LS_CHECK(conv.bias == nullptr, "layer " + conv.name + ": a convolution after batch norm and ReLU has no bias here");
  const BatchNormState state{*norm.gamma, *norm.beta, *norm.running_mean, *norm.running_var};
  return norm_conv2d(context_, x, state, norm.eps, context_.use(*conv.weight), conv.params);
}

Var OpPass::max_pool(const PoolLayer& layer, const Var& x) { return lockstep::max_pool(context_, x, layer.params); }

Var OpPass::global_avg_pool(const std::string&, const Var& x) { return lockstep::global_avg_pool(context_, x); }

Var OpPass::linear(const LinearLayer& layer, const Var& x) {
  const Var weight = context_.use(*layer.weight), bias = context_.use(*layer.bias);
  return lockstep::linear(context_, x, weight, &bias, stats_dtype(x.value.dtype()));
}

Shape ShapePass::conv(const ConvLayer& layer, const Shape& x) {
  const Shape& w = layer.weight->value.shape();
  const Shape y = in_layer(layer.name, [&] { return conv2d_shape(x, w, layer.params); });
  layers_.push_back({.name = layer.name, .op = "conv2d", .output = y,
                     .parameters = elements(layer.weight) + elements(layer.bias),
                     .multiply_adds = y.numel() * (w[1] * w[2] * w[3])});
  return y;
}

Shape ShapePass::norm(const NormLayer& layer, const Shape& x) {
  const Shape channels = layer.gamma->value.shape();
  const Shape y =
      in_layer(layer.name, [&] { return batch_norm_shape(x, channels, channels, channels, channels, nullptr); });
  if (norm_images_ * x[2] * x[3] == 1)
    throw UserError("layer " + layer.name + ": batch norm in training needs 2 values per channel, got 1 image of 1x1 here" +
                    "\n  use 2 or more images per shard (shard_batch), a wider batch norm scope, or larger images");
  layers_.push_back({.name = layer.name, .op = "batch_norm", .output = y,
                     .parameters = elements(layer.gamma) + elements(layer.beta)});
  return y;
}

Shape ShapePass::norm_add_relu(const NormLayer& layer, const Shape& x, const Shape& residual) {
  const Shape channels = layer.gamma->value.shape();
  in_layer(layer.name, [&] { return batch_norm_shape(x, channels, channels, channels, channels, &residual); });
  return norm(layer, x);
}

Shape ShapePass::max_pool(const PoolLayer& layer, const Shape& x) {
  const Shape y = in_layer(layer.name, [&] { return max_pool_shape(x, layer.params); });
  layers_.push_back({.name = layer.name, .op = "max_pool", .output = y});
  return y;
}

Shape ShapePass::global_avg_pool(const std::string& name, const Shape& x) {
  const Shape y = in_layer(name, [&] { return global_avg_pool_shape(x); });
  layers_.push_back({.name = name, .op = "global_avg_pool", .output = y});
  return y;
}

Shape ShapePass::linear(const LinearLayer& layer, const Shape& x) {
  const Shape& w = layer.weight->value.shape();
  const Shape y = in_layer(layer.name, [&] { return linear_shape(x, w); });
  layers_.push_back({.name = layer.name, .op = "linear", .output = y,
                     .parameters = elements(layer.weight) + elements(layer.bias),
                     .multiply_adds = y.numel() * w[1]});
  return y;
}

}  // namespace lockstep
