// RandAugment (Cubuk et al. 2019, arXiv 1909.13719): torchvision's operations and magnitudes on Pillow images, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/philox.h"

namespace lockstep {

struct RandAugmentOptions {
  int ops = 0;        // per image; 0: off
  int magnitude = 9;  // of 31 bins
  bool enabled() const { return ops > 0; }
};

enum class RandAugmentOp : std::uint8_t {
  kIdentity,
  kShearX,
  kShearY,
  kTranslateX,
  kTranslateY,
  kRotate,
  kBrightness,
  kColour,
  kContrast,
  kSharpness,
  kPosterize,
  kSolarize,
  kAutocontrast,
  kEqualize,
};
inline constexpr int kRandAugmentOps = 14;
inline constexpr int kRandAugmentBins = 31;

struct RandAugmentDraw {
  RandAugmentOp op = RandAugmentOp::kIdentity;
  bool negative = false;  // for operations with a sign
};

// One of the operations, each as likely, and a sign: always two draws.
RandAugmentDraw draw_rand_augment(RandomStream& random);

// What bin 0 to 30 means for an operation, in its own unit and without sign: the shear's tangent, pixels, degrees, a factor
// less 1, bits, a threshold. torchvision's table in f32; 0 for operations without a magnitude.
double rand_augment_magnitude(RandAugmentOp op, int bin, int height, int width);

// One operation with a signed magnitude, in place on (height, width, 3), sides up to kMaxImageSide; geometry takes the nearest
// pixel and fills with black. `scratch` is grown as needed.
void apply_rand_augment_op(RandAugmentOp op, double magnitude, std::uint8_t* pixels, int height, int width,
                           std::vector<std::uint8_t>& scratch);

// Draws and applies options.ops operations, one on the other.
void apply_rand_augment(const RandAugmentOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width,
                        std::vector<std::uint8_t>& scratch);

namespace detail {

// out(x, y) = in(a[0] x + a[1] y + a[2], a[3] x + a[4] y + a[5]), for the centres of pixels, in Pillow's 16.16 fixed point.
struct NearestAffine {
  std::array<double, 6> a = {1, 0, 0, 0, 1, 0};
};

NearestAffine shear_x(double tangent);
NearestAffine shear_y(double tangent);
NearestAffine rotate(double degrees, int height, int width);  // counter-clockwise about the centre
void translate(int right, int down, std::uint8_t* pixels, int height, int width, std::vector<std::uint8_t>& scratch);
void transform_nearest(const NearestAffine& map, std::uint8_t* pixels, int height, int width, std::vector<std::uint8_t>& scratch);

}  // namespace detail
}  // namespace lockstep
