// How networks begin: each kind of weight as torchvision 0.28 initialises it (its alexnet.py, vgg.py, ...), or as the paper says.
//
// All weights of a kind in a network are divided by the deviation that they should have and looked at together: their mean square must
// be 1 and their fourth moment that of a normal (3) or of a uniform (9/5), within what so many draws allow.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "models/model.h"
#include "models/zoo.h"

namespace lockstep::test {
namespace {

// kHe: normal of variance 2 / fan. kHeUniform: the same variance. kTorch: uniform in +-1/sqrt(fan-in), torch's default of a layer.
// kNormal1, 2: of deviation 0.1, 0.01.
enum class Begin { kZero, kOneOrZero, kHeFanOut, kHeFanIn, kHeUniform, kTorch, kNormal1, kNormal2 };

struct Case {
  const char* network;
  int side, base_width;
  Begin conv, conv_bias, linear, linear_bias;
};

const Case kCases[] = {
    {"resnet18", 32, 8, Begin::kHeFanOut, Begin::kZero, Begin::kTorch, Begin::kTorch},
    {"alexnet", 63, 16, Begin::kTorch, Begin::kTorch, Begin::kTorch, Begin::kTorch},
    {"alexnet_grouped", 67, 24, Begin::kNormal2, Begin::kOneOrZero, Begin::kNormal2, Begin::kOneOrZero},
    {"vgg11", 32, 8, Begin::kHeFanOut, Begin::kZero, Begin::kNormal2, Begin::kZero},
    {"vgg11_bn", 32, 8, Begin::kHeFanOut, Begin::kZero, Begin::kNormal2, Begin::kZero},
    {"googlenet", 32, 16, Begin::kNormal2, Begin::kZero, Begin::kNormal2, Begin::kTorch},
    {"inception_v3", 75, 8, Begin::kNormal1, Begin::kZero, Begin::kNormal1, Begin::kTorch},
    {"squeezenet1_0", 32, 24, Begin::kHeUniform, Begin::kZero, Begin::kZero, Begin::kZero},
    {"squeezenet1_1", 32, 16, Begin::kHeUniform, Begin::kZero, Begin::kZero, Begin::kZero},
    {"mobilenet_v2", 32, 0, Begin::kHeFanOut, Begin::kZero, Begin::kNormal2, Begin::kZero},
    {"densenet121", 32, 16, Begin::kHeFanIn, Begin::kZero, Begin::kTorch, Begin::kZero},
};

// The deviation that weights, or the bias of weights, of this shape should have.
double deviation(Begin begin, const Shape& weight) {
  const std::int64_t area = weight.rank() == 4 ? weight[2] * weight[3] : 1;
  const auto fan_in = static_cast<double>(weight[1] * area), fan_out = static_cast<double>(weight[0] * area);
  switch (begin) {
    case Begin::kHeFanOut: return std::sqrt(2 / fan_out);
    case Begin::kHeFanIn:
    case Begin::kHeUniform: return std::sqrt(2 / fan_in);
    case Begin::kTorch: return std::sqrt(1 / fan_in / 3);
    case Begin::kNormal1: return 0.1;
    case Begin::kNormal2: return 0.01;
    default: return 1;
  }
}

struct Moments {
  double count = 0, squares = 0, fourths = 0, zeros = 0, ones = 0;
  void add(float value, double scale) {
    const double square = std::pow(static_cast<double>(value) / scale, 2);
    count += 1, squares += square, fourths += square * square;
    zeros += value == 0 ? 1 : 0, ones += value == 1 ? 1 : 0;
  }
};

void expect_begins(Begin begin, const Moments& got) {
  if (got.count == 0) return;
  if (begin == Begin::kZero || begin == Begin::kOneOrZero) {
    EXPECT_EQ(got.zeros + got.ones, got.count);
    EXPECT_EQ(got.ones > 0, begin == Begin::kOneOrZero);
    return;
  }
  const bool uniform = begin == Begin::kHeUniform || begin == Begin::kTorch;
  const double fourth = uniform ? 1.8 : 3, eighth = uniform ? 9 : 105;  // moments of unit variance
  constexpr double kErrors = 5;                                         // standard errors
  EXPECT_NEAR(got.squares / got.count, 1, kErrors * std::sqrt((fourth - 1) / got.count));
  EXPECT_NEAR(got.fourths / got.count, fourth, kErrors * std::sqrt((eighth - fourth * fourth) / got.count));
}

// SqueezeNet's last convolution is its classifier.
Begin rule_of(const Case& c, const Parameter& parameter, bool conv) {
  if (parameter.kind != ParameterKind::kWeight) return conv ? c.conv_bias : c.linear_bias;
  if (parameter.name == "classifier.1.weight" && std::string_view(c.network).starts_with("squeezenet")) return Begin::kNormal2;
  return conv ? c.conv : c.linear;
}

class InitialWeights : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(, InitialWeights, ::testing::ValuesIn(kCases), [](const auto& tested) { return std::string(tested.param.network); });

TEST_P(InitialWeights, AreThePublishedOnes) {
  const Case& c = GetParam();
  const auto model = make_model({.name = c.network, .height = c.side, .width = c.side, .base_width = c.base_width,
                                 .width_multiplier = c.base_width == 0 ? 0.5 : 1});
  model->initialise(5);
  std::map<std::pair<Begin, bool>, Moments> moments;  // by rule, and whether of weights
  Shape weight;
  for (const Parameter* parameter : model->parameters()) {
    const auto values = std::as_const(parameter->value).host<float>();
    if (parameter->kind == ParameterKind::kNormScale || parameter->kind == ParameterKind::kNormBias) {
      for (const float value : values) ASSERT_EQ(value, parameter->kind == ParameterKind::kNormScale ? 1 : 0) << parameter->name;
      continue;
    }
    const bool of_weights = parameter->kind == ParameterKind::kWeight;
    if (of_weights) weight = parameter->value.shape();  // its bias follows it
    const Begin begin = rule_of(c, *parameter, weight.rank() == 4);
    Moments& sum = moments[{begin, of_weights}];
    for (const float value : values) sum.add(value, deviation(begin, weight));
  }
  for (const auto& [key, sum] : moments) {
    SCOPED_TRACE("rule " + std::to_string(static_cast<int>(key.first)) + (key.second ? " of weights" : " of biases"));
    expect_begins(key.first, sum);
  }
}

}  // namespace
}  // namespace lockstep::test
