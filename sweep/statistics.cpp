// SPDX-License-Identifier: Apache-2.0
#include "sweep/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace lockstep {
namespace {

// The continued fraction of the incomplete beta function, by Lentz's method (Abramowitz and Stegun 26.5.8).
double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  const auto away_from_0 = [](double value) { return std::abs(value) < tiny ? tiny : value; };
  double c = 1, d = 1 / away_from_0(1 - (a + b) * x / (a + 1)), result = d;
  for (int m = 1; m < 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_0(1 + even * d);
    c = away_from_0(1 + even / c);
    result *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_0(1 + odd * d);
    c = away_from_0(1 + odd / c);
    result *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return result;
}

// I_x(a, b), 0 <= x <= 1.
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

// P(T > t), t >= 0.
double upper_tail(double t, double degrees) { return 0.5 * incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)); }

}  // namespace

double mean_of(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()); }

std::optional<double> sample_deviation(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double median_of(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double student_t_quantile(double p, double degrees_of_freedom) {
  if (p < 0.5) return -student_t_quantile(1 - p, degrees_of_freedom);
  double low = 0, high = 1;
  while (upper_tail(high, degrees_of_freedom) > 1 - p && high < 1e150) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-12 * high; ++i) {
    const double middle = (low + high) / 2;
    (upper_tail(middle, degrees_of_freedom) > 1 - p ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::optional<Interval> welch_interval(std::span<const double> a, std::span<const double> b, double confidence) {
  const auto sd_a = sample_deviation(a), sd_b = sample_deviation(b);
  if (!sd_a || !sd_b) return std::nullopt;
  const double n_a = static_cast<double>(a.size()), n_b = static_cast<double>(b.size());
  const double share_a = *sd_a * *sd_a / n_a, share_b = *sd_b * *sd_b / n_b, variance = share_a + share_b;
  const double difference = mean_of(a) - mean_of(b);
  if (variance <= 0) return Interval{difference, difference};
  const double degrees = variance * variance / (share_a * share_a / (n_a - 1) + share_b * share_b / (n_b - 1));
  const double half = student_t_quantile(0.5 + confidence / 2, degrees) * std::sqrt(variance);
  return Interval{difference - half, difference + half};
}

}  // namespace lockstep
