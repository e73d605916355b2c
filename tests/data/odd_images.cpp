// SPDX-License-Identifier: Apache-2.0
#include "tests/data/odd_images.h"

#include <fmt/format.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string_view>

#include <jpeglib.h>

namespace lockstep::test {
namespace {

constexpr int kHeight = 40, kWidth = 52;
constexpr std::size_t kBombBytes = std::size_t{64} << 20;  // unpacked

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes text(std::string_view chars) { return {chars.begin(), chars.end()}; }
Bytes zeros(std::size_t count) { return Bytes(count, 0); }

// An RGB JPEG with libjpeg's defaults but for what `tweak` sets.
Bytes jpeg_with(std::uint32_t seed, const std::function<void(jpeg_compress_struct&)>& tweak, int height = kHeight, int width = kWidth) {
  Bytes pixels = pattern(seed, std::size_t{3} * height * width);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i / 7 + pixels[i] / 16 + seed * 31);
  return jpeg_of(pixels, height, width, 3, tweak);
}

Bytes jpeg(std::uint32_t seed) {
  return jpeg_with(seed, [](jpeg_compress_struct&) {});
}

// Where the first marker 0xff `marker` stands. Only for markers that can't occur in the data before it.
std::size_t find_marker(const Bytes& bytes, std::uint8_t marker) {
  const std::array<std::uint8_t, 2> wanted{0xff, marker};
  const auto at = std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end());
  if (at == bytes.end()) throw std::logic_error(fmt::format("no marker {:02x}", marker));
  return static_cast<std::size_t>(at - bytes.begin());
}

// A JPEG with the byte at `offset` behind the first `marker` changed.
Bytes patched(Bytes bytes, std::uint8_t marker, std::size_t offset, Bytes with) {
  std::copy(with.begin(), with.end(), bytes.begin() + static_cast<std::ptrdiff_t>(find_marker(bytes, marker) + offset));
  return bytes;
}

// Inserts behind the start marker.
Bytes with_segment(const Bytes& bytes, std::uint8_t marker, const Bytes& data) {
  const std::size_t length = data.size() + 2;
  Bytes out(bytes.begin(), bytes.begin() + 2);
  out = out + Bytes{0xff, marker, static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length)} + data;
  return out + Bytes(bytes.begin() + 2, bytes.end());
}

Bytes exif_rotated() {  // orientation 6: turned by 90 degrees
  const Bytes tiff = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0};
  return with_segment(jpeg(21), 0xe1, tiff);
}

// All AC codes of the first table moved to 16 bits: other codes than those that the data was written with.
Bytes wrong_huffman_table() {
  Bytes bytes = jpeg(22);
  const std::size_t table = find_marker(bytes, 0xc4) + 5;  // marker, length, class and number
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(table), 16, std::uint8_t{0});
  bytes[table + 15] = 12;
  return bytes;
}

// A progressive JPEG whose last scan comes `count` times more.
Bytes repeated_scans(int count) {
  const Bytes bytes = jpeg_with(23, [](jpeg_compress_struct& info) { jpeg_simple_progression(&info); });
  const std::array<std::uint8_t, 2> start{0xff, 0xda};
  const auto last = std::find_end(bytes.begin(), bytes.end(), start.begin(), start.end());
  const Bytes scan(last, bytes.end() - 2);
  Bytes out(bytes.begin(), bytes.end() - 2);
  for (int i = 0; i < count; ++i) out = std::move(out) + scan;
  return out + Bytes{0xff, 0xd9};
}

Bytes jpeg_of_size(int height, int width, std::uint32_t seed) {
  const auto byte = [](int value, int shift) { return static_cast<std::uint8_t>(value >> shift); };
  return patched(jpeg(seed), 0xc0, 5, {byte(height, 8), byte(height, 0), byte(width, 8), byte(width, 0)});
}

Bytes big_endian(std::uint32_t value) {
  const auto byte = [value](int shift) { return static_cast<std::uint8_t>(value >> shift); };
  return {byte(24), byte(16), byte(8), byte(0)};
}

Bytes chunk(std::string_view type, const Bytes& data) {
  const Bytes body = text(type) + data;
  const auto checksum = static_cast<std::uint32_t>(::crc32(0, body.data(), static_cast<uInt>(body.size())));
  return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(checksum);
}

Bytes zipped(const Bytes& bytes) {
  uLongf size = ::compressBound(bytes.size());
  Bytes out(size);
  if (::compress2(out.data(), &size, bytes.data(), bytes.size(), 9) != Z_OK) throw std::runtime_error("compress2");
  out.resize(size);
  return out;
}

const Bytes kPngMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

Bytes png_header(std::uint32_t height, std::uint32_t width, std::uint8_t depth, std::uint8_t colour) {
  return kPngMagic + chunk("IHDR", big_endian(width) + big_endian(height) + Bytes{depth, colour, 0, 0, 0});
}

