// SPDX-License-Identifier: Apache-2.0
#include "ops/flatten_chw.h"

#include <limits>
#include <utility>

#include "core/error.h"
#include "ops/checks.h"
#include "ops/flatten.h"
#include "ops/registry.h"

namespace lockstep {

Work flatten_chw_work(const Shape& x) {
  const bool moves = x[1] > 1 && x[2] * x[3] > 1;
  return moves ? Work{.inputs = x.numel(), .outputs = x.numel()} : Work{};
}

// An image's memory is H * W pixels of C channels. Seen as H * W groups of C channels each, shuffling them is the transpose to C groups
// of H * W; and the gradient's the transpose back.
Var flatten_chw(Context& ctx, const Var& x) {
  const Shape& shape = x.value.shape();
  const Shape flat = flatten_shape(shape);
  const std::int64_t channels = shape[1], pixels = shape[2] * shape[3];
  if (channels == 1 || pixels == 1) return flatten(ctx, x);
  check_floating("flatten_chw", "x", x.value);
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  LS_CHECK(channels <= kMost && pixels <= kMost, "flatten_chw: an image of " + shape.str());
  const Shape columns{flat[0], flat[1], 1, 1};
  Tensor y = Tensor::empty(flat, x.value.dtype(), x.value.device());
  ctx.kernels.shuffle_channels(ctx.stream, x.value.reshape(columns), static_cast<int>(pixels), y.reshape(columns), GradMode::kOverwrite);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs,
                          [&kernels = ctx.kernels, stream = ctx.stream, columns, groups = static_cast<int>(channels)](BackwardPass& pass) {
                            GradTarget dx = pass.target(0);
                            kernels.shuffle_channels(stream, pass.grad_output().reshape(columns), groups, dx.grad.reshape(columns), dx.mode);
                          });
}

OpSpec flatten_chw_spec() {
  const auto sample = [](std::string name, Shape x) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [](Context& ctx, const SampleValues& in) { return flatten_chw(ctx, in.vars[0]); },
                    .work = flatten_chw_work(x)};
  };
  return {.name = "flatten_chw",
          .samples = {sample("one pixel", {2, 3, 1, 1}), sample("one channel", {2, 1, 3, 2}), sample("odd size", {2, 5, 3, 7}),
                      sample("as AlexNet's", {1, 16, 6, 6})}};
}

}  // namespace lockstep
