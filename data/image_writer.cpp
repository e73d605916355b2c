// libjpeg and libpng report errors by longjmp: the functions between setjmp and them hold nothing with a destructor. Both write
// through a fixed buffer; what is full is appended to the caller's vector.
// SPDX-License-Identifier: Apache-2.0
#include "data/image_writer.h"

#include <fmt/format.h>
#include <png.h>
// jpeglib.h needs size_t and FILE first
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include "core/error.h"

namespace lockstep {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct JpegEncoder {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  jpeg_destination_mgr destination;
  std::jmp_buf escape;
  char reason[JMSG_LENGTH_MAX];
  Bytes* out;
  bool out_of_memory;
  JOCTET buffer[1 << 14];
};

JpegEncoder& encoder_of(j_common_ptr info) { return *static_cast<JpegEncoder*>(info->client_data); }
JpegEncoder& encoder_of(j_compress_ptr info) { return *static_cast<JpegEncoder*>(info->client_data); }

[[noreturn]] void on_jpeg_error(j_common_ptr info) {
  JpegEncoder& encoder = encoder_of(info);
  info->err->format_message(info, encoder.reason);
  std::longjmp(encoder.escape, 1);
}

void rewind_buffer(j_compress_ptr info) {
  info->dest->next_output_byte = encoder_of(info).buffer;
  info->dest->free_in_buffer = sizeof encoder_of(info).buffer;
}

// No exception may cross libjpeg's frames.
void append(JpegEncoder& encoder, std::size_t size) {
  try {
    encoder.out->insert(encoder.out->end(), encoder.buffer, encoder.buffer + size);
  } catch (const std::bad_alloc&) {
    encoder.out_of_memory = true;
  }
}

boolean empty_buffer(j_compress_ptr info) {
  append(encoder_of(info), sizeof encoder_of(info).buffer);
  rewind_buffer(info);
  return TRUE;
}

void end_of_image(j_compress_ptr info) { append(encoder_of(info), sizeof encoder_of(info).buffer - info->dest->free_in_buffer); }

// False: encoder.reason says why.
bool compress(JpegEncoder& encoder, const Image& image, int quality) {
  if (setjmp(encoder.escape) != 0) return false;
  jpeg_create_compress(&encoder.info);
  encoder.info.dest = &encoder.destination;
  encoder.info.image_height = static_cast<JDIMENSION>(image.height);
  encoder.info.image_width = static_cast<JDIMENSION>(image.width);
  encoder.info.input_components = image.channels;
  encoder.info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&encoder.info);
  jpeg_set_quality(&encoder.info, quality, TRUE);
  jpeg_start_compress(&encoder.info, TRUE);
  const std::size_t row_bytes = std::size_t{1} * image.width * image.channels;
  while (encoder.info.next_scanline < encoder.info.image_height) {
    auto* row = const_cast<JSAMPLE*>(image.pixels + row_bytes * encoder.info.next_scanline);
    jpeg_write_scanlines(&encoder.info, &row, 1);
  }
  jpeg_finish_compress(&encoder.info);
  return true;
}

void check(const Image& image) {
  LS_CHECK(image.height > 0 && image.width > 0 && (image.channels == 1 || image.channels == 3),
           fmt::format("encoding {}x{}x{}", image.height, image.width, image.channels));
}

struct PngEncoder {
  Bytes* out;
  bool out_of_memory;
  char reason[256];
};

void on_png_error(png_structp png, png_const_charp message) {
  auto& encoder = *static_cast<PngEncoder*>(png_get_error_ptr(png));
  std::snprintf(encoder.reason, sizeof encoder.reason, "%s", message);
  png_longjmp(png, 1);
}

void write_png_bytes(png_structp png, png_bytep data, png_size_t size) {
  auto& encoder = *static_cast<PngEncoder*>(png_get_io_ptr(png));
  try {
    encoder.out->insert(encoder.out->end(), data, data + size);
  } catch (const std::bad_alloc&) {
    encoder.out_of_memory = true;
  }
}

bool write_png(png_structp png, png_infop info, PngEncoder& encoder, const Image& image) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, &encoder, write_png_bytes, [](png_structp) {});
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
               image.channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const std::size_t row_bytes = std::size_t{1} * image.width * image.channels;
  for (int y = 0; y < image.height; ++y) png_write_row(png, image.pixels + row_bytes * static_cast<std::size_t>(y));
  png_write_end(png, nullptr);
  return true;
}

}  // namespace

void encode_jpeg(const Image& image, int quality, Bytes& out) {
  check(image);
  JpegEncoder encoder;
  encoder.info = {};
  encoder.info.err = jpeg_std_error(&encoder.errors);
  encoder.errors.error_exit = on_jpeg_error;
  encoder.errors.output_message = [](j_common_ptr) {};
  encoder.info.client_data = &encoder;
  encoder.destination = {};
  encoder.destination.init_destination = rewind_buffer;
  encoder.destination.empty_output_buffer = empty_buffer;
  encoder.destination.term_destination = end_of_image;
  encoder.out = &out;
  encoder.out_of_memory = false;
  const bool done = compress(encoder, image, quality);
  jpeg_destroy_compress(&encoder.info);
  if (encoder.out_of_memory) throw std::bad_alloc();
  if (!done) throw EnvironmentError(fmt::format("writing a JPEG of {}x{}: {}", image.height, image.width, encoder.reason));
}

void encode_png(const Image& image, Bytes& out) {
  check(image);
  PngEncoder encoder{.out = &out, .out_of_memory = false, .reason = ""};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &encoder, on_png_error, [](png_structp, png_const_charp) {});
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr) throw std::bad_alloc();
  const bool done = write_png(png, info, encoder, image);
  png_destroy_write_struct(&png, &info);
  if (encoder.out_of_memory) throw std::bad_alloc();
  if (!done) throw EnvironmentError(fmt::format("writing a PNG of {}x{}: {}", image.height, image.width, encoder.reason));
}

}  // namespace lockstep
