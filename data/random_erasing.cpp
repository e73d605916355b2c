// SPDX-License-Identifier: Apache-2.0
#include "data/random_erasing.h"

#include <cmath>
#include <cstddef>

namespace lockstep {

ErasedBox draw_erased_box(const RandomErasingOptions& options, RandomStream& random, int height, int width) {
  if (!(random.uniform64() < options.probability)) return {};
  const double area = static_cast<double>(height) * width;
  const double log_min = std::log(options.ratio_min), log_max = std::log(options.ratio_max);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * (options.area_min + (options.area_max - options.area_min) * random.uniform64());
    const double ratio = std::exp(log_min + (log_max - log_min) * random.uniform64());
    // Rounds half to even, as Python does.
    const double h = std::nearbyint(std::sqrt(target * ratio)), w = std::nearbyint(std::sqrt(target / ratio));
    if (!(h < height && w < width)) continue;
    ErasedBox box{.height = static_cast<int>(h), .width = static_cast<int>(w)};
    box.top = static_cast<int>(random.below(static_cast<std::uint64_t>(height - box.height + 1)));
    box.left = static_cast<int>(random.below(static_cast<std::uint64_t>(width - box.width + 1)));
    return box;
  }
  return {};
}

void apply_random_erasing(const RandomErasingOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width,
                          int channels) {
  const ErasedBox box = draw_erased_box(options, random, height, width);
  std::uint32_t bits = 0;  // of one draw, which gives four bytes of noise
  int bytes_left = 0;
  const auto noise = [&] {
    if (bytes_left == 0) bits = random.bits(), bytes_left = 4;
    return static_cast<std::uint8_t>(bits >> (8 * --bytes_left));
  };
  for (int y = 0; y < box.height; ++y) {
    const std::ptrdiff_t begin = (std::ptrdiff_t{box.top + y} * width + box.left) * channels;
    for (int i = 0; i < box.width * channels; ++i)
      pixels[begin + i] = options.noise ? noise() : options.mean[static_cast<std::size_t>(i % channels)];
  }
}

}  // namespace lockstep
