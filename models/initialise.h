// Initial values: random numbers that are a function of (key, row-major index) alone.
//
// The logarithm, sine and cosine are our own polynomials in double, so that the values do not depend on the C library's
// version or on the processor: a run's first digest is the same on every machine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "core/philox.h"

namespace lockstep {

// values[i] = standard_deviation * z, z standard normal (Box-Muller, |z| < 6.7), rounded to float once.
void draw_normal(const RandomKey& key, double standard_deviation, std::span<float> values);

// values[i] uniform in [-bound, bound), rounded to float once.
void draw_uniform(const RandomKey& key, double bound, std::span<float> values);

namespace detail {
double log_of_unit(double u);  // natural logarithm, u in [2^-32, 1]; relative error below 2e-15
struct SinCos {
  double sin, cos;
};
SinCos sin_cos_of_turn(double turn);  // of 2 * pi * turn, turn in [0, 1); absolute error below 1e-15
}  // namespace detail

}  // namespace lockstep
