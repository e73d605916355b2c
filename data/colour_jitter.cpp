// SPDX-License-Identifier: Apache-2.0
#include "data/colour_jitter.h"

#include <algorithm>
#include <span>

#include "data/enhance.h"

namespace lockstep {

ColourJitterDraw draw_colour_jitter(const ColourJitterOptions& options, RandomStream& random) {
  ColourJitterDraw draw;
  std::uint64_t number = random.below(24);  // of the permutation, in mixed radix: 4, 3, 2
  std::array<ColourChange, 4> left = {ColourChange::kBrightness, ColourChange::kContrast, ColourChange::kSaturation, ColourChange::kHue};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t choices = 4 - i;
    const auto chosen = left.begin() + static_cast<std::ptrdiff_t>(number % choices);
    number /= choices;
    draw.order[i] = *chosen;
    std::copy(chosen + 1, left.end(), chosen);
  }
  const auto uniform = [&](double low, double high) { return low + (high - low) * random.uniform64(); };
  const auto factor = [&](double strength) { return uniform(std::max(0.0, 1 - strength), 1 + strength); };
  draw.brightness = factor(options.brightness);
  draw.contrast = factor(options.contrast);
  draw.saturation = factor(options.saturation);
  draw.hue = uniform(-options.hue, options.hue);
  return draw;
}

void apply_colour_jitter(const ColourJitterOptions& options, const ColourJitterDraw& draw, std::uint8_t* pixels, int height, int width) {
  const std::span image(pixels, 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  for (const ColourChange change : draw.order) {
    if (change == ColourChange::kBrightness && options.brightness > 0) adjust_brightness(image, draw.brightness);
    if (change == ColourChange::kContrast && options.contrast > 0) adjust_contrast(image, draw.contrast);
    if (change == ColourChange::kSaturation && options.saturation > 0) adjust_saturation(image, draw.saturation);
    if (change == ColourChange::kHue && options.hue > 0) adjust_hue(image, draw.hue);
  }
}

void apply_colour_jitter(const ColourJitterOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width) {
  apply_colour_jitter(options, draw_colour_jitter(options, random), pixels, height, width);
}

}  // namespace lockstep
