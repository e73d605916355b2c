// JPEG by libjpeg's own interface ("islow" DCT, smooth upsampling: its defaults). libjpeg reports errors by longjmp, so
// the functions between setjmp and libjpeg hold nothing with a destructor, and the exception is thrown after the jump.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
// jpeglib.h needs size_t and FILE first
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <jerror.h>

#include "data/decode.h"
#include "data/files.h"
#include "data/limits.h"

namespace lockstep::detail {
namespace {

constexpr long kMaxLibraryBytes = 1L << 30;  // libjpeg's own memory: coefficients of a progressive image
// One luma block of 8x8 takes at least one bit, so no JPEG holds more pixels per byte. Tiny files get some slack.
constexpr std::int64_t kMaxPixelsPerByte = 512, kSlackPixels = 1 << 16;

struct Decoder {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf escape;
  char reason[JMSG_LENGTH_MAX];
  int fatal_warning;  // libjpeg's code of the first warning that means lost pixels; 0: none
};

Decoder& decoder_of(j_common_ptr info) { return *static_cast<Decoder*>(info->client_data); }

[[noreturn]] void on_error(j_common_ptr info) {
  Decoder& decoder = decoder_of(info);
  info->err->format_message(info, decoder.reason);
  std::longjmp(decoder.escape, 1);
}

bool loses_pixels(int code) {
  switch (code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
      return false;  // harmless and found in real data sets
    default:
      return true;
  }
}

void on_message(j_common_ptr info, int level) {
  if (level >= 0 || !loses_pixels(info->err->msg_code)) return;  // traces and harmless warnings
  on_error(info);
}

void ignore_output(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxJpegScans) return;
  Decoder& decoder = decoder_of(info);
  std::snprintf(decoder.reason, sizeof decoder.reason, "more than %d scans", kMaxJpegScans);
  std::longjmp(decoder.escape, 1);
}

void create(Decoder& decoder) {
  std::memset(&decoder, 0, sizeof decoder);
  decoder.info.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = on_error;
  decoder.errors.emit_message = on_message;
  decoder.errors.output_message = ignore_output;
  decoder.progress.progress_monitor = on_progress;
  decoder.info.client_data = &decoder;
}

// Everything up to the size and the output colours. False: decoder.reason says why.
bool read_header(Decoder& decoder, const std::uint8_t* bytes, std::size_t size) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_create_decompress(&decoder.info);
  decoder.info.mem->max_memory_to_use = kMaxLibraryBytes;
  decoder.info.progress = &decoder.progress;
  jpeg_mem_src(&decoder.info, bytes, size);
  jpeg_read_header(&decoder.info, TRUE);
  const bool inks = decoder.info.jpeg_color_space == JCS_CMYK || decoder.info.jpeg_color_space == JCS_YCCK;
  decoder.info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  return true;
}

// Adobe stores inks inverted: 255 is none. r = k' - (255 - c') * k' / 255, rounded as Pillow rounds it.
void inks_to_rgb(const std::uint8_t* inks, std::uint8_t* rgb, int width) {
  for (int x = 0; x < width; ++x, inks += 4, rgb += 3)
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - inks[c]) * inks[3] + 128;
      rgb[c] = static_cast<std::uint8_t>(inks[3] - ((product + (product >> 8)) >> 8));
    }
}

// `inks`: one row of CMYK, used only for those files. False: decoder.reason says why.
bool read_pixels(Decoder& decoder, std::uint8_t* pixels, std::uint8_t* inks) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_start_decompress(&decoder.info);
  const std::size_t row_bytes = std::size_t{3} * decoder.info.output_width;
  while (decoder.info.output_scanline < decoder.info.output_height) {
    std::uint8_t* row = pixels + row_bytes * decoder.info.output_scanline;
    if (decoder.info.out_color_space == JCS_CMYK) {
      jpeg_read_scanlines(&decoder.info, &inks, 1);
      inks_to_rgb(inks, row, static_cast<int>(decoder.info.output_width));
    } else {
      JSAMPROW rows[4] = {row, row + row_bytes, row + 2 * row_bytes, row + 3 * row_bytes};
      const unsigned left = decoder.info.output_height - decoder.info.output_scanline;
      jpeg_read_scanlines(&decoder.info, rows, left < 4 ? left : 4);
    }
  }
  jpeg_finish_decompress(&decoder.info);  // reads on to the end marker: a file cut short is noticed here at the latest
  return true;
}

struct Destroyer {
  Decoder& decoder;
  ~Destroyer() { jpeg_destroy_decompress(&decoder.info); }
};

}  // namespace

Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& file, ReadScratch& scratch) {
  Decoder decoder;
  create(decoder);
  const Destroyer destroyer{decoder};
  if (!read_header(decoder, bytes.data(), bytes.size())) bad_image(file, decoder.reason);
  const auto height = static_cast<std::int64_t>(decoder.info.image_height),
             width = static_cast<std::int64_t>(decoder.info.image_width);
  const auto max_pixels = kSlackPixels + kMaxPixelsPerByte * static_cast<std::int64_t>(bytes.size());
  if (const std::string refusal = refuse_size(height, width, max_pixels); !refusal.empty()) bad_image(file, refusal);
  grow(scratch.pixels, static_cast<std::size_t>(height * width * 3));
  grow(scratch.row, static_cast<std::size_t>(width * 4));
  if (!read_pixels(decoder, scratch.pixels.data(), scratch.row.data())) bad_image(file, decoder.reason);
  return {scratch.pixels.data(), static_cast<int>(height), static_cast<int>(width), 3};
}

}  // namespace lockstep::detail
