// Enhancements of RGB images: Pillow's ImageEnhance (an image blended with a degenerate one) and torchvision's adjust_hue, in
// their arithmetic, bit for bit. What colour jitter and RandAugment share.
//
// Pixels are (height, width, 3) in memory order and change in place. A factor of 1 leaves the image as it is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

void adjust_brightness(std::span<std::uint8_t> pixels, double factor);  // with black
void adjust_contrast(std::span<std::uint8_t> pixels, double factor);    // with the mean of its luma
void adjust_saturation(std::span<std::uint8_t> pixels, double factor);  // with its luma
// Turns the hue by `turn` of the circle, -0.5 to 0.5, by way of Pillow's 8-bit HSV: pixels change a little even at 0.
void adjust_hue(std::span<std::uint8_t> pixels, double turn);
// With its smoothed self; `scratch` holds a copy of the image. Images below 3 x 3 stay as they are.
void adjust_sharpness(std::uint8_t* pixels, int height, int width, double factor, std::vector<std::uint8_t>& scratch);

namespace detail {

// The inner loops, once as portable code and once for AVX2; both give the same bits. No multiplication is fused with an
// addition: Pillow rounds twice.
struct EnhanceKernels {
  // image[i] = degenerate[i] + alpha * (image[i] - degenerate[i]), clipped, cut to a whole number.
  void (*blend)(const std::uint8_t* degenerate, std::uint8_t* image, std::size_t count, float alpha);
  void (*blend_constant)(std::uint8_t degenerate, std::uint8_t* image, std::size_t count, float alpha);
  // The luma of each of `count` RGB pixels, once, or three times side by side.
  void (*luma)(const std::uint8_t* rgb, std::uint8_t* out, std::size_t count);
  void (*luma_rgb)(const std::uint8_t* rgb, std::uint8_t* out, std::size_t count);
  void (*turn_hue)(std::uint8_t* rgb, std::size_t count, std::uint8_t turn);
  // Of `count` bytes: (the eight neighbours + 5 * the byte itself) / 13, rounded; pixels lie 3 bytes apart, rows are given.
  void (*smooth)(const std::uint8_t* above, const std::uint8_t* row, const std::uint8_t* below, std::uint8_t* out, std::size_t count);
};

const EnhanceKernels& portable_enhance_kernels();
const EnhanceKernels& best_enhance_kernels();  // for the processor we run on

}  // namespace detail
}  // namespace lockstep
