// Decoding of damaged, odd and hostile images: an error naming the file, never a crash, nothing large allocated.
// SPDX-License-Identifier: Apache-2.0
#include "data/decode.h"

#include <gtest/gtest.h>
#include <png.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "core/philox.h"
#include "data/limits.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::Bytes;
using test::JpegKind;

const std::string kName = "some/where/picture.jpg";

Image decode(const Bytes& bytes, ReadScratch& scratch) { return decode_image(bytes, kName, scratch); }

std::string refusal(const Bytes& bytes, std::initializer_list<std::string> parts) {
  return test::not_the_user_error(
      [&] {
        ReadScratch scratch;
        decode(bytes, scratch);
      },
      ExitCode::kData, parts);
}

std::vector<std::pair<std::string, Bytes>> one_of_each() {
  return {{"ycc", test::make_jpeg(JpegKind::kYcc, 33, 41)},
          {"grey", test::make_jpeg(JpegKind::kGrey, 33, 41)},
          {"cmyk", test::make_jpeg(JpegKind::kCmyk, 33, 41)},
          {"ycck", test::make_jpeg(JpegKind::kYcck, 33, 41)},
          {"progressive", test::make_jpeg(JpegKind::kProgressive, 33, 41)},
          {"arithmetic", test::make_jpeg(JpegKind::kArithmetic, 33, 41)},
          {"png rgb", test::make_png(PNG_COLOR_TYPE_RGB, 8, 33, 41)},
          {"png rgba 16", test::make_png(PNG_COLOR_TYPE_RGB_ALPHA, 16, 33, 41)},
          {"png grey interlaced", test::make_png(PNG_COLOR_TYPE_GRAY, 8, 33, 41, true)}};
}

TEST(Decode, GivesRgbOfEveryKind) {
  ReadScratch scratch;
  for (const auto& [kind, bytes] : one_of_each()) {
    const Image image = decode(bytes, scratch);
    EXPECT_EQ(image.height, 33) << kind;
    EXPECT_EQ(image.width, 41) << kind;
    EXPECT_EQ(image.channels, 3) << kind;
  }
}

// White paper is no ink at all: (255, 255, 255, 255) as Adobe stores it. A decoder that forgets the inversion gives
// black.
TEST(Decode, InvertsAdobeInks) {
  ReadScratch scratch;
  const Bytes rgb = test::make_jpeg(JpegKind::kRgb, 16, 16, 3);
  const Image reference = decode(rgb, scratch);
  EXPECT_EQ(reference.height, 16);
  for (const JpegKind kind : {JpegKind::kCmyk, JpegKind::kYcck}) {
    const Bytes bytes = test::make_jpeg(kind, 16, 16, 0);  // its first pixel has inks 0..15: nearly full, inverted
    const Image image = decode(bytes, scratch);
    EXPECT_LT(image.pixels[0] + image.pixels[1] + image.pixels[2], 100);
  }
}

TEST(Decode, SixteenBitPngKeepsTheUpperByte) {
  ReadScratch scratch;
  const Bytes raw = test::pattern(1, 5 * 7 * 3 * 2);
  const Image image = decode(test::make_png(PNG_COLOR_TYPE_RGB, 16, 5, 7), scratch);
  for (std::size_t i = 0; i < 5 * 7 * 3; ++i) ASSERT_EQ(image.pixels[i], raw[2 * i]);
}

TEST(Decode, InterlacedPngIsTheSamePicture) {
  ReadScratch a, b;
  const Image plain = decode(test::make_png(PNG_COLOR_TYPE_RGB, 8, 21, 19, false), a);
  const Image laced = decode(test::make_png(PNG_COLOR_TYPE_RGB, 8, 21, 19, true), b);
  EXPECT_EQ(std::memcmp(plain.pixels, laced.pixels, 21 * 19 * 3), 0);
}

TEST(Decode, TruncationAtEveryLengthIsAnErrorThatNamesTheFile) {
  for (const auto& [kind, bytes] : one_of_each())
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
      ASSERT_EQ(refusal(cut, {kName}), "") << kind << " cut to " << length << " of " << bytes.size();
    }
}

TEST(Decode, TrailingGarbageIsHarmless) {
  for (auto [kind, bytes] : one_of_each()) {
    const Bytes garbage = test::pattern(3, 1000);
    bytes.insert(bytes.end(), garbage.begin(), garbage.end());
    ReadScratch scratch;
    EXPECT_EQ(decode(bytes, scratch).height, 33) << kind;
  }
}

