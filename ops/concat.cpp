// SPDX-License-Identifier: Apache-2.0
#include "ops/concat.h"

#include <array>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "concat";

std::string argument_name(std::size_t i) { return "input " + std::to_string(i); }

// dx_i = the channels of dy that came from x_i
struct ConcatBackward {
  Kernels& kernels;
  Stream stream;
  int inputs;
  std::array<std::int64_t, kConcatMaxInputs> channels;

  void operator()(BackwardPass& pass) const {
    std::int64_t begin = 0;
    for (int i = 0; i < inputs; ++i) {
      const std::int64_t count = channels[static_cast<std::size_t>(i)];
      if (pass.needs(i)) {
        GradTarget dx = pass.target(i);
        kernels.copy_channels(stream, pass.grad_output(), begin, dx.grad, 0, count, dx.mode);
      }
      begin += count;
    }
  }
};

}  // namespace

Shape concat_shape(std::span<const Shape> inputs) {
  if (inputs.empty() || inputs.size() > kConcatMaxInputs)
    throw_bad_argument(kOp, "inputs", std::to_string(inputs.size()) + " of them",
                       "1 to " + std::to_string(kConcatMaxInputs));
  Shape result;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = inputs[i];
    check_axes(kOp, argument_name(i), shape, 4, "(N, C, H, W)");
    if (i == 0) {
      result = shape;
      continue;
    }
    check_shape(kOp, argument_name(i), shape, {result[0], shape[1], result[2], result[3]});
    result.set(1, result[1] + shape[1]);
  }
  return result;
}

Work concat_work(std::span<const Shape> inputs) { return elementwise_work(concat_shape(inputs), 0); }

Var concat(Context& ctx, std::span<const Var> inputs) {
  std::array<Shape, kConcatMaxInputs> shapes;
  for (std::size_t i = 0; i < std::min(inputs.size(), kConcatMaxInputs); ++i) shapes[i] = inputs[i].value.shape();
  if (inputs.size() > kConcatMaxInputs)
    throw_bad_argument(kOp, "inputs", std::to_string(inputs.size()) + " of them",
                       "at most " + std::to_string(kConcatMaxInputs));
  const Shape shape = concat_shape(std::span(shapes).first(inputs.size()));
  check_floating(kOp, argument_name(0), inputs[0].value);
  Tensor y = Tensor::empty(shape, inputs[0].value.dtype(), inputs[0].value.device());
  ConcatBackward backward{ctx.kernels, ctx.stream, static_cast<int>(inputs.size()), {}};
  std::array<const Var*, kConcatMaxInputs> pointers{};
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i].value;
    check_dtype(kOp, argument_name(i), x, y.dtype());
    pointers[i] = &inputs[i];
    backward.channels[i] = x.shape()[1];
    ctx.kernels.copy_channels(ctx.stream, x, 0, y, begin, backward.channels[i], GradMode::kOverwrite);
    begin += backward.channels[i];
  }
  if (!ctx.recording()) return {std::move(y)};
  return ctx.tape->record(std::move(y), std::span(pointers).first(inputs.size()), backward);
}

OpSpec concat_spec() {
  const auto sample = [](std::string name, std::vector<SampleInput> inputs) {
    std::vector<Shape> shapes;
    for (const SampleInput& input : inputs) shapes.push_back(input.shape);
    return OpSample{.name = std::move(name),
                    .inputs = std::move(inputs),
                    .run = [](Context& ctx, const SampleValues& in) { return concat(ctx, in.vars); },
                    .work = concat_work(shapes)};
  };
  return {.name = "concat", .samples = {
      sample("one input, size 1", {{.name = "a", .shape = {1, 1, 1, 1}}}),
      sample("two inputs", {{.name = "a", .shape = {2, 3, 2, 3}}, {.name = "b", .shape = {2, 1, 2, 3}}}),
      sample("constant in the middle", {{.name = "a", .shape = {2, 1, 3, 1}},
                                        {.name = "b", .shape = {2, 4, 3, 1}, .role = InputRole::kConstant},
                                        {.name = "c", .shape = {2, 5, 3, 1}}}),
  }};
}

}  // namespace lockstep
