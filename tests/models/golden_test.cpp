// The whole network against PyTorch, in f64, from the same weights and images: tests/golden/resnet_trajectory.py.
//
// Tolerances: losses 1e-9 relative (the project's promise). What follows from 20 steps is compared to its group's largest
// value. The trajectories' own sensitivity to a relative change of 1e-15 in images and weights was measured in PyTorch: below
// 1e-15 in the small networks, 4e-12 with the ImageNet stem.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/models/support.h"

namespace lockstep::test {
namespace {

constexpr int kSteps = 20;

struct Trajectory {
  ModelOptions model;
  Shape images;
  double lr = 0.05, weight_decay = 1e-3, smoothing = 0;
  SgdParams sgd{.momentum = 0.9};
};

Trajectory small_network() {
  return {.model = {.name = "resnet8", .classes = 4, .height = 16, .width = 16, .base_width = 8, .dtype = DType::kF64},
          .images = {8, 3, 16, 16}};
}

Trajectory nesterov_with_smoothing() {
  Trajectory t = small_network();
  t.smoothing = 0.1;
  t.sgd.nesterov = true;
  return t;
}

Trajectory imagenet_stem() {
  return {.model = {.name = "resnet18", .classes = 4, .height = 32, .width = 32, .base_width = 4, .dtype = DType::kF64},
          .images = {8, 3, 32, 32},
          .lr = 0.01};
}

std::vector<double> run(Model& model, const Trajectory& t) {
  set_formula_weights(model);
  Shard shard(model);
  std::vector<double> losses;
  for (int step = 0; step < kSteps; ++step) {
    const Tensor labels = formula_labels(step, t.images[0], t.model.classes);
    losses.push_back(shard.backward(formula_images(step, t.images), labels, t.smoothing));
    shard.update(t.lr, t.weight_decay, t.sgd);
  }
  return losses;
}

double largest_relative_difference(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i)
    largest = std::max(largest, std::abs(got[i] - want[i]) / std::abs(want[i]));
  return largest;
}

// |got - want| within `bound` of the largest |want|.
void expect_close(const std::vector<double>& got, const std::vector<double>& want, double bound, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  ASSERT_FALSE(want.empty()) << what;
  double scale = 0;
  for (const double value : want) scale = std::max(scale, std::abs(value));
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], bound * scale) << what << ", number " << i;
}

std::vector<double> sums(const Model& model, const std::function<double(double)>& term) {
  std::vector<double> result;
  for (const Parameter* parameter : model.parameters()) {
    double sum = 0;
    for (const double value : parameter->value.host<double>()) sum += term(value);
    result.push_back(sum);
  }
  return result;
}

std::vector<double> running_statistics(const Model& model) {
  std::vector<double> result;
  for (const Buffer* buffer : model.buffers()) {
    const auto values = buffer->value.host<double>();
    result.insert(result.end(), values.begin(), values.end());
  }
  return result;
}

void expect_same_as_torch(const std::string& key, const Trajectory& t) {
  Golden golden = read_golden("resnet_trajectory.txt");
  const auto model = make_model(t.model);
  const std::vector<double> losses = run(*model, t);
  ASSERT_EQ(golden.at(key + ".losses").size(), std::size_t{kSteps});
  EXPECT_LT(largest_relative_difference(losses, golden.at(key + ".losses")), 1e-9);
  expect_close(sums(*model, [](double v) { return v; }), golden.at(key + ".parameter_sums"), 1e-9, "sum of a parameter");
  expect_close(sums(*model, [](double v) { return v * v; }), golden.at(key + ".parameter_square_sums"), 1e-9,
               "sum of squares of a parameter");
  expect_close(running_statistics(*model), golden.at(key + ".running"), 1e-9, "running statistic");
}

TEST(GoldenTrajectory, SgdLossesEqualPyTorch) { expect_same_as_torch("sgd", small_network()); }

TEST(GoldenTrajectory, NesterovWithLabelSmoothingEqualsPyTorch) { expect_same_as_torch("nesterov", nesterov_with_smoothing()); }

TEST(GoldenTrajectory, ImagenetStemEqualsPyTorch) { expect_same_as_torch("imagenet_stem", imagenet_stem()); }

