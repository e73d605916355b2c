// SPDX-License-Identifier: Apache-2.0
#include "ops/global_avg_pool.h"

#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape global_avg_pool_shape(const Shape& x) {
  check_axes("global_avg_pool", "x", x, 4, "(N, C, H, W)");
  return {x[0], x[1]};
}

Work global_avg_pool_work(const Shape& x) {
  return {.inputs = x.numel(), .outputs = global_avg_pool_shape(x).numel(), .other_operations = x.numel()};
}

// dx[n,c,h,w] = dy[n,c] / (H W)
Var global_avg_pool(Context& ctx, const Var& x) {
  const Shape shape = global_avg_pool_shape(x.value.shape());
  check_floating("global_avg_pool", "x", x.value);
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.global_avg_pool_forward(ctx.stream, x.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.global_avg_pool_backward(stream, pass.grad_output(), dx.grad, dx.mode);
  });
}

OpSpec global_avg_pool_spec() {
  const auto sample = [](std::string name, Shape x) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [](Context& ctx, const SampleValues& in) { return global_avg_pool(ctx, in.vars[0]); },
                    .work = global_avg_pool_work(x)};
  };
  return {.name = "global_avg_pool",
          .samples = {sample("size 1", {1, 1, 1, 1}), sample("odd size", {2, 5, 3, 7}), sample("one pixel", {3, 17, 1, 1})}};
}

}  // namespace lockstep
