// Statistics of a few numbers: means, spreads, and Welch's interval for the difference of two means.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

namespace lockstep {

double mean_of(std::span<const double> values);                      // of at least one
std::optional<double> sample_deviation(std::span<const double> values);  // n - 1; absent below 2
double median_of(std::span<const double> values);                    // of at least one; of an even number: the mean of the middle two

// Quantile of Student's t distribution: P(T <= t) = p. p in (0, 1), degrees of freedom > 0. Good to 1e-9 of t.
double student_t_quantile(double p, double degrees_of_freedom);

struct Interval {
  double low = 0, high = 0;
};
// Of mean(a) - mean(b), for unequal variances (Welch 1947). Absent with fewer than 2 values on a side. Without any spread: the
// difference itself.
std::optional<Interval> welch_interval(std::span<const double> a, std::span<const double> b, double confidence);

}  // namespace lockstep
