// A whole training step on the fast CPU backend in f32 against the reference in f64.
//
// No bound of a 50-layer network's rounding error can be computed that is worth having, so it is measured: the same step in
// f32 on the reference backend, which rounds every stored value once and nothing else. Sums in f32 add at most a random walk
// of their length on top: sqrt(longest sum) times the yardstick. See note "switching ReLUs" below.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cpu/fast/fast_kernels.h"
#include "tests/models/support.h"

namespace lockstep::test {
namespace {

struct Step {
  double loss = 0;
  std::vector<std::vector<double>> gradients;  // by parameter id
};

Tensor to_f32(const Tensor& wide) {
  Tensor narrow = Tensor::empty(wide.shape(), DType::kF32);
  for (std::size_t i = 0; i < narrow.host<float>().size(); ++i)
    narrow.host<float>()[i] = static_cast<float>(wide.host<double>()[i]);
  return narrow;
}

Tensor to_f64(const Tensor& narrow) {
  Tensor wide = Tensor::empty(narrow.shape(), DType::kF64);
  for (std::size_t i = 0; i < wide.host<double>().size(); ++i) wide.host<double>()[i] = double{narrow.host<float>()[i]};
  return wide;
}

// Same weights and images for both dtypes: what initialise draws and formula_images, rounded to f32.
Step run_step(ModelOptions options, DType dtype, std::unique_ptr<Kernels> kernels, int seed) {
  options.dtype = dtype;
  const auto model = make_model(options);
  model->initialise(static_cast<std::uint64_t>(seed));
  Shard shard(*model, std::move(kernels));
  const Tensor images = to_f32(formula_images(seed, {4, options.channels, options.height, options.width}));
  Step step;
  step.loss = shard.backward(dtype == DType::kF64 ? to_f64(images) : images, formula_labels(seed, 4, options.classes));
  for (const Parameter* parameter : model->parameters()) {
    const Tensor gradient = shard.gradient_of(*parameter);
    const Tensor wide = dtype == DType::kF64 ? gradient : to_f64(gradient);
    const auto values = wide.host<double>();
    step.gradients.emplace_back(values.begin(), values.end());
  }
  return step;
}

double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(got[i] - want[i], 2);
    size += std::pow(want[i], 2);
  }
  return std::sqrt(difference / size);
}

// Note: switching ReLUs. In about a third of the steps some value lies so near 0 that rounding decides whether it passes a
// ReLU, on any backend; gradients before that layer then differ by 1e-2. A wrong kernel is wrong in every step, so each
// parameter counts with its best of eight.
constexpr int kSteps = 8;

struct Errors {
  std::vector<double> gradients = {};  // by parameter id, best of the steps
  double loss = 1;
  double rms() const {
    double sum = 0;
    for (const double error : gradients) sum += error * error;
    return std::sqrt(sum / static_cast<double>(gradients.size()));
  }
  void add(const Step& got, const Step& want) {
    gradients.resize(want.gradients.size(), 1.0);
    for (std::size_t p = 0; p < gradients.size(); ++p)
      gradients[p] = std::min(gradients[p], relative_error(got.gradients[p], want.gradients[p]));
    loss = std::min(loss, std::abs(got.loss - want.loss) / want.loss);
  }
};

void expect_fast_as_good_as_f32_allows(const ModelOptions& options, double longest_sum) {
  ModelOptions other = options;  // the negative control: a small change of the network
  other.bn_eps = 1e-4;
  Errors yardstick, fast, control;
  for (int seed = 0; seed < kSteps; ++seed) {
    const Step truth = run_step(options, DType::kF64, make_reference_kernels(), seed);
    yardstick.add(run_step(options, DType::kF32, make_reference_kernels(), seed), truth);
    fast.add(run_step(options, DType::kF32, make_fast_kernels(1), seed), truth);
    control.add(run_step(other, DType::kF32, make_fast_kernels(1), seed), truth);
  }
  const double allowed = std::sqrt(longest_sum) * yardstick.rms();
  EXPECT_GT(yardstick.rms(), dtype_epsilon(DType::kF32));
  EXPECT_LT(fast.rms(), allowed);
  EXPECT_LT(fast.loss, allowed);
  EXPECT_GT(control.rms(), allowed);
  ::testing::Test::RecordProperty("fast_over_yardstick", std::to_string(fast.rms() / yardstick.rms()));
}

// The longest sums of 4 images: a stem's filter gradient, over 4 x 32 x 32 positions.
TEST(Backends, FastEqualsReferenceOnBottleneckBlocks) {
  expect_fast_as_good_as_f32_allows({.name = "resnet50", .classes = 10, .height = 64, .width = 64, .base_width = 8}, 4 * 32 * 32);
}

TEST(Backends, FastEqualsReferenceOnBasicBlocksOfOddWidth) {
  expect_fast_as_good_as_f32_allows({.name = "resnet20", .classes = 7, .channels = 1, .height = 28, .width = 28, .base_width = 5},
                                    4 * 28 * 28);
}

}  // namespace
}  // namespace lockstep::test
