// BatchLaw: samples to a target against batch size: E(B) = E_min * (1 + B / B_crit), McCandlish et al. 2018 (arXiv 1812.06162,
// equation 2.11 with S_min = E_min / B_crit). Below B_crit a larger batch saves steps at little cost; above it saves little.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace lockstep {

struct BatchPoint {
  double batch = 0;     // samples per step
  double samples = 0;   // trained until the target was reached
};

struct BatchLaw {
  double min_samples = 0;     // E_min
  double critical_batch = 0;  // B_crit; infinity: no growth seen; 0: no fit
  // Of the critical batch, 16th to 84th percentile by bootstrap over the points; equal to it with fewer than 4 points.
  double critical_low = 0, critical_high = 0;
  double worst_residual = 0;  // largest |fit / measured - 1|
  std::size_t points = 0;

  bool valid() const { return critical_batch > 0; }
  double samples(double batch) const { return min_samples * (1 + batch / critical_batch); }
  double steps(double batch) const { return samples(batch) / batch; }
};

// Least squares of log E (residuals are shares, not samples). Deterministic. Fewer than two different batches: not valid().
BatchLaw fit_batch_law(std::span<const BatchPoint> points);

}  // namespace lockstep
