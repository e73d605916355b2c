// SPDX-License-Identifier: Apache-2.0
#include "data/augment.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/philox.h"
#include "data/limits.h"

namespace lockstep {
namespace {

void check(bool good, const char* what, double got, const std::string& want) {
  if (!good) throw UserError(fmt::format("augmentation: {}: got {}, want {}.", what, got, want));
}

// Random windows of a given area and shape; after ten that do not fit, the largest central one of an allowed shape.
// Rounds half to even, as Python does.
AugmentDraw draw_resized_crop(const AugmentOptions& options, int height, int width, RandomStream& random) {
  const double area = static_cast<double>(height) * width;
  const double log_min = std::log(options.ratio_min), log_max = std::log(options.ratio_max);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * (options.scale_min + (options.scale_max - options.scale_min) * random.uniform64());
    const double ratio = std::exp(log_min + (log_max - log_min) * random.uniform64());
    const double w = std::nearbyint(std::sqrt(target * ratio)), h = std::nearbyint(std::sqrt(target / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    AugmentDraw draw{.height = static_cast<int>(h), .width = static_cast<int>(w)};
    draw.top = static_cast<int>(random.below(static_cast<std::uint64_t>(height - draw.height + 1)));
    draw.left = static_cast<int>(random.below(static_cast<std::uint64_t>(width - draw.width + 1)));
    return draw;
  }
  AugmentDraw draw{.height = height, .width = width};
  const double ratio = static_cast<double>(width) / height;
  if (ratio < options.ratio_min) draw.height = static_cast<int>(std::nearbyint(width / options.ratio_min));
  if (ratio > options.ratio_max) draw.width = static_cast<int>(std::nearbyint(height * options.ratio_max));
  draw.height = std::max(draw.height, 1);
  draw.width = std::max(draw.width, 1);
  draw.top = (height - draw.height) / 2;
  draw.left = (width - draw.width) / 2;
  return draw;
}

void mirror_row(const std::uint8_t* in, std::uint8_t* out, int pixels, int channels) {
  if (channels == 1) {
    int x = 0;
    for (; x + 8 <= pixels; x += 8) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, in + x, 8);
      eight = __builtin_bswap64(eight);
      std::memcpy(out + pixels - 8 - x, &eight, 8);
    }
    for (; x < pixels; ++x) out[pixels - 1 - x] = in[x];
    return;
  }
  if (channels == 3) {
    std::uint8_t* to = out + 3 * (pixels - 1);
    for (int x = 0; x < pixels; ++x, in += 3, to -= 3) std::memcpy(to, in, 3);
    return;
  }
  for (int x = 0; x < pixels; ++x)
    std::memcpy(out + (pixels - 1 - x) * channels, in + x * channels, static_cast<std::size_t>(channels));
}

// The window of the image with zeros where it reaches over the edges.
void copy_window(const AugmentDraw& draw, const Image& image, std::uint8_t* out) {
  const int channels = image.channels;
  const std::size_t out_bytes = static_cast<std::size_t>(draw.width) * channels;
  const std::size_t in_bytes = static_cast<std::size_t>(image.width) * channels;
  const int x_begin = std::max(0, draw.left), x_end = std::min(image.width, draw.left + draw.width);
  const int pixels = std::max(0, x_end - x_begin);
  const int left_zeros = draw.flip ? draw.left + draw.width - x_end : x_begin - draw.left;
  const std::size_t begin = static_cast<std::size_t>(pixels == 0 ? 0 : left_zeros) * channels,
                    length = static_cast<std::size_t>(pixels) * channels;
  for (int y = 0; y < draw.height; ++y, out += out_bytes) {
    const int from = draw.top + y;
    if (from < 0 || from >= image.height || pixels == 0) {
      std::memset(out, 0, out_bytes);
      continue;
    }
    const std::uint8_t* in =
        image.pixels + in_bytes * static_cast<std::size_t>(from) + static_cast<std::size_t>(x_begin) * channels;
    std::memset(out, 0, begin);
    if (draw.flip)
      mirror_row(in, out + begin, pixels, channels);
    else
      std::memcpy(out + begin, in, length);
    std::memset(out + begin + length, 0, out_bytes - begin - length);
  }
}

// torchvision's Resize(short side) and CenterCrop in one: only the centre is computed.
ResizeJob centre_job(const AugmentOptions& options, int height, int width) {
  const std::int64_t shorter = std::min(height, width), longer = std::max(height, width);
  const auto to_long = static_cast<int>(options.resize_short * longer / shorter);
  ResizeJob job{.to_height = options.resize_short, .to_width = options.resize_short};
  (height > width ? job.to_height : job.to_width) = to_long;
  job.top = static_cast<int>(std::nearbyint((job.to_height - options.out_height) / 2.0));
  job.left = static_cast<int>(std::nearbyint((job.to_width - options.out_width) / 2.0));
  return job;
}

}  // namespace

