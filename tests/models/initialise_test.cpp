// Initial values: the distribution asked for, and a function of (seed, parameter, index) and nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "models/initialise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/models/support.h"

namespace lockstep::test {
namespace {

const Parameter& named(const Model& model, const std::string& name) {
  for (const Parameter* parameter : model.parameters())
    if (parameter->name == name) return *parameter;
  throw std::runtime_error("no parameter " + name);
}

std::vector<float> values_of(const Parameter& parameter) {
  const auto values = parameter.value.host<float>();
  return {values.begin(), values.end()};
}

std::unique_ptr<Model> initialised(const ModelOptions& options, std::uint64_t seed) {
  auto model = make_model(options);
  model->initialise(seed);
  return model;
}

bool same_values(const Model& a, const Model& b) {
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    if (values_of(*a.parameters()[i]) != values_of(*b.parameters()[i])) return false;
  return true;
}

const ModelOptions kSmall{.name = "resnet20", .classes = 10, .height = 32, .width = 32};

TEST(Initialise, LogarithmAndAngleAreExactToAFewUnitsInTheLastPlace) {
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const std::uint32_t word = static_cast<std::uint32_t>(formula_bits(1, i));
    const double u = (word + 1.0) * 0x1p-32, turn = word * 0x1p-32;
    ASSERT_NEAR(detail::log_of_unit(u), std::log(u), 2e-15 * std::abs(std::log(u))) << u;
    const detail::SinCos got = detail::sin_cos_of_turn(turn);
    ASSERT_NEAR(got.sin, std::sin(2 * std::numbers::pi * turn), 1e-15) << turn;
    ASSERT_NEAR(got.cos, std::cos(2 * std::numbers::pi * turn), 1e-15) << turn;
  }
  EXPECT_EQ(detail::log_of_unit(1.0), 0.0);
  EXPECT_NEAR(detail::log_of_unit(0x1p-32), -32 * std::numbers::ln2, 1e-14);
}

// A mean of n values lies within 5 standard errors of its expectation but once in two million: the mean of z has standard
// error 1/sqrt(n), of z^2 sqrt(2/n), of z^4 sqrt(96/n); of neighbours' products 1/sqrt(n).
TEST(Initialise, NormalHasItsMoments) {
  constexpr std::size_t kCount = 1 << 20;
  std::vector<float> z(kCount);
  draw_normal({.seed = 3, .purpose = RandomPurpose::kInit}, 1.0, z);
  double mean = 0, square = 0, fourth = 0, neighbours = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double v = z[i];
    mean += v, square += v * v, fourth += v * v * v * v, neighbours += v * z[(i + 1) % kCount];
  }
  const double n = kCount, five = 5 / std::sqrt(n);
  EXPECT_NEAR(mean / n, 0, five);
  EXPECT_NEAR(square / n, 1, five * std::sqrt(2.0));
  EXPECT_NEAR(fourth / n, 3, five * std::sqrt(96.0));
  EXPECT_NEAR(neighbours / n, 0, five);
}

TEST(Initialise, ValuesAreAFunctionOfTheIndexAlone) {
  const RandomKey key{.seed = 9, .purpose = RandomPurpose::kInit, .b = 5};
  std::vector<float> longer(1001), shorter(39);
  draw_normal(key, 0.5, longer);
  draw_normal(key, 0.5, shorter);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), longer.begin()));
  draw_uniform(key, 0.5, longer);
  draw_uniform(key, 0.5, shorter);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), longer.begin()));
}

TEST(Initialise, SeedDecidesEverything) {
  EXPECT_TRUE(same_values(*initialised(kSmall, 1), *initialised(kSmall, 1)));
  EXPECT_FALSE(same_values(*initialised(kSmall, 1), *initialised(kSmall, 2)));
  const auto twice = initialised(kSmall, 2);
  twice->initialise(1);  // nothing of the first time is left
  EXPECT_TRUE(same_values(*twice, *initialised(kSmall, 1)));
}

