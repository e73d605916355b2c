// SPDX-License-Identifier: Apache-2.0
#include "ops/linear.h"

#include <string>
#include <utility>

#include "core/error.h"
#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "linear";

// dx = dy w,  dw = dy^T x,  dbias = sum over n of dy[n]
struct LinearBackward {
  Kernels& kernels;
  Stream stream;
  Tensor x, w;

  void operator()(BackwardPass& pass) const {
    const Tensor& dy = pass.grad_output();
    if (pass.needs(2)) {
      GradTarget db = pass.target(2);
      kernels.bias_backward(stream, dy, db.grad, db.mode);
    }
    if (pass.needs(1)) {
      GradTarget dw = pass.target(1);
      kernels.linear_backward_weight(stream, x, dy, dw.grad, dw.mode);
    }
    if (pass.needs(0)) {
      GradTarget dx = pass.target(0);
      kernels.linear_backward_data(stream, dy, w, dx.grad, dx.mode);
    }
  }
};

}  // namespace

Shape linear_shape(const Shape& x, const Shape& w) {
  check_axes(kOp, "x", x, 2, "(N, IN)");
  check_axes(kOp, "w", w, 2, "(OUT, IN)");
  if (w[1] != x[1])
    throw_bad_argument(kOp, "w", "shape " + w.str(), "(OUT, " + std::to_string(x[1]) + "): x is " + x.str());
  return {x[0], w[0]};
}

Work linear_work(const Shape& x, const Shape& w, bool bias) {
  const std::int64_t outputs = linear_shape(x, w).numel();
  return {.weights = w.numel(),
          .vectors = bias ? w[0] : 0,
          .inputs = x.numel(),
          .outputs = outputs,
          .operations = count_product({2, outputs, w[1]}),
          .other_operations = bias ? outputs : 0};
}

Var linear(Context& ctx, const Var& x, const Var& w, const Var* bias, std::optional<DType> output) {
  const Shape shape = linear_shape(x.value.shape(), w.value.shape());
  check_floating(kOp, "x", x.value);
  check_dtype(kOp, "w", w.value, x.value.dtype());
  if (bias != nullptr) {
    check_shape(kOp, "bias", bias->value.shape(), {shape[1]});
    check_dtype(kOp, "bias", bias->value, stats_dtype(x.value.dtype()));
  }
  const Var none;
  const Var& b = bias != nullptr ? *bias : none;
  const DType dtype = output.value_or(x.value.dtype());
  LS_CHECK(dtype == x.value.dtype() || dtype == stats_dtype(x.value.dtype()), "linear: output dtype");
  Tensor y = Tensor::empty(shape, dtype, x.value.device());
  ctx.kernels.linear_forward(ctx.stream, x.value, w.value, b.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x, &w, &b};
  return ctx.tape->record(std::move(y), inputs,
                          LinearBackward{ctx.kernels, ctx.stream, w.requires_grad() ? x.value : Tensor(),
                                         x.requires_grad() ? w.value : Tensor()});
}

OpSpec linear_spec() {
  const auto sample = [](std::string name, Shape x, Shape w, bool bias) {
    OpSample result{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}, {.name = "w", .shape = w, .role = InputRole::kParameter}},
                    .run = [bias](Context& ctx, const SampleValues& in) {
                      const Var b = bias ? ctx.use(in.parameters[1]) : Var{};
                      return linear(ctx, in.vars[0], ctx.use(in.parameters[0]), bias ? &b : nullptr);
                    },
                    .work = linear_work(x, w, bias)};
    if (bias) result.inputs.push_back({.name = "bias", .shape = {w[0]}, .role = InputRole::kParameter});
    return result;
  };
  return {.name = "linear", .samples = {sample("size 1", {1, 1}, {1, 1}, true),
                                        sample("odd size", {3, 7}, {5, 7}, true),
                                        sample("no bias", {4, 2}, {3, 2}, false),
                                        sample("wide", {2, 33}, {17, 33}, true)}};
}

}  // namespace lockstep
