// A whole network on the reference kernels: its gradient against central differences, evaluation, and the block's structure.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "tests/models/support.h"

namespace lockstep::test {
namespace {

ModelOptions tiny() {
  return {.name = "resnet8", .classes = 3, .channels = 2, .height = 8, .width = 8, .base_width = 3, .dtype = DType::kF64};
}

std::vector<double> copy(const Tensor& tensor) {
  const auto values = tensor.host<double>();
  return {values.begin(), values.end()};
}

// d loss / d t at t = 0 for value + t * direction, by central differences and by the gradient.
struct Slopes {
  double numeric = 0, analytic = 0;
};

Slopes slopes(Tensor& value, const Tensor& gradient, std::uint64_t stream, const std::function<double()>& loss) {
  constexpr double kStep = 1e-6;
  const std::vector<double> at = copy(value);
  Slopes result;
  for (const double sign : {1.0, -1.0}) {
    for (std::size_t i = 0; i < at.size(); ++i) value.host<double>()[i] = at[i] + sign * kStep * formula_signed(stream, i);
    result.numeric += sign * loss() / (2 * kStep);
  }
  std::ranges::copy(at, value.host<double>().begin());
  for (std::size_t i = 0; i < at.size(); ++i) result.analytic += formula_signed(stream, i) * gradient.host<double>()[i];
  return result;
}

// Central differences at step h err by rounding, u * |loss| * (some thousand roundings) / h ~ 1e-9, and by h^2 / 6 times the
// third derivative ~ 1e-12 * its size. A ReLU that switches within the step would show as 1e-4 or more; none does here.
void expect_equal(const Slopes& s, const std::string& what) {
  EXPECT_NEAR(s.numeric, s.analytic, 1e-8 + 1e-6 * std::abs(s.analytic)) << what;
}

void check_gradients(const ModelOptions& options, std::int64_t images_count) {
  const auto model = make_model(options);
  set_formula_weights(*model);
  Shard shard(*model);
  Tensor images = formula_images(0, {images_count, options.channels, options.height, options.width});
  const Tensor labels = formula_labels(0, images_count, options.classes);
  const auto loss = [&] { return shard.loss(images, labels, 0.1); };
  Tensor image_gradient;
  EXPECT_EQ(shard.backward(images, labels, 0.1, &image_gradient), loss());
  for (Parameter* parameter : model->parameters())
    expect_equal(slopes(parameter->value, shard.gradient_of(*parameter), 5000, loss), parameter->name);
  expect_equal(slopes(images, image_gradient, 5001, loss), "images");
}

TEST(Network, GradientOfBasicBlocksEqualsCentralDifferences) { check_gradients(tiny(), 3); }

TEST(Network, GradientThroughTheImagenetStemEqualsCentralDifferences) {
  ModelOptions options = tiny();
  options.stem = Stem::kImagenet;
  options.height = 38, options.width = 33;
  check_gradients(options, 3);
}

TEST(Network, EveryParameterIsReportedReadyOnce) {
  const auto model = make_model(tiny());
  set_formula_weights(*model);
  Shard shard(*model);
  for (int pass = 0; pass < 2; ++pass) {
    shard.backward(formula_images(0, {2, 2, 8, 8}), formula_labels(0, 2, 3));
    std::vector<int> order = shard.ready_order();
    EXPECT_EQ(order.back(), 0) << "the first layer's weight comes last";
    std::ranges::sort(order);
    std::vector<int> all(model->parameters().size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
}

TEST(Network, EvaluationIsIndependentOfTheBatchAndRepeatable) {
  const auto model = make_model(tiny());
  set_formula_weights(*model);
  Shard shard(*model);
  const Tensor images = formula_images(0, {4, 2, 8, 8});
  const std::vector<double> together = copy(shard.logits(images, false));
  EXPECT_EQ(copy(shard.logits(images, false)), together);
  EXPECT_NE(copy(shard.logits(images, true)), together) << "training uses the batch's statistics";
  for (std::size_t i = 0; i < 4; ++i) {  // batches of one
    const Tensor single = images.view({1, 2, 8, 8}, DType::kF64, i * 2 * 8 * 8 * sizeof(double)).clone();
    const std::vector<double> alone = copy(shard.logits(single, false));
    const auto row = together.begin() + static_cast<long>(3 * i);
    EXPECT_EQ(alone, std::vector<double>(row, row + 3));
  }
}

TEST(Network, BatchOfOneTrainsAsLongAsTheLastMapIsNotOnePixel) {
  const auto model = make_model(tiny());
  set_formula_weights(*model);
  Shard shard(*model);
  EXPECT_TRUE(std::isfinite(shard.backward(formula_images(0, {1, 2, 8, 8}), formula_labels(0, 1, 3))));
  EXPECT_THROW(shard.backward(formula_images(0, {1, 2, 4, 4}), formula_labels(0, 1, 3)), UserError);
  EXPECT_THROW(model->check_input({1, 2, 4, 4}, 1), UserError) << "the shape rules say so beforehand";
}

Parameter& named(const Model& model, const std::string& name) {
  for (Parameter* parameter : model.parameters())
    if (parameter->name == name) return *parameter;
  throw std::runtime_error("no parameter " + name);
}

TEST(Network, ZeroGammaMakesBlocksIgnoreTheirBranches) {
  for (const bool zero_gamma : {true, false}) {
    ModelOptions options = tiny();
    options.zero_gamma = zero_gamma;
    const auto model = make_model(options);
    model->initialise(1);
    Shard shard(*model);
    const Tensor images = formula_images(0, {2, 2, 8, 8});
    const std::vector<double> before = copy(shard.logits(images, true));
    for (double& value : named(*model, "layer1.0.conv1.weight").value.host<double>()) value *= -1;
    EXPECT_EQ(copy(shard.logits(images, true)) == before, zero_gamma);
  }
}

TEST(Network, ImagesMayBeOfAnotherSizeThanTheOptions) {
  const auto model = make_model(tiny());
  set_formula_weights(*model);
  Shard shard(*model);
  EXPECT_EQ(shard.logits(formula_images(0, {1, 2, 19, 11}), false).shape(), Shape({1, 3}));
}

}  // namespace
}  // namespace lockstep::test