// Negative control: the comparison must see one changed hyper-parameter.
TEST(GoldenTrajectory, EveryHyperParameterIsSeen) {
  Golden golden = read_golden("resnet_trajectory.txt");
  const std::vector<std::pair<std::string, std::function<void(Trajectory&)>>> changes{
      {"learning rate", [](Trajectory& t) { t.lr *= 1.001; }},
      {"weight decay", [](Trajectory& t) { t.weight_decay *= 1.1; }},
      {"momentum", [](Trajectory& t) { t.sgd.momentum = 0.899; }},
      {"nesterov", [](Trajectory& t) { t.sgd.nesterov = true; }},
      {"label smoothing", [](Trajectory& t) { t.smoothing = 0.001; }},
      {"batch norm's eps", [](Trajectory& t) { t.model.bn_eps = 1e-4; }},
  };
  for (const auto& [what, change] : changes) {
    Trajectory t = small_network();
    change(t);
    const auto model = make_model(t.model);
    EXPECT_GT(largest_relative_difference(run(*model, t), golden.at("sgd.losses")), 1e-6) << what;
  }
}

struct Parity {
  const char* key;
  const char* model;
  bool v1;
};

std::unique_ptr<Model> parity_model(const Parity& p) {
  auto model = make_model({.name = p.model, .classes = 10, .height = 64, .width = 64, .v1 = p.v1, .dtype = DType::kF64});
  set_formula_weights(*model);
  return model;
}

std::vector<double> row(const Tensor& logits) {
  const auto values = logits.host<double>();
  return {values.begin(), values.end()};
}

// The projection onto a fixed direction sees what a norm does not: order and sign.
std::pair<double, double> norm_and_projection(const Parameter& parameter, const Tensor& gradient) {
  const Tensor direction = formula_tensor(kDirections + static_cast<std::uint64_t>(parameter.id), gradient.shape());
  const auto g = gradient.host<double>(), d = direction.host<double>();
  double square = 0, projection = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    square += g[i] * g[i];
    projection += g[i] * d[i];
  }
  return {std::sqrt(square), projection};
}

// 1e-10: 64x64 images through 50 layers; a relative change of 1e-15 of the weights moves them by 2e-13 at most.
TEST(GoldenParity, EvaluationLogitsEqualTorchvision) {
  Golden golden = read_golden("resnet_trajectory.txt");
  for (const Parity& p : {Parity{"resnet50_eval", "resnet50", false}, Parity{"resnet50_v1_eval", "resnet50", true},
                          Parity{"resnet18_eval", "resnet18", false}}) {
    const auto model = parity_model(p);
    Shard shard(*model);
    expect_close(row(shard.logits(formula_images(0, {2, 3, 64, 64}), false)), golden.at(std::string(p.key) + ".logits"),
                 1e-10, p.key);
  }
}

TEST(GoldenParity, TrainingLogitsAndGradientsEqualTorchvision) {
  Golden golden = read_golden("resnet_trajectory.txt");
  const auto model = parity_model({"resnet50_train", "resnet50", false});
  Shard shard(*model);
  const Tensor images = formula_images(0, {2, 3, 64, 64});
  expect_close(row(shard.logits(images, true)), golden.at("resnet50_train.logits"), 1e-10, "logits");
  const double loss = shard.backward(images, formula_labels(0, 2, 10));
  EXPECT_LT(largest_relative_difference({loss}, golden.at("resnet50_train.loss")), 1e-10);
  const std::vector<double>& norms = golden.at("resnet50_train.gradient_norms");
  const std::vector<double>& projections = golden.at("resnet50_train.gradient_projections");
  ASSERT_EQ(norms.size(), model->parameters().size());
  for (const Parameter* parameter : model->parameters()) {
    const auto id = static_cast<std::size_t>(parameter->id);
    const auto [norm, projection] = norm_and_projection(*parameter, shard.gradient_of(*parameter));
    EXPECT_NEAR(norm, norms[id], 1e-9 * norms[id]) << parameter->name;
    EXPECT_NEAR(projection, projections[id], 1e-9 * norms[id]) << parameter->name;
  }
}

}  // namespace
}  // namespace lockstep::test
