// SPDX-License-Identifier: Apache-2.0
#include "ops/max_pool.h"

#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/pool_shape.h"
#include "ops/registry.h"

namespace lockstep {

Shape max_pool_shape(const Shape& x, const Pool2dParams& params) {
  const Shape shape = pool_shape("max_pool", x, params);
  if (params.kernel.h * params.kernel.w > 256)
    throw_bad_argument("max_pool", "kernel", std::to_string(params.kernel.h) + "x" + std::to_string(params.kernel.w),
                       "at most 256 positions");
  return shape;
}

Work max_pool_work(const Shape& x, const Pool2dParams& params) {
  const std::int64_t outputs = max_pool_shape(x, params).numel();
  return {.inputs = x.numel(), .outputs = outputs, .other_operations = count_product({outputs, params.kernel.h * params.kernel.w - 1})};
}

// dx[n,c,h,w] = sum of dy[n,c,p,q] over the windows (p,q) whose maximum lies at (h,w)
Var max_pool(Context& ctx, const Var& x, const Pool2dParams& params) {
  const Shape shape = max_pool_shape(x.value.shape(), params);
  check_floating("max_pool", "x", x.value);
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  Tensor indices;
  if (ctx.recording() && x.requires_grad()) indices = Tensor::empty(shape, DType::kU8, y.device());
  ctx.kernels.max_pool_forward(ctx.stream, x.value, params, y, indices);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(
      std::move(y), inputs,
      [&kernels = ctx.kernels, stream = ctx.stream, params, indices = std::move(indices)](BackwardPass& pass) {
        GradTarget dx = pass.target(0);
        kernels.max_pool_backward(stream, pass.grad_output(), indices, params, dx.grad, dx.mode);
      });
}

OpSpec max_pool_spec() {
  const auto sample = [](std::string name, Shape x, Pool2dParams params) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x, .distinct = true}},
                    .run = [params](Context& ctx, const SampleValues& in) { return max_pool(ctx, in.vars[0], params); },
                    .work = max_pool_work(x, params)};
  };
  return {.name = "max_pool", .samples = {
      sample("size 1", {1, 1, 1, 1}, {.kernel = {1, 1}, .stride = {1, 1}}),
      sample("2x2", {2, 3, 4, 6}, {}),
      sample("3x3 stride 2 pad 1, odd size", {2, 3, 7, 5}, {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}}),
      sample("overlapping windows", {1, 2, 5, 5}, {.kernel = {3, 3}, .stride = {1, 1}}),
      sample("gaps between windows", {1, 2, 7, 7}, {.kernel = {2, 1}, .stride = {3, 2}}),
      sample("uneven in every parameter", {1, 3, 6, 9}, {.kernel = {2, 5}, .stride = {1, 3}, .pad = {1, 2}}),
      sample("rounded up", {2, 3, 6, 4}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil = true}),
      sample("rounded up, none from the padding behind", {1, 3, 5, 8}, {.kernel = {2, 3}, .stride = {2, 3}, .pad = {1, 1}, .ceil = true}),
  }};
}

}  // namespace lockstep