AugmentOptions checked_augment(AugmentOptions options, int source_height, int source_width, int source_channels) {
  if (options.out_height == 0) options.out_height = source_height;
  if (options.out_width == 0) options.out_width = source_width;
  const std::string sides = fmt::format("1 to {}", kMaxImageSide);
  if (options.out_height == 0 || options.out_width == 0)
    throw UserError(
        "augmentation: output size: got none, want one: these images differ in size, so the input size of the "
        "network must be given.");
  check(options.out_height >= 1 && options.out_height <= kMaxImageSide, "output height", options.out_height, sides);
  check(options.out_width >= 1 && options.out_width <= kMaxImageSide, "output width", options.out_width, sides);
  if (options.crop == Crop::kPadCrop)
    check(options.pad >= 0 && options.pad <= kMaxImageSide, "pad", options.pad, fmt::format("0 to {}", kMaxImageSide));
  if (options.crop == Crop::kRandomResizedCrop) {
    check(options.scale_min > 0 && options.scale_min <= options.scale_max, "scale_min", options.scale_min,
          "above 0 and at most scale_max");
    check(options.scale_max <= 1, "scale_max", options.scale_max, "at most 1");
    check(options.ratio_min > 0 && options.ratio_min <= options.ratio_max, "ratio_min", options.ratio_min,
          "above 0 and at most ratio_max");
    check(std::isfinite(options.ratio_max), "ratio_max", options.ratio_max, "a number");
  }
  if (options.crop == Crop::kResizeCentreCrop)
    check(options.resize_short >= std::max(options.out_height, options.out_width) &&
              options.resize_short <= kMaxImageSide,
          "resize_short", options.resize_short,
          fmt::format("{} (the output size) to {}", std::max(options.out_height, options.out_width), kMaxImageSide));
  if (source_channels != 3 && (options.colour_jitter.enabled() || options.rand_augment.enabled()))
    throw UserError(fmt::format(
        "augmentation: {}: got images of {} channel{}, want 3 (RGB).\nLeave it out.",
        options.colour_jitter.enabled() ? "colour jitter" : "RandAugment", source_channels, source_channels == 1 ? "" : "s"));
  return options;
}

RandomStream augment_stream(std::uint64_t seed, std::int64_t epoch, std::int64_t sample) {
  return RandomStream({seed, RandomPurpose::kAugment, static_cast<std::uint32_t>(epoch), static_cast<std::uint64_t>(sample)});
}

AugmentDraw draw_augment(const AugmentOptions& options, int height, int width, std::uint64_t seed, std::int64_t epoch,
                         std::int64_t sample) {
  RandomStream random = augment_stream(seed, epoch, sample);
  return draw_augment(options, height, width, random);
}

