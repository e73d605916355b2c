// Random erasing (Zhong et al. 2017, arXiv 1708.04896): a random rectangle is overwritten; torchvision's rule for its place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "core/philox.h"

namespace lockstep {

struct RandomErasingOptions {
  double probability = 0;
  double area_min = 0.02, area_max = 1.0 / 3;  // share of the image
  double ratio_min = 0.3, ratio_max = 10.0 / 3;  // height / width
  bool noise = false;                            // random bytes instead of the mean
  std::array<std::uint8_t, 3> mean{};            // per channel
  bool enabled() const { return probability > 0; }
};

struct ErasedBox {
  int top = 0, left = 0, height = 0, width = 0;  // height 0: nothing is erased
  bool operator==(const ErasedBox&) const = default;
};

// With the options' probability the first of ten boxes of uniform area and log-uniform ratio that is smaller than the image
// in both directions, at a uniform place; otherwise none.
ErasedBox draw_erased_box(const RandomErasingOptions& options, RandomStream& random, int height, int width);

// Draws, then overwrites the box in place on (height, width, channels), channels 1 or 3; `random` gives the noise too.
void apply_random_erasing(const RandomErasingOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width,
                          int channels);

}  // namespace lockstep
