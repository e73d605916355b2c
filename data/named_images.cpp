// SPDX-License-Identifier: Apache-2.0
#include "data/named_images.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "data/decode.h"
#include "data/manifest_hash.h"

namespace lockstep {
namespace {

// ITU-R 601-2 luma with 16 bits of fraction, in place: pixel i is written after it was read.
void keep_luminance(std::vector<std::uint8_t>& pixels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t r = pixels[3 * i], g = pixels[3 * i + 1], b = pixels[3 * i + 2];
    pixels[i] = static_cast<std::uint8_t>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
  }
}

}  // namespace

NamedImages::NamedImages(std::vector<std::string> paths, int channels) : paths_(std::move(paths)), channels_(channels) {
  if (paths_.empty()) throw UserError("no image is named");
  if (channels_ != 1 && channels_ != 3)
    throw UserError(fmt::format("the network sees images of {} channels, image files have 1 or 3", channels_));
}

std::span<const std::uint8_t> NamedImages::fetch(std::int64_t index, ReadScratch& scratch) const {
  const std::size_t size = read_image_file(name(index), scratch);
  return {scratch.file.data(), size};
}

Image NamedImages::read(std::int64_t index, ReadScratch& scratch) const {
  Image image = decode_image(fetch(index, scratch), name(index), scratch);
  if (channels_ == 3) return image;
  LS_CHECK(image.pixels == scratch.pixels.data() && image.channels == 3, "decoded somewhere else");
  keep_luminance(scratch.pixels, static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width));
  image.channels = 1;
  return image;
}

std::string NamedImages::describe() const { return fmt::format("{} image file(s)", paths_.size()); }

std::string NamedImages::digest() const {
  ManifestHash hash("named images");
  for (const std::string& path : paths_) hash.add(path);
  return hash.hex();
}

}  // namespace lockstep
