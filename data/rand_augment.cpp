// SPDX-License-Identifier: Apache-2.0
#include "data/rand_augment.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/error.h"
#include "data/enhance.h"

namespace lockstep {
namespace {

using Table = std::array<std::array<std::uint8_t, 256>, 3>;  // per channel
using Histogram = std::array<std::array<std::uint32_t, 256>, 3>;

template <class Value>
std::array<std::uint8_t, 256> table_of(Value value) {
  std::array<std::uint8_t, 256> table{};
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(value(i));
  return table;
}

Table same_for_all(const std::array<std::uint8_t, 256>& table) { return {table, table, table}; }

void look_up(const Table& table, std::span<std::uint8_t> pixels) {
  for (std::size_t i = 0; i < pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) pixels[i + c] = table[c][pixels[i + c]];
}

Histogram histogram(std::span<const std::uint8_t> pixels) {
  Histogram counts{};
  for (std::size_t i = 0; i < pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) ++counts[c][pixels[i + c]];
  return counts;
}

// The darkest value of a channel becomes 0, the brightest 255.
std::array<std::uint8_t, 256> stretching(const std::array<std::uint32_t, 256>& counts) {
  const auto used = [](std::uint32_t count) { return count != 0; };
  const auto low = static_cast<int>(std::find_if(counts.begin(), counts.end(), used) - counts.begin());
  const auto high = 255 - static_cast<int>(std::find_if(counts.rbegin(), counts.rend(), used) - counts.rbegin());
  if (high <= low) return table_of([](int i) { return i; });
  const double scale = 255.0 / (high - low), offset = -low * scale;
  return table_of([&](int i) { return std::clamp(static_cast<int>(i * scale + offset), 0, 255); });
}

// Values become their share of the pixels; the brightest value present isn't counted.
std::array<std::uint8_t, 256> equalizing(const std::array<std::uint32_t, 256>& counts) {
  std::uint64_t all = 0, last = 0;
  for (const std::uint32_t count : counts) {
    all += count;
    if (count != 0) last = count;
  }
  const std::uint64_t step = (all - last) / 255;  // 0 too where a channel has one value only
  if (step == 0) return table_of([](int i) { return i; });
  std::uint64_t below = step / 2;
  return table_of([&](int i) {
    const std::uint64_t value = std::min<std::uint64_t>(below / step, 255);
    below += counts[static_cast<std::size_t>(i)];
    return value;
  });
}

// Bin `bin` of 31 equal steps from `start` to `end`, computed in f32 from the nearer end, as torch.linspace does.
double linspace(float start, double end, int bin) {
  const auto last = static_cast<float>(end);
  const float step = (last - start) / static_cast<float>(kRandAugmentBins - 1);
  return bin < kRandAugmentBins / 2 ? start + step * static_cast<float>(bin)
                                    : last - step * static_cast<float>(kRandAugmentBins - 1 - bin);
}

bool has_sign(RandAugmentOp op) { return op >= RandAugmentOp::kShearX && op <= RandAugmentOp::kSharpness; }

}  // namespace

RandAugmentDraw draw_rand_augment(RandomStream& random) {
  const auto op = static_cast<RandAugmentOp>(random.below(kRandAugmentOps));
  return {op, (random.bits() & 1u) != 0};
}

double rand_augment_magnitude(RandAugmentOp op, int bin, int height, int width) {
  using enum RandAugmentOp;
  LS_CHECK(bin >= 0 && bin < kRandAugmentBins, "RandAugment: magnitude: want 0 to 30");
  switch (op) {
    case kIdentity:
    case kAutocontrast:
    case kEqualize: return 0;
    case kShearX:
    case kShearY: return linspace(0, 0.3, bin);
    case kTranslateX: return linspace(0, 150.0 / 331.0 * width, bin);
    case kTranslateY: return linspace(0, 150.0 / 331.0 * height, bin);
    case kRotate: return linspace(0, 30, bin);
    case kBrightness:
    case kColour:
    case kContrast:
    case kSharpness: return linspace(0, 0.9, bin);
    case kPosterize: return 8 - std::nearbyint(bin / ((kRandAugmentBins - 1) / 4.0));
    case kSolarize: return linspace(255, 0, bin);
  }
  return 0;
}

void apply_rand_augment_op(RandAugmentOp op, double magnitude, std::uint8_t* pixels, int height, int width,
                           std::vector<std::uint8_t>& scratch) {
  using enum RandAugmentOp;
  const std::span image(pixels, 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  const auto transform = [&](const detail::NearestAffine& map) { detail::transform_nearest(map, pixels, height, width, scratch); };
  const auto per_channel = [&](auto table_for) {
    const Histogram counts = histogram(image);
    look_up({table_for(counts[0]), table_for(counts[1]), table_for(counts[2])}, image);
  };
  switch (op) {
    case kIdentity: return;
    case kShearX: return transform(detail::shear_x(magnitude));
    case kShearY: return transform(detail::shear_y(magnitude));
    case kTranslateX: return detail::translate(static_cast<int>(magnitude), 0, pixels, height, width, scratch);
    case kTranslateY: return detail::translate(0, static_cast<int>(magnitude), pixels, height, width, scratch);
    case kRotate: return transform(detail::rotate(magnitude, height, width));
    case kBrightness: return adjust_brightness(image, 1 + magnitude);
    case kColour: return adjust_saturation(image, 1 + magnitude);
    case kContrast: return adjust_contrast(image, 1 + magnitude);
    case kSharpness: return adjust_sharpness(pixels, height, width, 1 + magnitude, scratch);
    case kPosterize: {
      const int mask = ~((1 << (8 - static_cast<int>(magnitude))) - 1);
      return look_up(same_for_all(table_of([&](int i) { return i & mask; })), image);
    }
    case kSolarize: return look_up(same_for_all(table_of([&](int i) { return i < magnitude ? i : 255 - i; })), image);
    case kAutocontrast: return per_channel(stretching);
    case kEqualize: return per_channel(equalizing);
  }
}

void apply_rand_augment(const RandAugmentOptions& options, RandomStream& random, std::uint8_t* pixels, int height, int width,
                        std::vector<std::uint8_t>& scratch) {
  for (int i = 0; i < options.ops; ++i) {
    const RandAugmentDraw draw = draw_rand_augment(random);
    const double magnitude = rand_augment_magnitude(draw.op, options.magnitude, height, width);
    apply_rand_augment_op(draw.op, draw.negative && has_sign(draw.op) ? -magnitude : magnitude, pixels, height, width, scratch);
  }
}

}  // namespace lockstep
