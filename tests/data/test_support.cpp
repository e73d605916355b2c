// SPDX-License-Identifier: Apache-2.0
#include "tests/data/test_support.h"

#include <fmt/format.h>
#include <png.h>
#include <stdlib.h>
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <jpeglib.h>

namespace lockstep::test {

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "lockstep_data_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::write(const std::string& name, const Bytes& bytes) const {
  const std::filesystem::path path = std::filesystem::path(path_) / name;
  std::filesystem::create_directories(path.parent_path());
  std::filesystem::remove(path);  // ext4 flushes a file that is truncated and rewritten: thousands of times too slow
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("write " + path.string());
  return path.string();
}

Bytes read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("open " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream = {};
  if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  Bytes out(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = const_cast<std::uint8_t*>(bytes.data());
  stream.avail_in = static_cast<unsigned>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<unsigned>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("deflate");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Bytes pattern(std::uint32_t seed, std::size_t count) {
  Bytes out(count);
  for (std::uint8_t& value : out) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<std::uint8_t>(seed >> 24);
  }
  return out;
}

std::string fnv(const std::uint8_t* data, std::size_t size) {
  std::uint64_t value = 0xCBF29CE484222325ull;
  for (std::size_t i = 0; i < size; ++i) value = (value ^ data[i]) * 0x100000001B3ull;
  return fmt::format("{:016x}", value);
}

std::string not_the_user_error(const std::function<void()>& action, ExitCode code,
                               std::initializer_list<std::string> parts) {
  try {
    action();
  } catch (const UserError& error) {
    if (error.code() != code)
      return fmt::format("exit code {} instead of {}: {}", static_cast<int>(error.code()), static_cast<int>(code),
                         error.what());
    for (const std::string& part : parts)
      if (std::string(error.what()).find(part) == std::string::npos)
        return fmt::format("no \"{}\" in: {}", part, error.what());
    return {};
  } catch (const std::exception& error) {
    return fmt::format("another exception: {}", error.what());
  }
  return "no exception";
}

std::string source_dir() {
  if (const char* given = std::getenv("LOCKSTEP_SOURCE_DIR"); given != nullptr) return given;
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path().string();
}

std::string sample_images() {
  std::vector<std::filesystem::path> places;
  if (const char* given = std::getenv("LOCKSTEP_SAMPLE_IMAGES"); given != nullptr)
    places = {given, std::filesystem::path(given) / "imagenet_sample"};
  else
    places = {std::filesystem::path(source_dir()) / "../shared/data/imagenet_sample"};
  for (const auto& place : places) {
    std::error_code ignored;
    if (std::filesystem::is_directory(place / "train", ignored)) return place.string();
  }
  return {};
}

Bytes idx(std::initializer_list<std::uint32_t> extents, const Bytes& values) {
  Bytes out = {0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(extent >> shift));
  out.insert(out.end(), values.begin(), values.end());
  return out;
}

Bytes cifar(std::int64_t count) {
  Bytes out;
  for (std::int64_t i = 0; i < count; ++i) {
    out.push_back(static_cast<std::uint8_t>(i % 10));
    const Bytes pixels = pattern(static_cast<std::uint32_t>(i), 3072);
    out.insert(out.end(), pixels.begin(), pixels.end());
  }
  return out;
}

namespace {

// A smooth picture with some noise, so that JPEG has something to do.
Bytes picture(int height, int width, int channels, std::uint32_t seed) {
  Bytes out = pattern(seed, static_cast<std::size_t>(height) * width * channels);
  std::size_t i = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c, ++i)
        out[i] = static_cast<std::uint8_t>((y * 3 + x * (c + 1) + static_cast<int>(seed) * 31 + out[i] / 16) % 256);
  return out;
}

// A legal progression of 127 scans: the mean, then every coefficient by itself in two steps.
std::vector<jpeg_scan_info> many_scans() {
  std::vector<jpeg_scan_info> scans = {{1, {0}, 0, 0, 0, 0}};
  for (const bool refine : {false, true})
    for (int k = 1; k < 64; ++k) scans.push_back({1, {0}, k, k, refine ? 1 : 0, refine ? 0 : 1});
  return scans;
}

}  // namespace

Bytes jpeg_of(const Bytes& pixels, int height, int width, int components, const std::function<void(jpeg_compress_struct&)>& tweak) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_height = static_cast<unsigned>(height);
  info.image_width = static_cast<unsigned>(width);
  info.input_components = components;
  info.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  tweak(info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<std::uint8_t*>(pixels.data()) + static_cast<std::size_t>(info.next_scanline) * width * components;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  Bytes bytes(out, out + size);
  std::free(out);
  return bytes;
}

Bytes make_jpeg(JpegKind kind, int height, int width, std::uint32_t seed) {
  const bool inks = kind == JpegKind::kCmyk || kind == JpegKind::kYcck;
  const int channels = inks ? 4 : kind == JpegKind::kGrey || kind == JpegKind::kManyScans ? 1 : 3;
  const std::vector<jpeg_scan_info> scans = kind == JpegKind::kManyScans ? many_scans() : std::vector<jpeg_scan_info>{};
  return jpeg_of(picture(height, width, channels, seed), height, width, channels, [&](jpeg_compress_struct& info) {
    if (kind == JpegKind::kYcck) jpeg_set_colorspace(&info, JCS_YCCK);
    if (kind == JpegKind::kRgb) jpeg_set_colorspace(&info, JCS_RGB);
    if (inks) info.write_Adobe_marker = TRUE;
    if (kind == JpegKind::kProgressive) jpeg_simple_progression(&info);
    if (kind == JpegKind::kArithmetic) info.arith_code = TRUE;
    if (!scans.empty()) info.scan_info = scans.data(), info.num_scans = static_cast<int>(scans.size());
  });
}

Bytes make_png(int colour, int depth, int height, int width, bool interlaced, std::uint32_t seed) {
  const int channels = ((colour & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1) + ((colour & PNG_COLOR_MASK_ALPHA) != 0 ? 1 : 0);
  const std::size_t row_bytes = static_cast<std::size_t>(width) * channels * depth / 8;
  Bytes pixels = pattern(seed, row_bytes * static_cast<std::size_t>(height));
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  Bytes out;
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, png_size_t n) {
        auto& to = *static_cast<Bytes*>(png_get_io_ptr(p));
        to.insert(to.end(), data, data + n);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<unsigned>(width), static_cast<unsigned>(height), depth, colour,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_bytep> rows;
  for (int y = 0; y < height; ++y) rows.push_back(pixels.data() + row_bytes * static_cast<std::size_t>(y));
  png_set_rows(png, info, rows.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

void make_folder(const TempDir& dir, const std::string& split, int classes, int per_class) {
  for (int c = 0; c < classes; ++c)
    for (int i = 0; i < per_class; ++i)
      dir.write(
          fmt::format("{}/c{}/{:04}.jpg", split, c, i),
          make_jpeg(JpegKind::kYcc, 20 + (i * 7 + c) % 30, 24 + (i * 5) % 20, static_cast<std::uint32_t>(100 * c + i)));
}

}  // namespace lockstep::test
