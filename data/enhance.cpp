// SPDX-License-Identifier: Apache-2.0
#include "data/enhance.h"

#include <algorithm>
#include <array>

namespace lockstep {
namespace {

constexpr std::size_t kBlock = 1024;  // pixels whose luma lies on the stack

const detail::EnhanceKernels& kernels() {
  static const detail::EnhanceKernels& best = detail::best_enhance_kernels();
  return best;
}

// The mean of the luma, rounded half up.
std::uint8_t mean_luma(std::span<const std::uint8_t> pixels) {
  std::array<std::uint8_t, kBlock> luma;
  const std::size_t count = pixels.size() / 3;
  std::uint64_t sum = 0;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t n = std::min(kBlock, count - begin);
    kernels().luma(pixels.data() + 3 * begin, luma.data(), n);
    for (std::size_t i = 0; i < n; ++i) sum += luma[i];
  }
  if (count == 0) return 0;
  return static_cast<std::uint8_t>(static_cast<double>(sum) / static_cast<double>(count) + 0.5);
}

}  // namespace

void adjust_brightness(std::span<std::uint8_t> pixels, double factor) {
  kernels().blend_constant(0, pixels.data(), pixels.size(), static_cast<float>(factor));
}

void adjust_contrast(std::span<std::uint8_t> pixels, double factor) {
  kernels().blend_constant(mean_luma(pixels), pixels.data(), pixels.size(), static_cast<float>(factor));
}

void adjust_saturation(std::span<std::uint8_t> pixels, double factor) {
  std::array<std::uint8_t, 3 * kBlock> luma;
  const std::size_t count = pixels.size() / 3;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t n = std::min(kBlock, count - begin);
    std::uint8_t* rgb = pixels.data() + 3 * begin;
    kernels().luma_rgb(rgb, luma.data(), n);
    kernels().blend(luma.data(), rgb, 3 * n, static_cast<float>(factor));
  }
}

void adjust_hue(std::span<std::uint8_t> pixels, double turn) {
  // Cut towards zero, then taken modulo 256, as numpy does it for torchvision.
  kernels().turn_hue(pixels.data(), pixels.size() / 3, static_cast<std::uint8_t>(static_cast<int>(turn * 255)));
}

void adjust_sharpness(std::uint8_t* pixels, int height, int width, double factor, std::vector<std::uint8_t>& scratch) {
  if (height < 3 || width < 3) return;
  const std::size_t row = 3 * static_cast<std::size_t>(width), bytes = row * static_cast<std::size_t>(height);
  // The image as it was, then one smoothed row. The edges aren't smoothed, so blending leaves them alone.
  if (scratch.size() < bytes + row) scratch.resize(bytes + row);
  std::copy_n(pixels, bytes, scratch.data());
  std::uint8_t* smoothed = scratch.data() + bytes;
  for (std::size_t begin = row; begin + row < bytes; begin += row) {
    const std::uint8_t* in = scratch.data() + begin + 3;
    kernels().smooth(in - row, in, in + row, smoothed, row - 6);
    kernels().blend(smoothed, pixels + begin + 3, row - 6, static_cast<float>(factor));
  }
}

}  // namespace lockstep
