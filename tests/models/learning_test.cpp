// Every network learns: narrow and on small images, with the fast kernels in f32, it tells a few images apart within some steps.
// And what dropout does: nothing in evaluation, the same with the same key.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cpu/fast/fast_kernels.h"
#include "models/zoo.h"
#include "tests/models/support.h"

namespace lockstep::test {
namespace {

constexpr std::int64_t kImages = 8;
constexpr int kClasses = 4;

// Narrow and small enough for a second; the gradient is clipped unless batch norm makes it large anyway.
struct Case {
  const char* network;
  int side;
  int base_width = 0;
  double width_multiplier = 1;
  Stem stem = Stem::kAuto;
  double clip_norm = 1;
};

const Case kCases[] = {
    {"alexnet", 63, 16},
    {"alexnet_grouped", 67, 24},
    {"vgg11", 32, 8},
    {"vgg16", 32, 8},
    {"vgg19", 32, 8},
    {"vgg11_bn", 32, 8},
    {"vgg16_bn", 32, 8},
    {"vgg19_bn", 32, 8},
    {"googlenet", 16, 16, 1, Stem::kSmall},
    {"inception_v3", 75, 4, 1, Stem::kAuto, INFINITY},
    {"squeezenet1_0", 48, 48},
    {"squeezenet1_1", 48, 32},
    {"shufflenet_v1_g1", 16, 0, 0.25, Stem::kSmall},
    {"shufflenet_v1_g2", 16, 0, 0.25, Stem::kSmall},
    {"shufflenet_v1_g3", 16, 0, 0.25, Stem::kSmall},
    {"shufflenet_v1_g4", 16, 0, 0.25, Stem::kSmall},
    {"shufflenet_v1_g8", 16, 0, 0.25, Stem::kSmall},
    {"mobilenet_v1", 16, 0, 0.25, Stem::kSmall, INFINITY},
    {"mobilenet_v2", 16, 0, 0.25, Stem::kSmall},
    {"shiftresnet20", 16, 8},
    {"shiftnet_a", 32, 8},
    {"densenet121", 16, 8, 1, Stem::kSmall},
};

// Their own dropout would only slow this down.
double dropout_for(std::string_view network) {
  const auto entry = std::ranges::find(zoo(), network, &ZooEntry::name);
  return (entry->choices & kChoiceDropout) != 0 ? 0.0 : -1.0;
}

Tensor small_images(int side) {
  const Tensor wide = formula_images(0, {kImages, 3, side, side});
  Tensor images = Tensor::empty(wide.shape(), DType::kF32);
  std::ranges::transform(wide.host<double>(), images.host<float>().begin(), [](double value) { return static_cast<float>(value); });
  return images;
}

Tensor labels_in_turn() {
  Tensor labels = Tensor::empty({kImages}, DType::kI32);
  for (std::size_t i = 0; i < kImages; ++i) labels.host<std::int32_t>()[i] = static_cast<std::int32_t>(i % kClasses);
  return labels;
}

class Learning : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, Learning, ::testing::ValuesIn(kCases), [](const auto& tested) { return std::string(tested.param.network); });

// Weights scaled by fan-in: the small normals that some of the plain networks begin with starve a narrow one. SqueezeNet's classes
// end in a ReLU, so each begins with something to lose.
std::unique_ptr<Model> make_case(const Case& c) {
  auto model = make_model({.name = c.network, .classes = kClasses, .height = c.side, .width = c.side, .stem = c.stem,
                           .base_width = c.base_width, .dropout = dropout_for(c.network), .width_multiplier = c.width_multiplier});
  set_fan_in_weights(*model);
  for (Parameter* parameter : model->parameters())
    if (c.network == std::string_view("squeezenet1_0") || c.network == std::string_view("squeezenet1_1"))
      if (parameter->name == "classifier.1.bias") std::ranges::fill(parameter->value.host<float>(), 4.0F);
  return model;
}

double gradient_norm(const Model& model, const Shard& shard) {
  double square = 0;
  for (const Parameter* parameter : model.parameters())
    for (const float g : shard.gradient_of(*parameter).host<float>()) square += double{g} * g;
  return std::sqrt(square);
}

// A network that guesses has a loss of log 4 = 1.39; below 0.1 it is sure of all eight images.
TEST_P(Learning, EightImagesAreLearntByHeart) {
  const Case& c = GetParam();
  const auto model = make_case(c);
  Shard shard(*model, make_fast_kernels(1));
  const Tensor images = small_images(c.side), labels = labels_in_turn();
  double loss = shard.loss(images, labels);
  EXPECT_GT(loss, 0.5) << "the labels tell nothing beforehand";
  constexpr int kSteps = 60;
  for (int step = 0; step < kSteps; ++step) {
    loss = shard.backward(images, labels);
    if (loss < 0.03) break;
    shard.update(0.05, 0, {.momentum = 0.9, .grad_scale = std::min(1.0, c.clip_norm / gradient_norm(*model, shard))});
  }
  EXPECT_LT(shard.loss(images, labels), 0.1);
}

ModelOptions with_dropout(double dropout) {
  return {.name = "vgg11", .classes = kClasses, .height = 32, .width = 32, .base_width = 4, .dropout = dropout, .dtype = DType::kF64};
}

std::vector<double> logits_of(double dropout, const RandomKey& key, bool training) {
  const auto model = make_model(with_dropout(dropout));
  set_fan_in_weights(*model);
  const auto kernels = make_reference_kernels();
  Context context{.kernels = *kernels, .training = training, .dropout = key};
  const Tensor logits = model->forward(context, {formula_images(0, {2, 3, 32, 32}), -1}).value;
  return {logits.host<double>().begin(), logits.host<double>().end()};
}

TEST(DropoutInANetwork, IsAbsentInEvaluationAndFollowsItsKeyInTraining) {
  const RandomKey key{.seed = 1, .purpose = RandomPurpose::kDropout}, other{.seed = 2, .purpose = RandomPurpose::kDropout};
  const std::vector<double> without = logits_of(0, key, true);
  EXPECT_EQ(logits_of(0.5, key, false), without);
  EXPECT_NE(logits_of(0.5, key, true), without);
  EXPECT_EQ(logits_of(0.5, key, true), logits_of(0.5, key, true));
  EXPECT_NE(logits_of(0.5, key, true), logits_of(0.5, other, true));
  EXPECT_NE(logits_of(0.5, key, true), logits_of(0.25, key, true));
  EXPECT_EQ(logits_of(-1, key, true), logits_of(0.5, key, true)) << "the network's own share";
}

}  // namespace
}  // namespace lockstep::test