// Any flipped bit, and any three random bytes: either a picture within the limits or an error that names the file.
TEST(Decode, SurvivesEveryMutation) {
  ReadScratch scratch;
  RandomStream random({1, RandomPurpose::kTest, 0, 0});
  std::int64_t pictures = 0, errors = 0;
  const auto attempt = [&](const Bytes& bytes) {
    try {
      const Image image = decode(bytes, scratch);
      ASSERT_LE(std::int64_t{1} * image.height * image.width, kMaxImagePixels);
      ++pictures;
    } catch (const UserError& error) {
      ASSERT_EQ(error.code(), ExitCode::kData);
      ASSERT_NE(std::string(error.what()).find(kName), std::string::npos) << error.what();
      ++errors;
    }
  };
  for (const auto& [kind, original] : one_of_each()) {
    Bytes bytes = original;
    for (std::size_t at = 0; at < std::min<std::size_t>(bytes.size(), 700); ++at) {
      const auto mask = static_cast<std::uint8_t>(1u << random.below(8));
      bytes[at] ^= mask;
      attempt(bytes);
      bytes[at] ^= mask;
    }
    for (int round = 0; round < 300; ++round) {
      bytes = original;
      for (int i = 0; i < 3; ++i) bytes[random.below(bytes.size())] = static_cast<std::uint8_t>(random.bits());
      attempt(bytes);
    }
  }
  EXPECT_GT(errors, 1000);
  EXPECT_GT(pictures, 1000);
}

TEST(Decode, OtherFormatsAndEmptyFilesAreRefused) {
  EXPECT_EQ(refusal({}, {kName, "empty"}), "");
  EXPECT_EQ(refusal({'G', 'I', 'F', '8', '9', 'a'}, {kName, "neither JPEG nor PNG", "47 49 46"}), "");
}

// The position of the frame header (SOF0) in a JPEG: height and width follow at +5 and +7.
std::size_t frame_header(const Bytes& bytes) {
  for (std::size_t i = 0; i + 1 < bytes.size(); ++i)
    if (bytes[i] == 0xff && (bytes[i + 1] == 0xc0 || bytes[i + 1] == 0xc2)) return i;
  ADD_FAILURE();
  return 0;
}

Bytes jpeg_claiming(Bytes bytes, int height, int width) {
  const std::size_t at = frame_header(bytes) + 5;
  bytes[at] = static_cast<std::uint8_t>(height >> 8), bytes[at + 1] = static_cast<std::uint8_t>(height);
  bytes[at + 2] = static_cast<std::uint8_t>(width >> 8), bytes[at + 3] = static_cast<std::uint8_t>(width);
  return bytes;
}

// A PNG header's checksum is over the chunk's name and its 13 bytes.
Bytes png_claiming(Bytes bytes, std::uint32_t height, std::uint32_t width) {
  for (int i = 0; i < 4; ++i) {
    bytes[16 + i] = static_cast<std::uint8_t>(width >> (24 - 8 * i));
    bytes[20 + i] = static_cast<std::uint8_t>(height >> (24 - 8 * i));
  }
  const auto sum = crc32(0, bytes.data() + 12, 17);
  for (int i = 0; i < 4; ++i) bytes[29 + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
  return bytes;
}

TEST(Decode, BombsAreRefusedBeforeMemoryIsAskedFor) {
  for (const Bytes& small : {test::make_jpeg(JpegKind::kYcc, 8, 8), test::make_jpeg(JpegKind::kProgressive, 8, 8)}) {
    for (const auto& [height, width] : {std::pair{65500, 65500}, {16384, 16384}, {16000, 4000}, {65500, 1}}) {
      ReadScratch scratch;
      EXPECT_EQ(test::not_the_user_error([&] { decode(jpeg_claiming(small, height, width), scratch); }, ExitCode::kData,
                                         {kName, std::to_string(height) + "x" + std::to_string(width)}),
                "");
      EXPECT_EQ(scratch.pixels.capacity(), 0u);
    }
  }
  for (const auto& [height, width] : {std::pair{2000000000u, 2000000000u}, {16384u, 16384u}, {16000u, 4000u}}) {
    ReadScratch scratch;
    const Bytes bomb = png_claiming(test::make_png(PNG_COLOR_TYPE_RGB, 8, 8, 8), height, width);
    EXPECT_EQ(test::not_the_user_error([&] { decode(bomb, scratch); }, ExitCode::kData, {kName}), "");
    EXPECT_EQ(scratch.pixels.capacity(), 0u);
  }
}

// Each scan of a progressive file costs a pass over the whole image: a small file could keep us busy for minutes.
TEST(Decode, TooManyScansAreRefused) {
  EXPECT_EQ(refusal(test::make_jpeg(JpegKind::kManyScans, 64, 64), {kName, "more than 100 scans"}), "");
}

TEST(Decode, TooLargeFilesAndFoldersAreRefused) {
  const test::TempDir dir;
  ReadScratch scratch;
  const std::string big = dir.write("big.jpg", {});
  ASSERT_EQ(truncate(big.c_str(), static_cast<off_t>(kMaxImageFileBytes) + 1), 0);
  EXPECT_EQ(test::not_the_user_error([&] { read_image_file(big, scratch); }, ExitCode::kData, {big, "67108864"}), "");
  EXPECT_EQ(scratch.file.capacity(), 0u);
  EXPECT_EQ(test::not_the_user_error([&] { read_image_file(dir.path(), scratch); }, ExitCode::kNoInput, {dir.path()}),
            "");
  EXPECT_EQ(
      test::not_the_user_error([&] { read_image_file(dir / "none.jpg", scratch); }, ExitCode::kNoInput, {"none.jpg"}),
      "");
}

}  // namespace
}  // namespace lockstep
