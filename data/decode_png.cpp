// PNG by libpng. As with JPEG, errors arrive by longjmp and the exception is thrown after the jump.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "data/decode.h"
#include "data/files.h"
#include "data/limits.h"

namespace lockstep::detail {
namespace {

constexpr png_alloc_size_t kMaxChunkBytes = 8u << 20;  // of a chunk other than pixels (text, profiles)
constexpr int kMaxCachedChunks = 128;
constexpr std::int64_t kSlackBytes = 1 << 16;

struct Decoder {
  png_structp png;
  png_infop info;
  const std::uint8_t* bytes;
  std::size_t left;
  char reason[256];
  png_uint_32 height, width;
  int file_bits_per_pixel;
};

void on_error(png_structp png, png_const_charp message) {
  auto& decoder = *static_cast<Decoder*>(png_get_error_ptr(png));
  std::snprintf(decoder.reason, sizeof decoder.reason, "%s", message);
  png_longjmp(png, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep to, png_size_t size) {
  auto& decoder = *static_cast<Decoder*>(png_get_io_ptr(png));
  if (size > decoder.left) png_error(png, "the file ends too early");
  std::memcpy(to, decoder.bytes, size);
  decoder.bytes += size;
  decoder.left -= size;
}

bool read_header(Decoder& decoder) {
  if (setjmp(png_jmpbuf(decoder.png)) != 0) return false;
  png_set_read_fn(decoder.png, &decoder, read_bytes);
  png_set_user_limits(decoder.png, kMaxImageSide, kMaxImageSide);
  png_set_chunk_malloc_max(decoder.png, kMaxChunkBytes);
  png_set_chunk_cache_max(decoder.png, kMaxCachedChunks);
  png_read_info(decoder.png, decoder.info);
  decoder.height = png_get_image_height(decoder.png, decoder.info);
  decoder.width = png_get_image_width(decoder.png, decoder.info);
  decoder.file_bits_per_pixel =
      png_get_bit_depth(decoder.png, decoder.info) * png_get_channels(decoder.png, decoder.info);
  png_set_strip_16(decoder.png);
  png_set_expand(decoder.png);  // palette to RGB, grey below 8 bits to 8, transparent colours to alpha
  png_set_gray_to_rgb(decoder.png);
  png_set_strip_alpha(decoder.png);
  return true;
}

bool read_pixels(Decoder& decoder, png_bytepp rows) {
  if (setjmp(png_jmpbuf(decoder.png)) != 0) return false;
  png_set_interlace_handling(decoder.png);
  png_read_update_info(decoder.png, decoder.info);
  if (png_get_rowbytes(decoder.png, decoder.info) != std::size_t{3} * decoder.width)
    png_error(decoder.png, "its rows do not become RGB");
  png_read_image(decoder.png, rows);
  png_read_end(decoder.png, nullptr);
  return true;
}

// libpng asks for the memory of a chunk before it has seen its bytes, even beyond the limits set above. Does any chunk up to the end
// marker claim more bytes than there are?
bool has_oversized_chunk(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kMagic = 8, kFrame = 12;  // length, type, checksum
  for (std::size_t at = kMagic; at + 8 <= bytes.size();) {
    const std::uint8_t* p = bytes.data() + at;
    const std::size_t length = std::size_t{p[0]} << 24 | std::size_t{p[1]} << 16 | std::size_t{p[2]} << 8 | p[3];
    if (std::memcmp(p + 4, "IEND", 4) == 0) return false;
    if (length + kFrame > bytes.size() - at) return true;
    at += length + kFrame;
  }
  return false;
}

struct Destroyer {
  Decoder& decoder;
  ~Destroyer() { png_destroy_read_struct(&decoder.png, &decoder.info, nullptr); }
};

}  // namespace

Image decode_png(std::span<const std::uint8_t> bytes, const ImageName& name, ReadScratch& scratch) {
  if (has_oversized_chunk(bytes)) bad_image(name, "the file ends too early");
  Decoder decoder = {};
  decoder.bytes = bytes.data();
  decoder.left = bytes.size();
  const Destroyer destroyer{decoder};
  decoder.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, on_error, ignore_warning);
  decoder.info = decoder.png == nullptr ? nullptr : png_create_info_struct(decoder.png);
  if (decoder.info == nullptr) throw std::bad_alloc();
  if (!read_header(decoder)) bad_image(name, decoder.reason);
  const auto height = static_cast<std::int64_t>(decoder.height), width = static_cast<std::int64_t>(decoder.width);
  const std::int64_t max_bits = 8 * (kMaxDeflateRatio * static_cast<std::int64_t>(bytes.size()) + kSlackBytes);
  if (const std::string refusal = refuse_size(height, width, max_bits / decoder.file_bits_per_pixel); !refusal.empty())
    bad_image(name, refusal);
  const auto row_bytes = static_cast<std::size_t>(width * 3);
  grow(scratch.pixels, row_bytes * static_cast<std::size_t>(height));
  grow(scratch.rows, static_cast<std::size_t>(height));
  for (std::int64_t y = 0; y < height; ++y)
    scratch.rows[static_cast<std::size_t>(y)] = scratch.pixels.data() + row_bytes * static_cast<std::size_t>(y);
  if (!read_pixels(decoder, scratch.rows.data())) bad_image(name, decoder.reason);
  return {scratch.pixels.data(), static_cast<int>(height), static_cast<int>(width), 3};
}

}  // namespace lockstep::detail