// An RGB PNG of noise; `before` are chunks ahead of the pixels, `unpacked_extra` bytes too many behind them.
Bytes png(std::uint32_t seed, const Bytes& before = {}, std::size_t unpacked_extra = 0) {
  Bytes rows;
  for (int y = 0; y < kHeight; ++y) rows = std::move(rows) + Bytes{0} + pattern(seed + static_cast<std::uint32_t>(y), std::size_t{3} * kWidth);
  return png_header(kHeight, kWidth, 8, 2) + before + chunk("IDAT", zipped(rows + zeros(unpacked_extra))) + chunk("IEND", {});
}

Bytes palette_png() {
  Bytes rows;
  for (int y = 0; y < kHeight; ++y) {
    Bytes row = pattern(static_cast<std::uint32_t>(y), kWidth);
    for (std::uint8_t& value : row) value %= 4;
    rows = std::move(rows) + Bytes{0} + row;
  }
  const Bytes colours = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0};
  return png_header(kHeight, kWidth, 8, 3) + chunk("PLTE", colours) + chunk("tRNS", {0, 128}) + chunk("IDAT", zipped(rows)) + chunk("IEND", {});
}

Bytes cut(const Bytes& bytes, std::size_t size) { return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}; }

void add_readable(std::vector<OddImage>& images) {
  using enum ScanKind;
  images.push_back({"png_named.JPEG", png(1), {}, {kDisguised}});
  images.push_back({"jpeg_named.png", jpeg(2), {}, {kDisguised}});
  images.push_back({"cmyk.JPEG", make_jpeg(JpegKind::kCmyk, kHeight, kWidth), {}, {kCmyk}});
  images.push_back({"ycck_inverted.JPEG", make_jpeg(JpegKind::kYcck, kHeight, kWidth), {}, {kCmyk}});
  images.push_back({"grey.jpg", make_jpeg(JpegKind::kGrey, kHeight, kWidth), {}, {kGrey}});
  images.push_back({"rgb_jpeg.jpg", make_jpeg(JpegKind::kRgb, kHeight, kWidth)});
  images.push_back({"png_16_bits.png", make_png(PNG_COLOR_TYPE_RGB, 16, kHeight, kWidth)});
  images.push_back({"png_grey_16_bits.png", make_png(PNG_COLOR_TYPE_GRAY, 16, kHeight, kWidth), {}, {kGrey}});
  images.push_back({"png_alpha.png", make_png(PNG_COLOR_TYPE_RGBA, 8, kHeight, kWidth)});
  images.push_back({"png_interlaced.png", make_png(PNG_COLOR_TYPE_RGB, 8, kHeight, kWidth, true)});
  images.push_back({"png_palette.png", palette_png()});
  images.push_back({"progressive.jpg", make_jpeg(JpegKind::kProgressive, kHeight, kWidth)});
  images.push_back({"arithmetic.jpg", make_jpeg(JpegKind::kArithmetic, kHeight, kWidth)});
  images.push_back({"restart_markers.jpg", jpeg_with(3, [](jpeg_compress_struct& info) { info.restart_interval = 2; })});
  images.push_back({"sampling_411.jpg", jpeg_with(4, [](jpeg_compress_struct& info) { info.comp_info[0].h_samp_factor = 4; })});
  images.push_back({"trailing_garbage.jpg", jpeg(5) + pattern(5, 1000)});
  images.push_back({"second_image_behind.jpg", jpeg(6) + jpeg(7)});
  images.push_back({"exif_garbage.jpg", with_segment(jpeg(8), 0xe1, text("Exif") + Bytes{0, 0} + pattern(8, 300))});
  images.push_back({"exif_rotated.jpg", exif_rotated()});
  images.push_back({"icc_garbage.jpg", with_segment(jpeg(9), 0xe2, text("ICC_PROFILE") + Bytes{0, 9, 3} + pattern(9, 100))});
  images.push_back({"adobe_bad_transform.jpg", with_segment(jpeg(10), 0xee, text("Adobe") + Bytes{0, 100, 0, 0, 0, 0, 7})});
  images.push_back({"one_row.jpg", jpeg_with(11, [](jpeg_compress_struct&) {}, 1, kWidth), {}, {kTiny}});
  images.push_back({"one_column.png", make_png(PNG_COLOR_TYPE_RGB, 8, kHeight, 1), {}, {kTiny}});
  images.push_back({"png_long_pixels.png", png(12, {}, kBombBytes), {}, {}, true});
  images.push_back({"png_text_bomb.png", png(13, chunk("zTXt", text("Comment") + Bytes{0, 0} + zipped(zeros(kBombBytes)))), {}, {}, true});
  images.push_back({"png_profile_bomb.png", png(14, chunk("iCCP", text("profile") + Bytes{0, 0} + zipped(zeros(kBombBytes)))), {}, {}, true});
}