TEST(Initialise, DoublesHoldTheSameNumbersAsFloats) {
  ModelOptions wide = kSmall;
  wide.dtype = DType::kF64;
  const auto f32 = initialised(kSmall, 7), f64 = initialised(wide, 7);
  for (const char* name : {"conv1.weight", "layer2.0.conv1.weight", "fc.weight", "fc.bias", "bn1.weight"}) {
    const auto narrow = values_of(named(*f32, name));
    const auto doubles = named(*f64, name).value.host<double>();
    EXPECT_TRUE(std::equal(narrow.begin(), narrow.end(), doubles.begin(), doubles.end())) << name;
  }
}

TEST(Initialise, FiltersAreDrawnInTheirLogicalOrder) {
  const auto model = initialised(kSmall, 7);
  const Parameter& weight = named(*model, "layer1.0.conv1.weight");
  std::vector<float> memory_order = values_of(weight), file_order(memory_order.size()), drawn(memory_order.size());
  channels_last_to_row_major(memory_order.data(), file_order.data(), weight.value.shape(), sizeof(float));
  const RandomKey key{.seed = 7, .purpose = RandomPurpose::kInit, .b = static_cast<std::uint64_t>(weight.id)};
  draw_normal(key, std::sqrt(2.0 / (16 * 9)), drawn);
  EXPECT_EQ(file_order, drawn);
  EXPECT_NE(memory_order, drawn);
}

void expect_mean_square(const Parameter& parameter, double variance, double relative_error_of_one) {
  double square = 0;
  for (const float value : values_of(parameter)) square += double{value} * value;
  const double n = static_cast<double>(parameter.value.numel());
  EXPECT_NEAR(square / n, variance, 5 * variance * relative_error_of_one / std::sqrt(n)) << parameter.name;
}

// Of normal z, z^2 has the standard deviation sqrt(2) of its mean; of uniform u, sqrt(4/5).
TEST(Initialise, ConvolutionsAreHeNormalAndTheLastLayerUniform) {
  const auto model = initialised({.name = "resnet50"}, 1);
  for (const Parameter* parameter : model->parameters()) {
    const Shape& shape = parameter->value.shape();
    if (shape.rank() == 4)
      expect_mean_square(*parameter, 2.0 / static_cast<double>(shape[0] * shape[2] * shape[3]), std::sqrt(2.0));
  }
  expect_mean_square(named(*model, "fc.weight"), 1.0 / 2048 / 3, std::sqrt(0.8));
  expect_mean_square(named(*model, "fc.bias"), 1.0 / 2048 / 3, std::sqrt(0.8));
  for (const float value : values_of(named(*model, "fc.weight"))) ASSERT_LE(std::abs(value), 1 / std::sqrt(2048.0));
}

TEST(Initialise, NormsStartAsTheIdentityAndZeroGammaClosesTheBranches) {
  ModelOptions closed = kSmall;
  closed.zero_gamma = true;
  for (const ModelOptions& options : {kSmall, closed}) {
    const auto model = initialised(options, 1);
    for (const Parameter* parameter : model->parameters()) {
      const bool is_scale = parameter->kind == ParameterKind::kNormScale;
      if (!is_scale && parameter->kind != ParameterKind::kNormBias) continue;
      const bool closes = options.zero_gamma && parameter->name.find(".bn2.") != std::string::npos;
      const std::vector<float> want(static_cast<std::size_t>(parameter->value.numel()), is_scale && !closes ? 1.0f : 0.0f);
      EXPECT_EQ(values_of(*parameter), want) << parameter->name;
    }
    for (const Buffer* buffer : model->buffers())
      EXPECT_EQ(buffer->value.host<float>()[0], buffer->name.ends_with("running_var") ? 1.0f : 0.0f) << buffer->name;
  }
}

}  // namespace
}  // namespace lockstep::test
