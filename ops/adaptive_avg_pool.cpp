// SPDX-License-Identifier: Apache-2.0
#include "ops/adaptive_avg_pool.h"

#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape adaptive_avg_pool_shape(const Shape& x, Pair output) {
  check_axes("adaptive_avg_pool", "x", x, 4, "(N, C, H, W)");
  if (output.h < 1 || output.w < 1)
    throw_bad_argument("adaptive_avg_pool", "output", std::to_string(output.h) + "x" + std::to_string(output.w), "at least 1x1");
  return {x[0], x[1], output.h, output.w};
}

namespace {

// Positions in all `count` windows along an axis of `extent` pixels.
std::int64_t window_positions(std::int64_t extent, std::int64_t count) {
  std::int64_t positions = 0;
  for (std::int64_t p = 0; p < count; ++p) positions += ((p + 1) * extent + count - 1) / count - p * extent / count;
  return positions;
}

}  // namespace

Work adaptive_avg_pool_work(const Shape& x, Pair output) {
  const Shape y = adaptive_avg_pool_shape(x, output);
  if (y == x) return {};
  return {.inputs = x.numel(),
          .outputs = y.numel(),
          .other_operations = count_product({x[0], x[1], window_positions(x[2], output.h), window_positions(x[3], output.w)})};
}

// dx[n,c,h,w] = sum of dy[n,c,p,q] / size(p,q) over the windows (p,q) that hold (h,w); size = the window's number of pixels
Var adaptive_avg_pool(Context& ctx, const Var& x, Pair output) {
  const Shape shape = adaptive_avg_pool_shape(x.value.shape(), output);
  check_floating("adaptive_avg_pool", "x", x.value);
  if (shape == x.value.shape()) return x;
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.adaptive_avg_pool_forward(ctx.stream, x.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.adaptive_avg_pool_backward(stream, pass.grad_output(), dx.grad, dx.mode);
  });
}

OpSpec adaptive_avg_pool_spec() {
  const auto sample = [](std::string name, Shape x, Pair output) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [output](Context& ctx, const SampleValues& in) { return adaptive_avg_pool(ctx, in.vars[0], output); },
                    .work = adaptive_avg_pool_work(x, output)};
  };
  return {.name = "adaptive_avg_pool", .samples = {
      sample("to one pixel", {2, 3, 4, 5}, {1, 1}),
      sample("even windows", {1, 17, 4, 6}, {2, 3}),
      sample("overlapping windows", {2, 3, 5, 7}, {3, 4}),
      sample("larger than the image", {1, 5, 2, 3}, {5, 7}),
      sample("from one pixel", {1, 3, 1, 1}, {2, 2}),
  }};
}

}  // namespace lockstep