void add_cut(std::vector<OddImage>& images) {
  using enum ScanKind;
  const Bytes whole = jpeg(30), progressive = make_jpeg(JpegKind::kProgressive, kHeight, kWidth, 31), as_png = png(32);
  for (const std::size_t percent : {5, 30, 60, 95})
    images.push_back({fmt::format("cut_at_{:02}.jpg", percent), cut(whole, whole.size() * percent / 100), kTruncated});
  images.push_back({"cut_progressive.jpg", cut(progressive, progressive.size() * 7 / 10), kTruncated});
  images.push_back({"cut_in_the_magic.jpg", cut(whole, 2), kNotAnImage});
  images.push_back({"no_end_marker.jpg", cut(jpeg(33), jpeg(33).size() - 2), kTruncated});
  images.push_back({"cut_half.png", cut(as_png, as_png.size() / 2), kTruncated});
  images.push_back({"no_end_chunk.png", cut(png(34), png(34).size() - 12), kTruncated});
  images.push_back({"zeros_instead_of_the_rest.jpg", cut(whole, whole.size() / 2) + zeros(whole.size() / 2), kTruncated});
}

void add_foreign(std::vector<OddImage>& images) {
  using enum ScanKind;
  images.push_back({"empty.jpg", {}, kEmpty});
  images.push_back({"zeros.jpg", zeros(4096), kNotAnImage});
  images.push_back({"noise.jpg", pattern(40, 4096), kNotAnImage});
  images.push_back({"gif.jpg", text("GIF89a") + pattern(41, 200), kNotAnImage});
  images.push_back({"bmp.jpg", text("BM") + pattern(42, 200), kNotAnImage});
  images.push_back({"webp.jpg", text("RIFF") + Bytes{200, 0, 0, 0} + text("WEBPVP8 ") + pattern(43, 200), kNotAnImage});
  images.push_back({"jpeg_2000.jpg", Bytes{0, 0, 0, 12} + text("jP  \r\n\x87\n") + pattern(44, 200), kNotAnImage});
  images.push_back({"error_page.jpg", text("<!DOCTYPE html><html><body>404 Not Found</body></html>\n"), kNotAnImage});
}

void add_damaged(std::vector<OddImage>& images) {
  using enum ScanKind;
  images.push_back({"quantisation_table_number.jpg", patched(jpeg(50), 0xdb, 4, {0x07}), kCorrupt});
  images.push_back({"wrong_huffman_table.jpg", wrong_huffman_table(), kCorrupt});
  images.push_back({"no_height.jpg", jpeg_of_size(0, kWidth, 51), kCorrupt});
  images.push_back({"twelve_bits.jpg", patched(jpeg(52), 0xc0, 4, {12}), kUnsupported});
  images.push_back({"lossless.jpg", patched(jpeg(53), 0xc0, 1, {0xc3}), kUnsupported});
  images.push_back({"scans_127.jpg", make_jpeg(JpegKind::kManyScans, kHeight, kWidth), kCorrupt});
  images.push_back({"scans_10000.jpg", repeated_scans(10000), kCorrupt, {}, true});
  images.push_back({"larger_than_its_data.jpg", jpeg_of_size(kHeight * 3, kWidth, 54), kCorrupt});
  images.push_back({"header_65500.jpg", jpeg_of_size(65500, 65500, 55), kTooLarge, {}, true});
  images.push_back({"header_8192.jpg", jpeg_of_size(8192, 8192, 56), kCorrupt, {}, true});
  images.push_back(
      {"huge_header.png", png_header(0x7fffffff, 0x7fffffff, 16, 6) + chunk("IDAT", zipped(zeros(1000))) + chunk("IEND", {}), kTooLarge, {}, true});
  images.push_back({"header_8192.png", png_header(8192, 8192, 8, 2) + chunk("IDAT", zipped(zeros(1000))) + chunk("IEND", {}), kCorrupt, {}, true});
  images.push_back(
      {"huge_chunk.png", png_header(kHeight, kWidth, 8, 2) + big_endian(0x7fffffff) + text("tEXt") + pattern(57, 500), kTruncated, {}, true});
  Bytes checksum = png(58);
  checksum[checksum.size() - 14] ^= 1;  // of the pixels
  images.push_back({"checksum.png", checksum, kCorrupt});
  images.push_back({"no_pixels.png", png_header(kHeight, kWidth, 8, 2) + chunk("IEND", {}), kCorrupt});
  images.push_back({"palette_missing.png", png_header(kHeight, kWidth, 8, 3) + chunk("IDAT", zipped(zeros(3000))) + chunk("IEND", {}), kCorrupt});
}

}  // namespace

const std::vector<OddImage>& odd_images() {
  static const std::vector<OddImage> images = [] {
    std::vector<OddImage> all;
    add_readable(all);
    add_cut(all);
    add_foreign(all);
    add_damaged(all);
    return all;
  }();
  return images;
}

}  // namespace lockstep::test
