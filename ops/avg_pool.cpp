// SPDX-License-Identifier: Apache-2.0
#include "ops/avg_pool.h"

#include <utility>

#include "ops/checks.h"
#include "ops/pool_shape.h"
#include "ops/registry.h"

namespace lockstep {

Shape avg_pool_shape(const Shape& x, const Pool2dParams& params) { return pool_shape("avg_pool", x, params); }

Work avg_pool_work(const Shape& x, const Pool2dParams& params) {
  const std::int64_t outputs = avg_pool_shape(x, params).numel();
  return {.inputs = x.numel(), .outputs = outputs, .other_operations = count_product({outputs, params.kernel.h, params.kernel.w})};
}

// dx[n,c,h,w] = sum of dy[n,c,p,q] / size(p,q) over the windows (p,q) that hold (h,w); size = the number of the window's
// positions in the image and, with count_include_pad, in its padding (all of them, unless `ceil` cuts the window off)
Var avg_pool(Context& ctx, const Var& x, const Pool2dParams& params) {
  const Shape shape = avg_pool_shape(x.value.shape(), params);
  check_floating("avg_pool", "x", x.value);
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.avg_pool_forward(ctx.stream, x.value, params, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream, params](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.avg_pool_backward(stream, pass.grad_output(), params, dx.grad, dx.mode);
  });
}

OpSpec avg_pool_spec() {
  const auto sample = [](std::string name, Shape x, Pool2dParams params) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [params](Context& ctx, const SampleValues& in) { return avg_pool(ctx, in.vars[0], params); },
                    .work = avg_pool_work(x, params)};
  };
  return {.name = "avg_pool", .samples = {
      sample("size 1", {1, 1, 1, 1}, {.kernel = {1, 1}, .stride = {1, 1}}),
      sample("2x2", {2, 3, 4, 6}, {}),
      sample("3x3 stride 2 pad 1, odd size", {2, 3, 7, 5}, {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}),
      sample("padding left out", {2, 3, 5, 5},
             {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1}, .count_include_pad = false}),
      sample("uneven in every parameter", {1, 5, 6, 9},
             {.kernel = {2, 5}, .stride = {1, 3}, .pad = {1, 2}, .count_include_pad = false}),
      sample("rounded up", {2, 3, 6, 4}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}),
      sample("rounded up, padding counted", {1, 3, 6, 7}, {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .ceil = true}),
      sample("rounded up, padding left out", {1, 3, 6, 7},
             {.kernel = {3, 4}, .stride = {2, 3}, .pad = {1, 2}, .count_include_pad = false, .ceil = true}),
  }};
}

}  // namespace lockstep
