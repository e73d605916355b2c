// Decoding: JPEG or PNG bytes to RGB. What the bytes are is decided by their content, never by the file's name.
//
// JPEG: baseline and progressive, Huffman and arithmetic; YCbCr, RGB, grey, CMYK and YCCK (as Adobe writes them). PNG:
// every colour type and depth; transparency is dropped, 16 bits are cut to 8. EXIF (rotation too) is ignored. The
// pixels are those of Pillow's Image.open(f).convert("RGB"), 16-bit grey PNGs aside. Limits: data/limits.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "data/source.h"

namespace lockstep {

// Reads a file of at most kMaxImageFileBytes into scratch.file and returns its size.
std::size_t read_image_file(const std::string& path, ReadScratch& scratch);

// Decodes into scratch.pixels. `bytes` may lie in scratch.file. Damage of any kind, truncation included, and sizes over
// the limits are UserError(kData) naming `file`; sizes are checked before memory is asked for.
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch);

namespace detail {

Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch);
Image decode_png(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch);

// Why an image of this size is refused, or an empty string. `max_pixels` is what a file of this length can hold.
std::string refuse_size(std::int64_t height, std::int64_t width, std::int64_t max_pixels);

[[noreturn]] void bad_image(const std::string& file, const std::string& reason);

}  // namespace detail
}  // namespace lockstep
