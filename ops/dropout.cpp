// SPDX-License-Identifier: Apache-2.0
#include "ops/dropout.h"

#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

void check_dropout(double p) {
  if (!(p >= 0 && p < 1)) throw_bad_argument("dropout", "p", std::to_string(p), "0 <= p < 1");
}

Work dropout_work(const Shape& x) { return elementwise_work(x, 2); }

// dx = dy * keep / (1 - p), with the mask of the forward pass
Var dropout(Context& ctx, const Var& x, double p) {
  check_floating("dropout", "x", x.value);
  check_dropout(p);
  if (!ctx.training) return x;
  const RandomKey key = ctx.next_dropout_key();  // also for p = 0: the later ops' keys do not depend on p
  if (p == 0) return x;
  Tensor y = Tensor::empty(x.value.shape(), x.value.dtype(), x.value.device());
  ctx.kernels.dropout(ctx.stream, x.value, p, key, y, GradMode::kOverwrite);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream, p, key](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.dropout(stream, pass.grad_output(), p, key, dx.grad, dx.mode);
  });
}

OpSpec dropout_spec() {
  const auto sample = [](std::string name, Shape x, double p) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [p](Context& ctx, const SampleValues& in) { return dropout(ctx, in.vars[0], p); },
                    .work = dropout_work(x)};
  };
  return {.name = "dropout",
          .samples = {sample("p 0.5", {3, 17}, 0.5), sample("p 0.1, odd size", {2, 3, 5, 1}, 0.1)}};
}

}  // namespace lockstep
