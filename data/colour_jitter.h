// Colour jitter: brightness, contrast, saturation and hue of an RGB image, in random order; the arithmetic of Pillow's
// ImageEnhance and of torchvision's adjust_hue on Pillow images, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "core/philox.h"

namespace lockstep {

struct ColourJitterOptions {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;  // proto/config_data.proto
  bool enabled() const { return brightness > 0 || contrast > 0 || saturation > 0 || hue > 0; }
};

enum class ColourChange : std::uint8_t { kBrightness, kContrast, kSaturation, kHue };

struct ColourJitterDraw {
  std::array<ColourChange, 4> order{};
  double brightness = 1, contrast = 1, saturation = 1, hue = 0;  // factors; the hue in turns of the circle
};

// torchvision's distribution: factors uniform in [max(0, 1 - x), 1 + x], the hue in [-x, x], the order one of 24. Takes the
// same number of draws whatever the options.
ColourJitterDraw draw_colour_jitter(const ColourJitterOptions& options, RandomStream& random);

// What torchvision's ColorJitter does with these parameters: only changes whose option is above 0 are made. In place on
// (height, width, 3).
void apply_colour_jitter(const ColourJitterOptions& options, const ColourJitterDraw& draw, std::uint8_t* pixels, int height, int width);

// Both. In place on (height, width, 3). Draws from `random` in a fixed order, enabled or not.
void apply_colour_jitter(const ColourJitterOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width);

}  // namespace lockstep
