// SPDX-License-Identifier: Apache-2.0
#include "ops/shuffle_channels.h"

#include <limits>
#include <string>
#include <utility>

#include "core/error.h"
#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape shuffle_channels_shape(const Shape& x, int groups) {
  check_axes("shuffle_channels", "x", x, 4, "(N, C, H, W)");
  if (groups < 1 || x[1] % groups != 0)
    throw_bad_argument("shuffle_channels", "groups", std::to_string(groups), "a divisor of x's " + std::to_string(x[1]) + " channels");
  return x;
}

Work shuffle_channels_work(const Shape& x, int groups) { return groups == 1 ? Work{} : elementwise_work(x, 0); }

// dx = dy shuffled with C / groups groups: the transpose back
Var shuffle_channels(Context& ctx, const Var& x, int groups) {
  const Shape shape = shuffle_channels_shape(x.value.shape(), groups);
  check_floating("shuffle_channels", "x", x.value);
  if (groups == 1) return x;
  LS_CHECK(shape[1] / groups <= std::numeric_limits<int>::max(), "shuffle_channels: too many channels");
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.shuffle_channels(ctx.stream, x.value, groups, y, GradMode::kOverwrite);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  const int back = static_cast<int>(shape[1] / groups);
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream, back](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.shuffle_channels(stream, pass.grad_output(), back, dx.grad, dx.mode);
  });
}

OpSpec shuffle_channels_spec() {
  const auto sample = [](std::string name, Shape x, int groups) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [groups](Context& ctx, const SampleValues& in) { return shuffle_channels(ctx, in.vars[0], groups); },
                    .work = shuffle_channels_work(x, groups)};
  };
  return {.name = "shuffle_channels", .samples = {
      sample("2 groups of 3", {2, 6, 3, 2}, 2),
      sample("3 groups of 10", {1, 30, 2, 1}, 3),
      sample("8 groups of 2, odd size", {1, 16, 3, 5}, 8),
      sample("5 groups of 11", {2, 55, 1, 1}, 5),
      sample("11 groups of 9", {1, 99, 1, 2}, 11),
  }};
}

}  // namespace lockstep
