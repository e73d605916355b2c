// Tolerances: the rounding-error bounds that every numerical test compares with. Computed from the dtype, the number of
// terms and their magnitude; never typed in.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/dtype.h"

namespace lockstep {

// How rounding errors add up. kWorstCase holds always; kRandomWalk holds when they are independent with mean zero, which
// is what long sums of unrelated numbers show, and is far sharper there.
enum class ErrorGrowth : std::uint8_t { kWorstCase, kRandomWalk };

// The chance that a kRandomWalk bound fails for one result is below 2 exp(-lambda^2 / 2) = 3e-18.
constexpr double kRandomWalkLambda = 9.0;

// Bound of |computed - exact| for s = sum of `length` products a_i * b_i, computed in `dtype`, in any order of additions,
// with or without fused multiply-add, and stored in `dtype`. `magnitude` is sum |a_i * b_i| (>= |s|).
//
// There are at most length + 1 roundings on the way of each term: its product, its additions, the store. With
// m = length + 1 and u = dtype_epsilon(dtype):
//   worst case:  gamma_m = m u / (1 - m u)                         (Higham, Accuracy and Stability, 2nd ed., eq. 3.5)
//   random walk: exp(lambda sqrt(m) u + m u^2 / (1 - u)) - 1       (Higham & Mary 2019, theorem 2.4)
// times magnitude; the smaller of both is the random-walk answer. length = 0: one rounding to `dtype`, which is also the
// error of a sum accumulated in a much wider type and stored in `dtype`. Each term may also lose half the smallest
// subnormal. The difference of two computations is bounded by the sum of their bounds.
inline double error_bound(DType dtype, std::int64_t length, double magnitude,
                          ErrorGrowth growth = ErrorGrowth::kRandomWalk) {
  const double u = dtype_epsilon(dtype);
  const double m = static_cast<double>(length) + 1.0;
  double relative = m * u < 0.5 ? m * u / (1.0 - m * u) : m * u * 2.0;
  if (growth == ErrorGrowth::kRandomWalk)
    relative = std::min(relative, std::expm1(kRandomWalkLambda * std::sqrt(m) * u + m * u * u / (1.0 - u)));
  double half_subnormal = 0x1p-150;
  if (dtype == DType::kF64) half_subnormal = 0x1p-1074;
  if (dtype == DType::kBF16) half_subnormal = 0x1p-134;
  if (dtype == DType::kF16) half_subnormal = 0x1p-25;
  return relative * std::fabs(magnitude) + m * half_subnormal;
}

// True when `got` is within `bound` of `want`. NaN equals NaN and infinities equal themselves only.
inline bool within(double got, double want, double bound) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got);
  if (std::isinf(want) || std::isinf(got)) return got == want;
  return std::fabs(got - want) <= bound;
}

}  // namespace lockstep
