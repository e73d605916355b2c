// SPDX-License-Identifier: Apache-2.0
#include "models/passes.h"

#include <utility>

#include "core/error.h"
#include "ops/activation.h"
#include "ops/adaptive_avg_pool.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/batch_norm.h"
#include "ops/checks.h"
#include "ops/concat.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/flatten_chw.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/norm_conv2d.h"
#include "ops/relu.h"
#include "ops/response_norm.h"
#include "ops/shift_channels.h"
#include "ops/shuffle_channels.h"
#include "ops/to_statistics.h"

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

Var OpPass::hidden_linear(const LinearLayer& layer, const Var& x) {
  const Var weight = context_.use(*layer.weight), bias = context_.use(*layer.bias);
  return lockstep::linear(context_, x, weight, &bias);
}

Var OpPass::logits(const std::string&, const Var& x) { return to_statistics(context_, x); }

Var OpPass::relu(const std::string&, const Var& x) { return lockstep::relu(context_, x); }

Var OpPass::activation(const std::string&, const Activation& function, const Var& x) { return lockstep::activation(context_, x, function); }

Var OpPass::add(const std::string&, const Var& a, const Var& b) { return lockstep::add(context_, a, b); }

Var OpPass::concat(const std::string&, std::span<const Var> inputs) { return lockstep::concat(context_, inputs); }

Var OpPass::dropout(const std::string&, double p, const Var& x) { return lockstep::dropout(context_, x, p); }

Var OpPass::flatten(const std::string&, const Var& x) { return flatten_chw(context_, x); }

Var OpPass::avg_pool(const PoolLayer& layer, const Var& x) { return lockstep::avg_pool(context_, x, layer.params); }

Var OpPass::adaptive_avg_pool(const std::string&, Pair output, const Var& x) { return lockstep::adaptive_avg_pool(context_, x, output); }

Var OpPass::response_norm(const std::string&, const ResponseNorm& params, const Var& x) { return lockstep::response_norm(context_, x, params); }

Var OpPass::shuffle_channels(const std::string&, int groups, const Var& x) { return lockstep::shuffle_channels(context_, x, groups); }

Var OpPass::shift_channels(const std::string&, int kernel, const Var& x) { return lockstep::shift_channels(context_, x, kernel); }

Shape ShapePass::conv(const ConvLayer& layer, const Shape& x) {
  const Shape& w = layer.weight->value.shape();
  const Shape y = in_layer(layer.name, [&] { return conv2d_shape(x, w, layer.params); });
  const Work work = conv2d_work(x, w, layer.params, layer.bias != nullptr);
  layers_.push_back({.name = layer.name, .op = "conv2d", .output = y,
                     .parameters = elements(layer.weight) + elements(layer.bias),
                     .multiply_adds = work.operations / 2, .work = work});
  return y;
}

Shape ShapePass::normalise(const NormLayer& layer, const Shape& x, bool relu, const Shape* residual) {
  const Shape channels = layer.gamma->value.shape();
  const Shape y =
      in_layer(layer.name, [&] { return batch_norm_shape(x, channels, channels, channels, channels, residual); });
  if (norm_images_ * x[2] * x[3] == 1)
    throw UserError("layer " + layer.name + ": batch norm in training needs 2 values per channel, got 1 image of 1x1 here" +
                    "\n  use 2 or more images per shard (shard_batch), a wider batch norm scope, or larger images");
  layers_.push_back({.name = layer.name, .op = "batch_norm", .output = y,
                     .parameters = elements(layer.gamma) + elements(layer.beta),
                     .work = batch_norm_work(x, relu, residual != nullptr)});
  return y;
}

Shape ShapePass::norm_conv(const NormLayer& norm, const ConvLayer& conv, const Shape& x) {
  const Shape z = norm_relu(norm, x);
  Work& work = layers_.back().work;  // one op on the tape: the convolution reads x, and z is never in memory
  work.inputs = work.outputs = 0;
  return this->conv(conv, z);
}

Shape ShapePass::max_pool(const PoolLayer& layer, const Shape& x) {
  const Shape y = in_layer(layer.name, [&] { return max_pool_shape(x, layer.params); });
  layers_.push_back({.name = layer.name, .op = "max_pool", .output = y, .work = max_pool_work(x, layer.params)});
  return y;
}

