// SPDX-License-Identifier: Apache-2.0
#include "data/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "data/files.h"
#include "data/limits.h"

namespace lockstep {
namespace detail {

void bad_image(const ImageName& name, const std::string& reason) {
  throw UserError(fmt::format("{}: bad image: {}.\nReplace or remove the file.", name(), reason), ExitCode::kData);
}

std::string refuse_size(std::int64_t height, std::int64_t width, std::int64_t max_pixels) {
  if (height < 1 || width < 1 || height > kMaxImageSide || width > kMaxImageSide || height * width > kMaxImagePixels)
    return fmt::format("its header says {}x{} (height x width): want sides of 1 to {} and at most {} pixels", height,
                       width, kMaxImageSide, kMaxImagePixels);
  if (height * width > max_pixels)
    return fmt::format("its header says {}x{} (height x width): more than a file of this length can hold", height,
                       width);
  return {};
}

Window checked_window(const Window& window, int height, int width) {
  LS_CHECK(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0 && window.height <= height - window.top &&
               window.width <= width - window.left,
           fmt::format("window {}x{} at {},{} of an image of {}x{}", window.height, window.width, window.top, window.left, height, width));
  return window;
}

}  // namespace detail

std::size_t read_image_file(const std::string& path, ReadScratch& scratch) {
  return read_file(path, kMaxImageFileBytes, scratch.file);
}

namespace {

enum class Format : std::uint8_t { kJpeg, kPng };

Format format_of(std::span<const std::uint8_t> bytes, const ImageName& name) {
  constexpr std::array<std::uint8_t, 3> kJpeg = {0xff, 0xd8, 0xff};
  constexpr std::array<std::uint8_t, 8> kPng = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto begins_with = [&](const auto& magic) {
    return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
  };
  if (begins_with(kJpeg)) return Format::kJpeg;
  if (begins_with(kPng)) return Format::kPng;
  std::string start;
  for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 8); ++i) start += fmt::format(" {:02x}", bytes[i]);
  detail::bad_image(name, bytes.empty() ? std::string("the file is empty") : "neither JPEG nor PNG: it begins with" + start);
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch) {
  const ImageName name = [&file] { return file; };
  if (format_of(bytes, name) == Format::kPng) return detail::decode_png(bytes, name, scratch);
  return detail::decode_jpeg(bytes, name, nullptr, scratch).pixels;
}

DecodedRegion decode_region(std::span<const std::uint8_t> bytes, const ImageName& name, const ChooseWindow& choose, ReadScratch& scratch) {
  if (format_of(bytes, name) == Format::kJpeg) return detail::decode_jpeg(bytes, name, &choose, scratch);
  const Image image = detail::decode_png(bytes, name, scratch);
  detail::checked_window(choose(image.height, image.width), image.height, image.width);
  return {image, {0, 0, image.height, image.width}, image.height, image.width};
}

}  // namespace lockstep
