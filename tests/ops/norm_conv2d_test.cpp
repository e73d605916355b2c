// norm_conv2d's own promises: the same bits as batch_norm then conv2d, forward and backward, and the normalised image is
// never kept.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/conv2d.h"
#include "ops/norm_conv2d.h"
#include "tests/ops/sample_values.h"

namespace lockstep {
namespace {

constexpr std::int64_t kChannels = 8;

struct Layer {
  Parameter gamma{0, "bn.weight", ParameterKind::kNormScale, random_tensor({kChannels}, DType::kF64, 11, 0.5, 1.5)};
  Parameter beta{1, "bn.bias", ParameterKind::kNormBias, random_tensor({kChannels}, DType::kF64, 12)};
  Parameter w{2, "conv.weight", ParameterKind::kWeight, random_tensor({4, kChannels, 3, 3}, DType::kF64, 15)};
  Buffer mean{0, "bn.running_mean", random_tensor({kChannels}, DType::kF64, 13)};
  Buffer var{1, "bn.running_var", random_tensor({kChannels}, DType::kF64, 14, 0.5, 1.5)};
  BatchNormState state() const { return {gamma, beta, mean, var}; }
};

class Gradients final : public GradSink {
 public:
  Tensor gradient(const Parameter& p) override { return of[p.id] = Tensor::empty(p.value.shape(), p.value.dtype()); }
  void mark_ready(const Parameter&) override {}
  std::map<int, Tensor> of;
};

struct Outcome {
  Tensor y, dx;
  Gradients gradients;
  std::size_t kept_bytes = 0;  // by the tape after forward, x and y left out
};

constexpr Conv2dParams kParams{.pad = {1, 1}};

Outcome run(const Layer& layer, const Tensor& x, bool fused) {
  const auto kernels = make_reference_kernels();
  Tape tape;
  Context ctx{.kernels = *kernels, .tape = &tape, .training = true};
  Outcome outcome;
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  Var input = tape.input(x);
  Var y = [&] {
    if (fused) return norm_conv2d(ctx, input, layer.state(), 1e-5, ctx.use(layer.w), kParams);
    const Var z = batch_norm(ctx, input, layer.state(), {.relu = true});
    return conv2d(ctx, z, ctx.use(layer.w), kParams);
  }();
  outcome.kept_bytes = cpu_pool().stats().in_use_bytes - before - y.value.nbytes();
  outcome.y = y.value;
  tape.backward(y, random_tensor(y.value.shape(), DType::kF64, 3), &outcome.gradients);
  outcome.dx = tape.gradient_of(input);
  return outcome;
}

std::vector<double> values(const Tensor& tensor) { return {tensor.host<double>().begin(), tensor.host<double>().end()}; }

TEST(NormConv2d, GivesTheBitsOfBatchNormThenConvolution) {
  const Layer layer;
  const Tensor x = random_tensor({3, kChannels, 6, 5}, DType::kF64, 1);
  const Outcome fused = run(layer, x, true), plain = run(layer, x, false);
  EXPECT_EQ(values(fused.y), values(plain.y));
  EXPECT_EQ(values(fused.dx), values(plain.dx));
  for (int id = 0; id < 3; ++id) EXPECT_EQ(values(fused.gradients.of.at(id)), values(plain.gradients.of.at(id))) << id;
}

TEST(NormConv2d, KeepsNoNormalisedImage) {
  const Layer layer;
  const Tensor x = random_tensor({4, kChannels, 32, 32}, DType::kF64, 1);
  const Outcome fused = run(layer, x, true), plain = run(layer, x, false);
  EXPECT_LT(fused.kept_bytes, x.nbytes() / 8);  // vectors only
  EXPECT_GE(plain.kept_bytes, x.nbytes());      // the control
}

TEST(NormConv2d, NamesWhatDoesNotFit) {
  const auto kernels = make_reference_kernels();
  Context ctx{.kernels = *kernels, .training = true};
  const Layer layer;
  const Var w{layer.w.value};
  EXPECT_THROW(norm_conv2d(ctx, {random_tensor({1, kChannels + 1, 4, 4}, DType::kF64, 1)}, layer.state(), 1e-5, w), UserError);
  EXPECT_THROW(norm_conv2d(ctx, {random_tensor({1, kChannels, 1, 1}, DType::kF64, 1)}, layer.state(), 1e-5, w, kParams), UserError);
}

}  // namespace
}  // namespace lockstep
