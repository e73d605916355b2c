// SPDX-License-Identifier: Apache-2.0
#include "ops/flatten.h"

#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape flatten_shape(const Shape& x) {
  check_axes("flatten", "x", x, 4, "(N, C, H, W)");
  return {x[0], x[1] * x[2] * x[3]};
}

// dx = dy under x's shape
Var flatten(Context& ctx, const Var& x) {
  Tensor y = x.value.reshape(flatten_shape(x.value.shape()));
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(
      std::move(y), inputs,
      [&kernels = ctx.kernels, stream = ctx.stream, shape = x.value.shape()](BackwardPass& pass) {
        Tensor dy = pass.take_grad_output().reshape(shape);
        if (pass.give(0, std::move(dy))) return;
        GradTarget dx = pass.target(0);
        kernels.accumulate(stream, dy, dx.grad, dx.mode);
      });
}

OpSpec flatten_spec() {
  const auto sample = [](std::string name, Shape x) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [](Context& ctx, const SampleValues& in) { return flatten(ctx, in.vars[0]); },
                    .work = flatten_work(x)};
  };
  return {.name = "flatten", .samples = {sample("size 1", {1, 1, 1, 1}), sample("odd size", {2, 5, 3, 7})}};
}

}  // namespace lockstep
