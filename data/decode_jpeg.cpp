// JPEG by libjpeg's own interface ("islow" DCT, smooth upsampling: its defaults). libjpeg reports errors by longjmp, so
// the functions between setjmp and libjpeg hold nothing with a destructor, and the exception is thrown after the jump.
//
// Each image gets a libjpeg object of its own (3 us): one that is used again keeps the tables of the image before, and a file
// without tables would then decode, or not, by what came before it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
// jpeglib.h needs size_t and FILE first
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <jerror.h>

#include "data/decode.h"
#include "data/decode_jpeg_huffman.h"
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

// Where rows go: `pixels` holds the window's rows one after the other. Rows are decoded right there if libjpeg's begin and end
// where the window's do, else into `row`, whose `skip` first pixels are not wanted. CMYK always takes that way.
struct Rows {
  std::uint8_t* pixels;
  std::uint8_t* row;
  unsigned skip;
  unsigned width, height;  // of the window
  bool direct;
};

bool is_cmyk(const jpeg_decompress_struct& info) { return info.out_color_space == JCS_CMYK; }

// False: decoder.reason says why.
bool start(Decoder& decoder) {
  if (setjmp(decoder.escape) != 0) return false;
  jpeg_start_decompress(&decoder.info);
  return true;
}

// Limits output to the columns that the window needs and a margin for smooth upsampling, whose outermost columns take the
// edge of what is decoded for the edge of the image. `window` grows where its rows can then be decoded without a copy. Returns
// the first column that libjpeg will give.
unsigned crop_columns(jpeg_decompress_struct& info, Window& window, JpegHuffmanPtr& huffman) {
  const unsigned mcu = info.comps_in_scan == 1 ? DCTSIZE : static_cast<unsigned>(info.max_h_samp_factor) * DCTSIZE;
  const unsigned margin = info.max_h_samp_factor > 1 ? mcu : 0;
  const auto left = static_cast<unsigned>(window.left), right = left + static_cast<unsigned>(window.width);
  JDIMENSION first = left > margin ? left - margin : 0;
  JDIMENSION width = std::min(info.output_width, right + margin) - first;
  if (first != 0 || width != info.output_width) jpeg_crop_scanline(&info, &first, &width);
  use_own_huffman(info, first / mcu, (first + width - 1) / mcu, huffman);
  if (margin == 0 && !is_cmyk(info)) {
    window.left = static_cast<int>(first);
    window.width = static_cast<int>(width);
  }
  return first;
}

// False: decoder.reason says why.
bool crop(Decoder& decoder, Window& window, JpegHuffmanPtr& huffman, unsigned& first) {
  if (setjmp(decoder.escape) != 0) return false;
  first = crop_columns(decoder.info, window, huffman);
  return true;
}

// Decodes the window's rows. Those above are decoded no further than needed, those below not at all.
void read_rows(jpeg_decompress_struct& info, unsigned top, const Rows& rows) {
  if (top > 0) jpeg_skip_scanlines(&info, top);
  const std::size_t row_bytes = std::size_t{3} * rows.width;
  for (unsigned y = 0; y < rows.height; ++y) {
    JSAMPROW to = rows.direct ? rows.pixels + y * row_bytes : rows.row;
    jpeg_read_scanlines(&info, &to, 1);
    if (rows.direct) continue;
    if (is_cmyk(info))
      inks_to_rgb(rows.row + std::size_t{4} * rows.skip, rows.pixels + y * row_bytes, static_cast<int>(rows.width));
    else
      std::memcpy(rows.pixels + y * row_bytes, rows.row + std::size_t{3} * rows.skip, row_bytes);
  }
}

// `whole`: reads on to the end marker: a file cut short is noticed here at the latest. False: decoder.reason says why.
bool read_pixels(Decoder& decoder, unsigned top, const Rows& rows, bool whole) {
  if (setjmp(decoder.escape) != 0) return false;
  read_rows(decoder.info, top, rows);
  if (whole) jpeg_finish_decompress(&decoder.info);
  return true;
}

// Is there an end marker among the bytes that libjpeg has yet to read? What follows it is of no interest.
bool has_end_marker(const jpeg_decompress_struct& info) {
  const std::uint8_t *begin = info.src->next_input_byte, *end = begin + info.src->bytes_in_buffer;
  while (end - begin >= 2) {
    const auto* found = static_cast<const std::uint8_t*>(memrchr(begin + 1, JPEG_EOI, static_cast<std::size_t>(end - begin - 1)));
    if (found == nullptr) return false;
    if (found[-1] == 0xff) return true;
    end = found;
  }
  return false;
}

void check_size(const Decoder& decoder, std::size_t file_bytes, const ImageName& name) {
  const auto height = static_cast<std::int64_t>(decoder.info.image_height), width = static_cast<std::int64_t>(decoder.info.image_width);
  const auto max_pixels = kSlackPixels + kMaxPixelsPerByte * static_cast<std::int64_t>(file_bytes);
  if (const std::string refusal = refuse_size(height, width, max_pixels); !refusal.empty()) bad_image(name, refusal);
}

struct Destroyer {
  Decoder& decoder;
  ~Destroyer() { jpeg_destroy_decompress(&decoder.info); }
};

}  // namespace

DecodedRegion decode_jpeg(std::span<const std::uint8_t> bytes, const ImageName& name, const ChooseWindow* choose, ReadScratch& scratch) {
  Decoder decoder;
  create(decoder);
  const Destroyer destroyer{decoder};
  if (!read_header(decoder, bytes.data(), bytes.size())) bad_image(name, decoder.reason);
  check_size(decoder, bytes.size(), name);
  const auto height = static_cast<int>(decoder.info.image_height), width = static_cast<int>(decoder.info.image_width);
  const Window everything{0, 0, height, width};
  Window window = choose != nullptr ? checked_window((*choose)(height, width), height, width) : everything;
  if (!start(decoder)) bad_image(name, decoder.reason);
  // The scans of a progressive image are all read by now: there is little to gain.
  const bool whole = choose == nullptr || jpeg_has_multiple_scans(&decoder.info) != FALSE;
  if (whole) window = everything;
  if (!whole && !has_end_marker(decoder.info)) bad_image(name, "it has no end marker: it was cut short");
  unsigned first = 0;
  if (!crop(decoder, window, scratch.jpeg, first)) bad_image(name, decoder.reason);
  const bool direct = decoder.info.output_width == static_cast<unsigned>(window.width) && !is_cmyk(decoder.info);
  grow(scratch.pixels, static_cast<std::size_t>(window.height) * static_cast<std::size_t>(window.width) * 3);
  grow(scratch.row, static_cast<std::size_t>(decoder.info.output_width) * 4);
  const Rows rows{scratch.pixels.data(), scratch.row.data(), static_cast<unsigned>(window.left) - first, static_cast<unsigned>(window.width),
                  static_cast<unsigned>(window.height), direct};
  if (!read_pixels(decoder, static_cast<unsigned>(window.top), rows, whole)) bad_image(name, decoder.reason);
  return {{scratch.pixels.data(), window.height, window.width, 3}, window, height, width};
}

}  // namespace lockstep::detail
