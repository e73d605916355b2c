// SPDX-License-Identifier: Apache-2.0
#include "data/mix.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace lockstep {
namespace {

// (0, 1]: its logarithm is finite.
double above_zero(RandomStream& random) { return 1.0 - random.uniform64(); }

double draw_normal(RandomStream& random) {  // Box-Muller
  const double radius = std::sqrt(-2.0 * std::log(above_zero(random)));
  return radius * std::cos(2.0 * std::numbers::pi * random.uniform64());
}

// The logarithm of a variate of Gamma(shape, 1). Below a shape of 1: Gamma(shape) = Gamma(shape + 1) * U^(1 / shape).
double draw_log_gamma(double shape, RandomStream& random) {
  const double boost = shape < 1 ? std::log(above_zero(random)) / shape : 0.0;
  const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = draw_normal(random), root = 1.0 + c * x, u = above_zero(random);
    if (root <= 0) continue;
    const double log_v = 3.0 * std::log(root), v = root * root * root;
    if (std::log(u) < 0.5 * x * x + d - d * v + d * log_v) return std::log(d) + log_v + boost;
  }
}

}  // namespace

double draw_beta(double alpha, RandomStream& random) {
  LS_CHECK(alpha >= kMinMixAlpha && alpha <= kMaxMixAlpha, "mix: alpha out of range");
  const double x = draw_log_gamma(alpha, random), y = draw_log_gamma(alpha, random);
  return 1.0 / (1.0 + std::exp(y - x));
}

MixBox cutmix_box(int height, int width, double lambda, int centre_y, int centre_x) {
  const double ratio = std::sqrt(1.0 - lambda);
  const int box_height = static_cast<int>(height * ratio), box_width = static_cast<int>(width * ratio);
  const int top = std::max(centre_y - box_height / 2, 0), bottom = std::min(centre_y + (box_height + 1) / 2, height);
  const int left = std::max(centre_x - box_width / 2, 0), right = std::min(centre_x + (box_width + 1) / 2, width);
  return {top, left, bottom - top, right - left};
}

void draw_mix(const MixOptions& options, int height, int width, std::uint64_t seed, std::int64_t step, int shard,
              std::span<const std::int32_t> labels, std::span<MixRow> rows) {
  LS_CHECK(labels.size() == rows.size(), "mix: as many rows as labels");
  RandomStream random({seed, RandomPurpose::kMix, static_cast<std::uint32_t>(step), static_cast<std::uint64_t>(shard)});
  const bool mixed = options.enabled() && random.uniform64() < options.probability;
  const bool both = options.mixup_alpha > 0 && options.cutmix_alpha > 0;
  const bool cutmix = both ? random.uniform64() < options.switch_probability : options.cutmix_alpha > 0;
  double weight = mixed ? draw_beta(cutmix ? options.cutmix_alpha : options.mixup_alpha, random) : 1.0;
  MixBox box;
  if (mixed && cutmix) {
    const auto centre_y = static_cast<int>(random.below(static_cast<std::uint64_t>(height)));
    const auto centre_x = static_cast<int>(random.below(static_cast<std::uint64_t>(width)));
    box = cutmix_box(height, width, weight, centre_y, centre_x);
    const std::int64_t area = std::int64_t{box.height} * box.width;
    weight = 1.0 - static_cast<double>(area) / static_cast<double>(std::int64_t{height} * width);
    if (area == 0) box = {};
  }
  const auto rounded = static_cast<float>(weight);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t partner = rounded == 1.0f ? i : rows.size() - 1 - i;
    rows[i] = {.partner = static_cast<std::int32_t>(partner),
               .label = labels[partner],
               .weight = rounded,
               .top = box.top,
               .left = box.left,
               .height = box.height,
               .width = box.width};
  }
}

}  // namespace lockstep
