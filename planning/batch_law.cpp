// The fit: for a given B_crit the best E_min is a mean, so that one number is searched for.
// SPDX-License-Identifier: Apache-2.0
#include "planning/batch_law.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "core/philox.h"

namespace lockstep {
namespace {

// B_crit is searched from a hundredth of the smallest batch (samples grow like the batch) to a million times the largest.
constexpr double kLowest = 1e-2, kHighest = 1e6;
constexpr int kGrid = 96;           // coarse places, in the logarithm
constexpr int kGoldenSteps = 80;    // of the refinement: each leaves 0.618 of the interval
constexpr int kResamples = 500;

using Points = std::vector<BatchPoint>;  // batches and samples finite and above 0

struct Fit {
  double log_min_samples = 0;
  double error = 0;  // sum of squares of log(fit / measured)
};

Fit fit_at(const Points& points, double critical) {
  double sum = 0, squares = 0;
  const auto residual = [critical](const BatchPoint& point) { return std::log(point.samples) - std::log1p(point.batch / critical); };
  for (const BatchPoint& point : points) sum += residual(point);
  const double mean = sum / static_cast<double>(points.size());
  for (const BatchPoint& point : points) squares += (residual(point) - mean) * (residual(point) - mean);
  return {mean, squares};
}

// The logarithm of B_crit between low and high with the least error there.
double golden_section(const Points& points, double low, double high) {
  constexpr double kRatio = 0.6180339887498949;
  const auto error = [&](double log_critical) { return fit_at(points, std::exp(log_critical)).error; };
  double left = high - kRatio * (high - low), right = low + kRatio * (high - low);
  double at_left = error(left), at_right = error(right);
  for (int i = 0; i < kGoldenSteps; ++i) {
    if (at_left <= at_right) {
      high = std::exchange(right, left);
      at_right = at_left;
      left = high - kRatio * (high - low);
      at_left = error(left);
    } else {
      low = std::exchange(left, right);
      at_left = at_right;
      right = low + kRatio * (high - low);
      at_right = error(right);
    }
  }
  return (low + high) / 2;
}

// 0: fewer than two different batches. Infinity: no B_crit within reach is better than none.
double best_critical(const Points& points) {
  const auto [least, most] = std::ranges::minmax(points, {}, &BatchPoint::batch);
  if (least.batch == most.batch) return 0;
  const double low = std::log(least.batch * kLowest), high = std::log(most.batch * kHighest), step = (high - low) / kGrid;
  int best = 0;
  double best_error = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= kGrid; ++i) {
    const double error = fit_at(points, std::exp(low + i * step)).error;
    if (error < best_error) best = i, best_error = error;
  }
  constexpr double kNone = std::numeric_limits<double>::infinity();
  if (best == kGrid || fit_at(points, kNone).error <= best_error) return kNone;
  return std::exp(golden_section(points, low + std::max(best - 1, 0) * step, low + (best + 1) * step));
}

// The 16th and the 84th percentile of B_crit over samples of the points, drawn with replacement from a fixed seed.
std::pair<double, double> bootstrap(const Points& points) {
  RandomStream random({.seed = 20181214});  // any number; the draws are the same at every call
  std::vector<double> found;
  Points drawn(points.size());
  for (int i = 0; i < kResamples; ++i) {
    for (BatchPoint& point : drawn) point = points[random.below(points.size())];
    const double critical = best_critical(drawn);
    if (critical > 0) found.push_back(critical);
  }
  if (found.empty()) return {0, 0};
  std::ranges::sort(found);
  const auto at = [&](double share) { return found[static_cast<std::size_t>(share * static_cast<double>(found.size() - 1))]; };
  return {at(0.16), at(0.84)};
}

}  // namespace

BatchLaw fit_batch_law(std::span<const BatchPoint> points) {
  Points good;
  for (const BatchPoint& point : points)
    if (std::isfinite(point.batch) && std::isfinite(point.samples) && point.batch > 0 && point.samples > 0) good.push_back(point);
  BatchLaw law{.points = good.size()};
  if (good.empty()) return law;
  law.critical_batch = best_critical(good);
  if (!law.valid()) return law;
  law.min_samples = std::exp(fit_at(good, law.critical_batch).log_min_samples);
  for (const BatchPoint& point : good)
    law.worst_residual = std::max(law.worst_residual, std::fabs(law.samples(point.batch) / point.samples - 1));
  law.critical_low = law.critical_high = law.critical_batch;
  if (good.size() >= 4) std::tie(law.critical_low, law.critical_high) = bootstrap(good);
  return law;
}

}  // namespace lockstep
