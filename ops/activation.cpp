// SPDX-License-Identifier: Apache-2.0
#include "ops/activation.h"

#include <cmath>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/in_place.h"
#include "ops/registry.h"

namespace lockstep {

std::string_view activation_name(Activation::Kind kind) {
  switch (kind) {
    case Activation::Kind::kLeakyRelu: return "leaky_relu";
    case Activation::Kind::kTanh: return "tanh";
    case Activation::Kind::kSigmoid: return "sigmoid";
    case Activation::Kind::kThreshold: return "threshold";
    case Activation::Kind::kClamp: return "clamp";
  }
  return "activation";
}

void check_activation(const Activation& function) {
  const double a = function.a, b = function.b;
  const auto text = [](double value) { return std::to_string(value); };
  const std::string_view op = activation_name(function.kind);
  switch (function.kind) {
    case Activation::Kind::kTanh:
    case Activation::Kind::kSigmoid: return;
    case Activation::Kind::kLeakyRelu:
      if (std::isfinite(a) && a > 0) return;
      throw_bad_argument(op, "slope", text(a), "a finite number above 0");
    case Activation::Kind::kThreshold:
      if (std::isfinite(a) && std::isfinite(b)) return;
      throw_bad_argument(op, "limit and value", text(a) + " and " + text(b), "finite numbers");
    case Activation::Kind::kClamp:
      if (std::isfinite(a) && std::isfinite(b) && a < b) return;
      throw_bad_argument(op, "limits", text(a) + " and " + text(b), "two finite numbers, the lower first");
  }
}

Work activation_work(const Shape& x) { return elementwise_work(x, 1); }

// leaky_relu: dx = x > 0 ? dy : a dy
// tanh:       dx = dy (1 - y^2)
// sigmoid:    dx = dy y (1 - y)
// threshold:  dx = x > a ? dy : 0
// clamp:      dx = a < y < b ? dy : 0, with the limits rounded to y's dtype, as the forward pass rounds them
Var activation(Context& ctx, const Var& x, const Activation& function) {
  check_activation(function);
  check_floating(activation_name(function.kind), "x", x.value);
  Tensor y = Tensor::empty(x.value.shape(), x.value.dtype(), x.value.device());
  ctx.kernels.activation_forward(ctx.stream, x.value, function, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  Tensor kept = !x.requires_grad() ? Tensor() : function.keeps_input() ? x.value : y;
  return ctx.tape->record(std::move(y), inputs,
                          [&kernels = ctx.kernels, stream = ctx.stream, function, kept = std::move(kept)](BackwardPass& pass) {
                            ElementwiseGrad g = elementwise_grad(pass, 0);
                            kernels.activation_backward(stream, g.dy, kept, function, g.dx.grad, g.dx.mode);
                          });
}

namespace {

OpSample sample(std::string name, Shape shape, Activation function, double reach = 1, bool distinct = false) {
  return {.name = std::move(name),
          .inputs = {{.name = "x", .shape = shape, .low = -reach, .high = reach, .distinct = distinct}},
          .run = [function](Context& ctx, const SampleValues& in) { return activation(ctx, in.vars[0], function); },
          .work = activation_work(shape)};
}

}  // namespace

OpSpec leaky_relu_spec() {
  OpSpec spec{.name = "leaky_relu", .samples = {
      sample("size 1", {1, 1, 1, 1}, {Activation::Kind::kLeakyRelu, 0.25}),
      sample("odd size", {2, 3, 5, 7}, {Activation::Kind::kLeakyRelu, 0.1}),
      sample("steeper below", {3, 11}, {Activation::Kind::kLeakyRelu, 2}),
  }};
  for (OpSample& each : spec.samples) each.kink = [](Context&, const SampleValues& in) { return in.vars[0]; };
  return spec;
}

OpSpec tanh_spec() {
  const Activation function{Activation::Kind::kTanh};
  return {.name = "tanh", .samples = {sample("size 1", {1, 1, 1, 1}, function), sample("odd size", {2, 3, 5, 7}, function),
                                      sample("where it is flat", {3, 11}, function, 4)}};
}

OpSpec sigmoid_spec() {
  const Activation function{Activation::Kind::kSigmoid};
  return {.name = "sigmoid", .samples = {sample("size 1", {1, 1, 1, 1}, function), sample("odd size", {2, 3, 5, 7}, function),
                                         sample("where it is flat", {3, 11}, function, 8)}};
}

// Distinct values lie at (i + 1/2) / 24 - 1, so half way between them are the limits.
OpSpec threshold_spec() {
  return {.name = "threshold", .samples = {
      sample("48 values", {2, 3, 4, 2}, {Activation::Kind::kThreshold, 0.25, -3}, 1, true),
      sample("below 0, odd size", {3, 16}, {Activation::Kind::kThreshold, -0.5, 0.75}, 1, true),
  }};
}

OpSpec clamp_spec() {
  return {.name = "clamp", .samples = {
      sample("48 values", {2, 3, 4, 2}, {Activation::Kind::kClamp, -0.25, 0.5}, 1, true),
      sample("relu6", {3, 16}, {Activation::Kind::kClamp, 0, 6}, 12, true),
  }};
}

}  // namespace lockstep