AugmentDraw draw_augment(const AugmentOptions& options, int height, int width, RandomStream& random) {
  AugmentDraw draw{.height = options.out_height, .width = options.out_width};
  if (options.crop == Crop::kPadCrop) {
    const int spare_y = height + 2 * options.pad - options.out_height,
              spare_x = width + 2 * options.pad - options.out_width;
    draw.top = static_cast<int>(random.below(static_cast<std::uint64_t>(std::max(spare_y, 0)) + 1)) - options.pad;
    draw.left = static_cast<int>(random.below(static_cast<std::uint64_t>(std::max(spare_x, 0)) + 1)) - options.pad;
  } else if (options.crop == Crop::kRandomResizedCrop) {
    draw = draw_resized_crop(options, height, width, random);
  }
  draw.flip = options.flip && (random.bits() & 1u) != 0;
  return draw;
}

std::string augment_misfit(const AugmentOptions& options, int height, int width) {
  const int pad = options.pad;
  if (options.crop != Crop::kPadCrop || (height + 2 * pad >= options.out_height && width + 2 * pad >= options.out_width))
    return {};
  return fmt::format(
      "image size: got {}x{} (height x width), want {}x{} or larger (after {} pixels of padding).\nChoose a crop with a "
      "resize, or another input size.",
      height, width, options.out_height, options.out_width, pad);
}

Window augment_window(const AugmentOptions& options, const AugmentDraw& draw, int height, int width) {
  if (options.crop == Crop::kRandomResizedCrop) return {draw.top, draw.left, draw.height, draw.width};
  if (options.crop != Crop::kResizeCentreCrop) return {0, 0, height, width};
  const ResizeJob job = centre_job(options, height, width);
  const ResizeInputs rows = resize_inputs(height, job.to_height, job.top, options.out_height);
  const ResizeInputs columns = resize_inputs(width, job.to_width, job.left, options.out_width);
  return {rows.first, columns.first, rows.count, columns.count};
}

void apply_augment(const AugmentOptions& options, const AugmentDraw& draw, const DecodedRegion& region, ResizeScratch& scratch,
                   std::uint8_t* out) {
  const bool same_size = region.full_height == options.out_height && region.full_width == options.out_width;
  if (options.crop == Crop::kPadCrop || (options.crop == Crop::kNone && same_size)) return copy_window(draw, region.pixels, out);
  ResizeJob job = options.crop == Crop::kResizeCentreCrop
                      ? centre_job(options, region.full_height, region.full_width)
                      : ResizeJob{.to_height = options.out_height, .to_width = options.out_width};
  const bool cropped = options.crop == Crop::kRandomResizedCrop;  // the window is the image that is resized
  const Window& there = region.window;
  job.row_bytes = static_cast<std::ptrdiff_t>(region.pixels.width) * region.pixels.channels;
  job.pixels = region.pixels.pixels;
  if (cropped) job.pixels += (draw.top - there.top) * job.row_bytes + std::ptrdiff_t{draw.left - there.left} * region.pixels.channels;
  job.height = cropped ? draw.height : region.full_height;
  job.width = cropped ? draw.width : region.full_width;
  if (!cropped) job.in_top = there.top, job.in_left = there.left, job.in_height = there.height, job.in_width = there.width;
  job.channels = region.pixels.channels;
  job.out_height = options.out_height;
  job.out_width = options.out_width;
  job.flip = draw.flip;
  resize(job, scratch, out);
}

void apply_augment(const AugmentOptions& options, const AugmentDraw& draw, const Image& image, ResizeScratch& scratch,
                   std::uint8_t* out) {
  apply_augment(options, draw, DecodedRegion{image, {0, 0, image.height, image.width}, image.height, image.width}, scratch, out);
}

void augment_colours(const AugmentOptions& options, RandomStream& random, std::uint8_t* pixels, int channels,
                     std::vector<std::uint8_t>& scratch) {
  const int height = options.out_height, width = options.out_width;
  if (options.colour_jitter.enabled()) apply_colour_jitter(options.colour_jitter, random, pixels, height, width);
  if (options.rand_augment.enabled()) apply_rand_augment(options.rand_augment, random, pixels, height, width, scratch);
  if (options.random_erasing.enabled()) apply_random_erasing(options.random_erasing, random, pixels, height, width, channels);
}

}  // namespace lockstep
