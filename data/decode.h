// Decoding: JPEG or PNG bytes to RGB. What the bytes are is decided by their content, never by the file's name.
//
// JPEG: baseline and progressive, Huffman and arithmetic; YCbCr, RGB, grey, CMYK and YCCK (as Adobe writes them). PNG:
// every colour type and depth; transparency is dropped, 16 bits are cut to 8. EXIF (rotation too) is ignored. The
// pixels are those of Pillow's Image.open(f).convert("RGB"), 16-bit grey PNGs aside. Limits: data/limits.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "data/source.h"

namespace lockstep {

// Reads a file of at most kMaxImageFileBytes into scratch.file and returns its size.
std::size_t read_image_file(const std::string& path, ReadScratch& scratch);

// Decodes into scratch.pixels. `bytes` may lie in scratch.file. Damage of any kind, truncation included, and sizes over
// the limits are UserError(kData) naming `file`; sizes are checked before memory is asked for.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch);

// A part of an image: rows [top, top + height), columns [left, left + width).
struct Window {
  int top = 0, left = 0, height = 0, width = 0;
  bool operator==(const Window&) const = default;
};

// `pixels` are those of `window`, which holds the wanted one and may be larger.
struct DecodedRegion {
  Image pixels;
  Window window;
  int full_height = 0, full_width = 0;  // of the whole image
};

// From an image's size to the window that is wanted, inside the image. May throw.
using ChooseWindow = std::function<Window(int height, int width)>;

// What the image is called: asked for only where there is something wrong with it, as making the name takes memory.
using ImageName = std::function<std::string()>;

// Decodes what `choose` wants, once the header says how large the image is. The pixels are those that decode_image gives,
// bit for bit; only what they need is computed. Damage in what is not needed may go unnoticed, but whether it does is a
// function of bytes and window; a JPEG without its end marker is always refused. PNGs and JPEGs of several scans are decoded
// whole.
DecodedRegion decode_region(std::span<const std::uint8_t> bytes, const ImageName& name, const ChooseWindow& choose, ReadScratch& scratch);

namespace detail {

// `choose` null: the whole image.
DecodedRegion decode_jpeg(std::span<const std::uint8_t> bytes, const ImageName& name, const ChooseWindow* choose, ReadScratch& scratch);
Image decode_png(std::span<const std::uint8_t> bytes, const ImageName& name, ReadScratch& scratch);

// Why an image of this size is refused, or an empty string. `max_pixels` is what a file of this length can hold.
std::string refuse_size(std::int64_t height, std::int64_t width, std::int64_t max_pixels);

// The window itself, which must lie in the image.
Window checked_window(const Window& window, int height, int width);

[[noreturn]] void bad_image(const ImageName& name, const std::string& reason);

}  // namespace detail
}  // namespace lockstep
