// SPDX-License-Identifier: Apache-2.0
#include "ops/response_norm.h"

#include <cmath>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape response_norm_shape(const Shape& x, const ResponseNorm& params) {
  constexpr std::string_view kOp = "response_norm";
  check_axes(kOp, "x", x, 4, "(N, C, H, W)");
  if (params.size < 1) throw_bad_argument(kOp, "size", std::to_string(params.size), "at least 1 channel");
  const auto check = [&](std::string_view name, double value, bool fits, const char* want) {
    if (!std::isfinite(value) || !fits) throw_bad_argument(kOp, name, std::to_string(value), want);
  };
  check("alpha", params.alpha, params.alpha >= 0, "a finite number, at least 0");
  check("beta", params.beta, params.beta >= 0, "a finite number, at least 0");
  check("k", params.k, params.k > 0, "a finite number above 0");
  return x;
}

Work response_norm_work(const Shape& x, const ResponseNorm& params) { return elementwise_work(x, 2 * std::int64_t{params.size} + 4); }

// With s_c = k + alpha / size * sum of x_j^2 over c's window (j from c - size/2 to c + (size-1)/2) and y_c = x_c s_c^-beta:
// dx_c = dy_c s_c^-beta - 2 alpha beta / size * x_c * sum of dy_j x_j s_j^(-beta-1) over the j whose window holds c
Var response_norm(Context& ctx, const Var& x, const ResponseNorm& params) {
  const Shape shape = response_norm_shape(x.value.shape(), params);
  check_floating("response_norm", "x", x.value);
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.response_norm_forward(ctx.stream, x.value, params, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  Tensor kept = x.requires_grad() ? x.value : Tensor();
  return ctx.tape->record(std::move(y), inputs,
                          [&kernels = ctx.kernels, stream = ctx.stream, params, kept = std::move(kept)](BackwardPass& pass) {
                            GradTarget dx = pass.target(0);
                            kernels.response_norm_backward(stream, pass.grad_output(), kept, params, dx.grad, dx.mode);
                          });
}

OpSpec response_norm_spec() {
  const auto sample = [](std::string name, Shape x, ResponseNorm params) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [params](Context& ctx, const SampleValues& in) { return response_norm(ctx, in.vars[0], params); },
                    .work = response_norm_work(x, params)};
  };
  return {.name = "response_norm", .samples = {
      sample("size 1", {1, 1, 1, 1}, {.size = 1, .alpha = 0.5}),
      sample("5 channels of 17", {2, 17, 3, 2}, {.size = 5, .alpha = 2, .k = 2}),
      sample("even window", {1, 8, 2, 3}, {.size = 4, .alpha = 1, .beta = 0.5}),
      sample("window wider than the image has channels", {2, 3, 2, 2}, {.size = 9, .alpha = 3, .beta = 1.25, .k = 0.5}),
      sample("33 channels, steep", {1, 33, 1, 2}, {.size = 3, .alpha = 4, .beta = 2}),
  }};
}

}  // namespace lockstep
