// SPDX-License-Identifier: Apache-2.0
#include "ops/add.h"

#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {

Work add_work(const Shape& a) {
  Work work = elementwise_work(a, 1);
  work.inputs = count_product({2, work.inputs});
  return work;
}

// da = dy, db = dy
Var add(Context& ctx, const Var& a, const Var& b) {
  check_floating("add", "a", a.value);
  check_shape("add", "b", b.value.shape(), a.value.shape());
  check_dtype("add", "b", b.value, a.value.dtype());
  Tensor y = Tensor::empty(a.value.shape(), a.value.dtype(), a.value.device());
  ctx.kernels.add(ctx.stream, a.value, b.value, y);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&a, &b};
  return ctx.tape->record(std::move(y), inputs, [&kernels = ctx.kernels, stream = ctx.stream](BackwardPass& pass) {
    Tensor dy = pass.take_grad_output();
    if (pass.needs(1)) {  // b first: a may then take dy itself
      GradTarget db = pass.target(1);
      kernels.accumulate(stream, dy, db.grad, db.mode);
    }
    if (!pass.needs(0) || pass.give(0, std::move(dy))) return;
    GradTarget da = pass.target(0);
    kernels.accumulate(stream, dy, da.grad, da.mode);
  });
}

OpSpec add_spec() {
  const auto sum = [](Context& ctx, const SampleValues& in) { return add(ctx, in.vars[0], in.vars[1]); };
  const auto sample = [&](std::string name, Shape shape) {
    return OpSample{
        .name = std::move(name), .inputs = {{.name = "a", .shape = shape}, {.name = "b", .shape = shape}}, .run = sum, .work = add_work(shape)};
  };
  OpSpec spec{.name = "add", .samples = {sample("size 1", {1, 1, 1, 1}), sample("odd size", {3, 5, 1, 7})}};
  spec.samples.push_back({.name = "constant first",
                          .inputs = {{.name = "a", .shape = {2, 3}, .role = InputRole::kConstant},
                                     {.name = "b", .shape = {2, 3}}},
                          .run = sum,
                          .work = add_work({2, 3})});
  spec.samples.push_back({.name = "an input with itself",
                          .inputs = {{.name = "a", .shape = {2, 3, 2, 2}}},
                          .run = [](Context& ctx, const SampleValues& in) { return add(ctx, in.vars[0], in.vars[0]); },
                          .work = add_work({2, 3, 2, 2})});
  return spec;
}

}  // namespace lockstep
