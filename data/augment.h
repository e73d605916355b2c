// Augmentation: from a decoded image to the network's input size. Its parameters are a pure function of (seed, epoch,
// sample id): no thread, rank or restart can change them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/colour_jitter.h"
#include "data/decode.h"
#include "data/rand_augment.h"
#include "data/random_erasing.h"
#include "data/resize.h"
#include "data/source.h"

namespace lockstep {

enum class Crop : std::uint8_t {
  kNone,               // the whole image, resized where it has another size
  kPadCrop,            // zeros added on all four sides, then a random window of the output size
  kRandomResizedCrop,  // a random window by area and aspect ratio, resized to the output size (torchvision's rule)
  kResizeCentreCrop,   // short side resized to resize_short, then the centre: for evaluation
};

struct AugmentOptions {
  Crop crop = Crop::kNone;
  bool flip = false;                                // mirrored left to right with probability 1/2
  int out_height = 0, out_width = 0;                // 0: the source's own size
  int pad = 4;                                      // kPadCrop: pixels on each side
  int resize_short = 256;                           // kResizeCentreCrop
  double scale_min = 0.08, scale_max = 1;           // kRandomResizedCrop: share of the area
  double ratio_min = 3.0 / 4, ratio_max = 4.0 / 3;  // kRandomResizedCrop: width / height
  ColourJitterOptions colour_jitter;
  RandAugmentOptions rand_augment;
  RandomErasingOptions random_erasing;
};

// Fills in the output size from the source's and checks every value and that the sizes fit. Throws UserError(kUsage).
AugmentOptions checked_augment(AugmentOptions options, int source_height, int source_width, int source_channels = 3);

// The window of the image that is used, and whether it is mirrored. For kPadCrop it may reach over the edges.
struct AugmentDraw {
  int top = 0, left = 0, height = 0, width = 0;
  bool flip = false;
  bool operator==(const AugmentDraw&) const = default;
};

// All draws for a sample come from this stream: those of draw_augment, then those of augment_colours.
RandomStream augment_stream(std::uint64_t seed, std::int64_t epoch, std::int64_t sample);

// `height` and `width` are the image's. Deterministic for kNone and kResizeCentreCrop (where the window is unused).
AugmentDraw draw_augment(const AugmentOptions& options, int height, int width, RandomStream& random);
AugmentDraw draw_augment(const AugmentOptions& options, int height, int width, std::uint64_t seed, std::int64_t epoch,
                         std::int64_t sample);

// The part of an image of this size, which must fit, that apply_augment needs.
Window augment_window(const AugmentOptions& options, const AugmentDraw& draw, int height, int width);

// Why an image of this size cannot be used with these options (got, want, fix); empty when it can. Only kPadCrop, which
// never resizes, has images that do not fit.
std::string augment_misfit(const AugmentOptions& options, int height, int width);

// Crop, resize and flip: writes (out_height, out_width, channels) to `out`. The image must fit; of a region, augment_window must
// be there.
void apply_augment(const AugmentOptions& options, const AugmentDraw& draw, const DecodedRegion& region, ResizeScratch& scratch,
                   std::uint8_t* out);
void apply_augment(const AugmentOptions& options, const AugmentDraw& draw, const Image& image, ResizeScratch& scratch,
                   std::uint8_t* out);

// What comes after that, in place on (out_height, out_width, channels): colour jitter, RandAugment, random erasing, in this order,
// which is torchvision's. `scratch` only grows.
void augment_colours(const AugmentOptions& options, RandomStream& random, std::uint8_t* pixels, int channels,
                     std::vector<std::uint8_t>& scratch);

}  // namespace lockstep
