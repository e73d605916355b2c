// SPDX-License-Identifier: Apache-2.0
#include "ops/shift_channels.h"

#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Shape shift_channels_shape(const Shape& x, int kernel) {
  check_axes("shift_channels", "x", x, 4, "(N, C, H, W)");
  if (kernel < 1 || kernel % 2 == 0) throw_bad_argument("shift_channels", "kernel", std::to_string(kernel), "an odd number, at least 1");
  return x;
}

namespace {

// Does it move anything?
bool shifts(const Shape& x, int kernel) { return kernel > 1 && x[1] >= std::int64_t{kernel} * kernel; }

}  // namespace

Work shift_channels_work(const Shape& x, int kernel) { return shifts(x, kernel) ? elementwise_work(x, 0) : Work{}; }

ShiftGroup shift_group(const ChannelShift& shift, std::int64_t channels, std::int64_t i) {
  const std::int64_t kernel = shift.kernel, groups = kernel * kernel, each = channels / groups, centre = groups / 2;
  const std::int64_t begin = i * each;
  if (i == groups - 1) return {begin, channels - begin, 0, 0};
  const std::int64_t place = i < centre ? i : i + 1;  // the centre's turn is at the end
  const std::int64_t down = place / kernel - kernel / 2, right = place % kernel - kernel / 2;
  return shift.inverse ? ShiftGroup{begin, each, -down, -right} : ShiftGroup{begin, each, down, right};
}

// dx = dy shifted the opposite way: each pixel of y has read one of x, and each of x was read at most once
Var shift_channels(Context& ctx, const Var& x, int kernel) {
  const Shape shape = shift_channels_shape(x.value.shape(), kernel);
  check_floating("shift_channels", "x", x.value);
  if (!shifts(shape, kernel)) return x;
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ctx.kernels.shift_channels(ctx.stream, x.value, {.kernel = kernel}, y, GradMode::kOverwrite);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream, kernel](BackwardPass& pass) {
    GradTarget dx = pass.target(0);
    kernels.shift_channels(stream, pass.grad_output(), {.kernel = kernel, .inverse = true}, dx.grad, dx.mode);
  });
}

OpSpec shift_channels_spec() {
  const auto sample = [](std::string name, Shape x, int kernel) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}},
                    .run = [kernel](Context& ctx, const SampleValues& in) { return shift_channels(ctx, in.vars[0], kernel); },
                    .work = shift_channels_work(x, kernel)};
  };
  return {.name = "shift_channels", .samples = {
      sample("a channel each", {2, 9, 3, 4}, 3),
      sample("3x3, channels left over", {1, 23, 4, 3}, 3),
      sample("5x5 on a smaller image", {1, 27, 3, 2}, 5),
      sample("a single pixel", {2, 19, 1, 1}, 3),
  }};
}

}  // namespace lockstep
