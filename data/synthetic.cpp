// SPDX-License-Identifier: Apache-2.0
#include "data/synthetic.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/philox.h"
#include "data/files.h"
#include "data/limits.h"
#include "data/manifest_hash.h"

namespace lockstep {
namespace {

constexpr int kCells = 4;  // a pattern has 4x4 cells
constexpr int kMaxChannels = 16;
constexpr std::uint64_t kNoiseBytes = 1u << 16;
// 64..191 of pattern, 0..31 of brightness, 0..31 of noise: at most 253, so that bytes can be added as they are.
constexpr std::uint64_t kPatternLow = 64, kPatternRange = 128, kBrightnessRange = 32, kNoiseRange = 32;

enum Stream : std::uint32_t { kPatternStream = 0, kNoiseStream = 1, kSampleStream = 2 };  // + split

void check_range(const char* what, std::int64_t got, std::int64_t low, std::int64_t high) {
  if (got < low || got > high)
    throw UserError(fmt::format("synthetic data: {}: got {}, want {} to {}.", what, got, low, high));
}

}  // namespace

SyntheticSource::SyntheticSource(const SourceOptions& options) : options_(options) {
  check_range("size", options.size, 1, std::int64_t{1} << 40);
  check_range("height", options.height, 1, kMaxImageSide);
  check_range("width", options.width, 1, kMaxImageSide);
  check_range("channels", options.channels, 1, kMaxChannels);
  check_range("classes", options.classes, 1, 1 << 20);
  const std::size_t cell_bytes = static_cast<std::size_t>(kCells) * kCells * options.channels;
  for (int c = 0; c < options.classes; ++c) {
    RandomStream random({options.seed, RandomPurpose::kSynthetic, kPatternStream, static_cast<std::uint64_t>(c)});
    for (std::size_t i = 0; i < cell_bytes; ++i)
      patterns_.push_back(static_cast<std::uint8_t>(kPatternLow + random.below(kPatternRange)));
  }
  RandomStream random({options.seed, RandomPurpose::kSynthetic, kNoiseStream, 0});
  noise_.resize(kNoiseBytes + static_cast<std::size_t>(options.width) * options.channels);
  for (std::uint8_t& value : noise_) value = static_cast<std::uint8_t>(random.bits() % kNoiseRange);
}

int SyntheticSource::label(std::int64_t index) const { return static_cast<int>(index % options_.classes); }

Image SyntheticSource::read(std::int64_t index, ReadScratch& scratch) const {
  const int height = options_.height, width = options_.width, channels = options_.channels;
  const std::size_t row_bytes = static_cast<std::size_t>(width) * channels;
  grow(scratch.pixels, row_bytes * height);
  grow(scratch.row, row_bytes);
  RandomStream random({options_.seed, RandomPurpose::kSynthetic,
                       kSampleStream + static_cast<std::uint32_t>(options_.split), static_cast<std::uint64_t>(index)});
  const auto brightness = static_cast<std::uint8_t>(random.below(kBrightnessRange));
  const std::uint32_t start = random.bits(), stride = random.bits() | 1u;  // odd: rows take different pieces
  const std::uint8_t* pattern = patterns_.data() + static_cast<std::size_t>(label(index)) * kCells * kCells * channels;
  int filled_row = -1;
  for (int y = 0; y < height; ++y) {
    const int cell_y = y * kCells / height;
    if (cell_y != filled_row) {
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < channels; ++c)
          scratch.row[static_cast<std::size_t>(x) * channels + c] =
              static_cast<std::uint8_t>(pattern[(cell_y * kCells + x * kCells / width) * channels + c] + brightness);
      filled_row = cell_y;
    }
    const std::uint8_t* noise = noise_.data() + (start + stride * static_cast<std::uint32_t>(y)) % kNoiseBytes;
    const std::uint8_t* base = scratch.row.data();
    std::uint8_t* out = scratch.pixels.data() + row_bytes * y;
    for (std::size_t i = 0; i < row_bytes; ++i) out[i] = static_cast<std::uint8_t>(base[i] + noise[i]);
  }
  return {scratch.pixels.data(), height, width, channels};
}

std::string SyntheticSource::name(std::int64_t index) const { return fmt::format("synthetic image {}", index); }

std::string SyntheticSource::describe() const {
  return fmt::format("synthetic: {} images of {}x{}x{}, {} classes (seed {})", options_.size, options_.height,
                     options_.width, options_.channels, options_.classes, options_.seed);
}

std::string SyntheticSource::digest() const {
  ManifestHash hash("synthetic");
  hash.add(options_.size);
  for (const int value :
       {options_.height, options_.width, options_.channels, options_.classes, static_cast<int>(options_.split)})
    hash.add(value);
  hash.add(static_cast<std::int64_t>(options_.seed));
  return hash.hex();
}

}  // namespace lockstep
