// SPDX-License-Identifier: Apache-2.0
#include "ops/relu.h"

#include <utility>

#include "ops/checks.h"
#include "ops/in_place.h"
#include "ops/registry.h"

namespace lockstep {

Work relu_work(const Shape& x) { return elementwise_work(x, 1); }

// dx = dy where y > 0, else 0
Var relu(Context& ctx, const Var& x) {
  check_floating("relu", "x", x.value);
  Tensor y = Tensor::empty(x.value.shape(), x.value.dtype(), x.value.device());
  ctx.kernels.relu_forward(ctx.stream, x.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  Tensor kept = x.requires_grad() ? y : Tensor();
  return ctx.tape->record(std::move(y), inputs,
                          [&kernels = ctx.kernels, stream = ctx.stream, kept = std::move(kept)](BackwardPass& pass) {
                            ElementwiseGrad g = elementwise_grad(pass, 0);
                            kernels.relu_backward(stream, g.dy, kept, g.dx.grad, g.dx.mode);
                          });
}

OpSpec relu_spec() {
  const auto sample = [](std::string name, Shape shape) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = shape}},
                    .run = [](Context& ctx, const SampleValues& in) { return relu(ctx, in.vars[0]); },
                    .kink = [](Context&, const SampleValues& in) { return in.vars[0]; },
                    .work = relu_work(shape)};
  };
  return {.name = "relu",
          .samples = {sample("size 1", {1, 1, 1, 1}), sample("odd size", {2, 3, 5, 7}), sample("matrix", {3, 11})}};
}

}  // namespace lockstep