Shape ShapePass::global_avg_pool(const std::string& name, const Shape& x) {
  const Shape y = in_layer(name, [&] { return global_avg_pool_shape(x); });
  layers_.push_back({.name = name, .op = "global_avg_pool", .output = y, .work = global_avg_pool_work(x)});
  return y;
}

Shape ShapePass::linear(const LinearLayer& layer, const Shape& x) {
  const Shape& w = layer.weight->value.shape();
  const Shape y = in_layer(layer.name, [&] { return linear_shape(x, w); });
  const Work work = linear_work(x, w, layer.bias != nullptr);
  layers_.push_back({.name = layer.name, .op = "linear", .output = y,
                     .parameters = elements(layer.weight) + elements(layer.bias),
                     .multiply_adds = work.operations / 2, .work = work});
  return y;
}

Shape ShapePass::logits(const std::string& name, const Shape& x) {
  in_layer(name, [&] {
    check_axes("to_statistics", "x", x, 2, "(N, classes)");
    return x;
  });
  layers_.push_back({.name = name, .op = "to_statistics", .output = x});
  return x;
}

Shape ShapePass::relu(const std::string& name, const Shape& x) {
  layers_.push_back({.name = name, .op = "relu", .output = x, .work = relu_work(x)});
  return x;
}

Shape ShapePass::activation(const std::string& name, const Activation& function, const Shape& x) {
  in_layer(name, [&] {
    check_activation(function);
    return x;
  });
  layers_.push_back({.name = name, .op = activation_name(function.kind), .output = x, .work = activation_work(x)});
  return x;
}

Shape ShapePass::add(const std::string& name, const Shape& a, const Shape& b) {
  in_layer(name, [&] {
    check_shape("add", "b", b, a);
    return a;
  });
  layers_.push_back({.name = name, .op = "add", .output = a, .work = add_work(a)});
  return a;
}

Shape ShapePass::concat(const std::string& name, std::span<const Shape> inputs) {
  const Shape y = in_layer(name, [&] { return concat_shape(inputs); });
  layers_.push_back({.name = name, .op = "concat", .output = y, .work = concat_work(inputs)});
  return y;
}

Shape ShapePass::dropout(const std::string& name, double p, const Shape& x) {
  in_layer(name, [&] {
    check_dropout(p);
    return x;
  });
  layers_.push_back({.name = name, .op = "dropout", .output = x, .work = dropout_work(x)});
  return x;
}

Shape ShapePass::flatten(const std::string& name, const Shape& x) {
  const Shape y = in_layer(name, [&] { return flatten_shape(x); });
  layers_.push_back({.name = name, .op = "flatten_chw", .output = y, .work = flatten_chw_work(x)});
  return y;
}

Shape ShapePass::avg_pool(const PoolLayer& layer, const Shape& x) {
  const Shape y = in_layer(layer.name, [&] { return avg_pool_shape(x, layer.params); });
  layers_.push_back({.name = layer.name, .op = "avg_pool", .output = y, .work = avg_pool_work(x, layer.params)});
  return y;
}

Shape ShapePass::adaptive_avg_pool(const std::string& name, Pair output, const Shape& x) {
  const Shape y = in_layer(name, [&] { return adaptive_avg_pool_shape(x, output); });
  layers_.push_back({.name = name, .op = "adaptive_avg_pool", .output = y, .work = adaptive_avg_pool_work(x, output)});
  return y;
}

Shape ShapePass::response_norm(const std::string& name, const ResponseNorm& params, const Shape& x) {
  const Shape y = in_layer(name, [&] { return response_norm_shape(x, params); });
  layers_.push_back({.name = name, .op = "response_norm", .output = y, .work = response_norm_work(x, params)});
  return y;
}

Shape ShapePass::shuffle_channels(const std::string& name, int groups, const Shape& x) {
  const Shape y = in_layer(name, [&] { return shuffle_channels_shape(x, groups); });
  layers_.push_back({.name = name, .op = "shuffle_channels", .output = y, .work = shuffle_channels_work(x, groups)});
  return y;
}

Shape ShapePass::shift_channels(const std::string& name, int kernel, const Shape& x) {
  const Shape y = in_layer(name, [&] { return shift_channels_shape(x, kernel); });
  layers_.push_back({.name = name, .op = "shift_channels", .output = y, .work = shift_channels_work(x, kernel)});
  return y;
}

}  // namespace lockstep
