// SPDX-License-Identifier: Apache-2.0
#include "ops/to_statistics.h"

#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

// dx = dy, rounded
Var to_statistics(Context& ctx, const Var& x) {
  check_floating("to_statistics", "x", x.value);
  const DType narrow = x.value.dtype();
  if (narrow == stats_dtype(narrow)) return x;
  Tensor y = Tensor::empty(x.value.shape(), stats_dtype(narrow), x.value.device());
  ctx.kernels.convert(ctx.stream, x.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream, narrow](BackwardPass& pass) {
    const Tensor& dy = pass.grad_output();
    Tensor rounded = Tensor::empty(dy.shape(), narrow, dy.device());
    kernels.convert(stream, dy, rounded);
    if (pass.give(0, std::move(rounded))) return;
    GradTarget dx = pass.target(0);
    kernels.accumulate(stream, rounded, dx.grad, dx.mode);
  });
}

OpSpec to_statistics_spec() {
  const auto sample = [](std::string name, Shape x) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [](Context& ctx, const SampleValues& in) { return to_statistics(ctx, in.vars[0]); }};
  };
  return {.name = "to_statistics", .samples = {sample("size 1", {1, 1}), sample("odd size", {3, 37})}};
}

}  // namespace lockstep
