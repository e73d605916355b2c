// SPDX-License-Identifier: Apache-2.0
#include "sweep/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace lockstep {
namespace {

constexpr double kQuantileError = 1e-9;  // sweep/statistics.h

TEST(Statistics, MeansSpreadsAndMedians) {
  const std::vector<double> values{4, 1, 3};
  EXPECT_DOUBLE_EQ(mean_of(values), 8.0 / 3);
  EXPECT_DOUBLE_EQ(*sample_deviation(values), std::sqrt((16.0 / 9 + 25.0 / 9 + 1.0 / 9) / 2));
  EXPECT_DOUBLE_EQ(median_of(values), 3);
  EXPECT_DOUBLE_EQ(median_of(std::vector<double>{1, 2, 3, 10}), 2.5);
  EXPECT_FALSE(sample_deviation(std::vector<double>{1}));
}

// Closed forms: with 1 degree of freedom (Cauchy) tan(pi (p - 1/2)), with 2 (2p - 1) sqrt(2 / (4 p (1 - p))).
TEST(Statistics, StudentQuantilesHaveTheirClosedForms) {
  for (const double p : {0.5, 0.6, 0.9, 0.975, 0.9995, 0.025}) {
    const double cauchy = std::tan(std::numbers::pi * (p - 0.5)), two = (2 * p - 1) * std::sqrt(1 / (2 * p * (1 - p)));
    EXPECT_NEAR(student_t_quantile(p, 1), cauchy, kQuantileError * std::max(1.0, std::abs(cauchy)));
    EXPECT_NEAR(student_t_quantile(p, 2), two, kQuantileError * std::max(1.0, std::abs(two)));
  }
  EXPECT_NEAR(student_t_quantile(0.975, 4), 2.7764451051977987, kQuantileError * 3);  // of tables
  EXPECT_NEAR(student_t_quantile(0.975, 1e7), 1.959964, 1e-5);                        // the normal distribution's
}

TEST(Statistics, WelchsIntervalOfEqualSpreadsIsStudents) {
  const std::vector<double> a{1, 2, 3}, b{5, 6, 7};  // variance 1 each, 4 degrees of freedom
  const auto interval = welch_interval(a, b, 0.95);
  ASSERT_TRUE(interval);
  const double half = 2.7764451051977987 * std::sqrt(2.0 / 3);
  EXPECT_NEAR(interval->low, -4 - half, 1e-8);
  EXPECT_NEAR(interval->high, -4 + half, 1e-8);
  EXPECT_FALSE(welch_interval(std::vector<double>{1}, b, 0.95));
  const auto exact = welch_interval(std::vector<double>{2, 2}, std::vector<double>{1, 1}, 0.95);
  EXPECT_EQ(exact->low, 1);
  EXPECT_EQ(exact->high, 1);
}

}  // namespace
}  // namespace lockstep
