// Contact sheets show every image where they say, and what is written as PNG or JPEG reads back.
// SPDX-License-Identifier: Apache-2.0
#include "data/contact_sheet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "data/bitmap_font.h"
#include "data/decode.h"
#include "data/image_writer.h"
#include "tests/data/test_support.h"

namespace lockstep::test {
namespace {

const std::uint8_t* pixel(const Image& image, int y, int x) { return image.pixels + std::size_t{3} * (std::size_t{1} * y * image.width + x); }

TEST(ContactSheet, EveryImageIsWhereItSays) {
  constexpr int kHeight = 70, kWidth = 90, kCount = 5;
  ContactSheet sheet(kCount, kHeight, kWidth);
  std::vector<Bytes> images;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    images.push_back(pattern(i, std::size_t{3} * kHeight * kWidth));
    sheet.add({images.back().data(), kHeight, kWidth, 3}, "A CLASS WITH A NAME THAT IS FAR TOO LONG");
  }
  const Image picture = sheet.picture();
  EXPECT_EQ(sheet.columns(), 3);
  EXPECT_EQ(sheet.zoom(), 1);
  for (int i = 0; i < kCount; ++i)
    for (int y = 0; y < kHeight; ++y)
      ASSERT_EQ(std::memcmp(pixel(picture, sheet.top(i) + y, sheet.left(i)), images[static_cast<std::size_t>(i)].data() + std::size_t{3} * kWidth * y,
                            3 * kWidth),
                0)
          << i << " row " << y;
}

TEST(ContactSheet, SmallGreyImagesAreEnlarged) {
  ContactSheet sheet(1, 2, 3);
  const Bytes grey = {10, 20, 30, 40, 50, 60};
  sheet.add({grey.data(), 2, 3, 1}, "7");
  EXPECT_EQ(sheet.zoom(), 21);
  const std::uint8_t* last = pixel(sheet.picture(), sheet.top(0) + 2 * 21 - 1, sheet.left(0) + 3 * 21 - 1);
  EXPECT_EQ(last[0], 60);
  EXPECT_EQ(last[2], 60);
}

TEST(ContactSheet, CaptionsAreDrawnUnderTheImage) {
  ContactSheet sheet(1, 64, 64);
  const Bytes black(std::size_t{3} * 64 * 64, 0);
  sheet.add({black.data(), 64, 64, 3}, "1i");
  const Image picture = sheet.picture();
  const int top = sheet.top(0) + 64 + 2;
  for (int i = 0; i < 2; ++i)
    for (int y = 0; y < kGlyphHeight; ++y)
      for (int x = 0; x < kGlyphWidth; ++x) {
        const bool ink = (glyph_of("1I"[i])[static_cast<std::size_t>(y)] >> (kGlyphWidth - 1 - x) & 1) != 0;
        EXPECT_EQ(pixel(picture, top + y, sheet.left(0) + i * kGlyphAdvance + x)[1] > 128, ink);
      }
}

TEST(ContactSheet, ASheetLargerThanAnImageIsRefused) {
  EXPECT_EQ(not_the_user_error([] { ContactSheet(10000, 224, 224); }, ExitCode::kUsage, {"10000", "224x224", "--count"}), "");
}

TEST(BitmapFont, GlyphsDifferAndTheUnknownIsABox) {
  const std::string known = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ .,-_/:+%()'#&";
  for (const char a : known)
    for (const char b : known) EXPECT_EQ(glyph_of(a) == glyph_of(b), a == b) << a << b;
  for (const char c : known) EXPECT_NE(glyph_of(c), glyph_of('\x01')) << c;
  EXPECT_EQ(glyph_of('q'), glyph_of('Q'));
}

TEST(ImageWriter, PngReadsBackBitForBit) {
  for (const int channels : {1, 3}) {
    const Bytes pixels = pattern(5, std::size_t{37} * 53 * channels);
    Bytes png;
    encode_png({pixels.data(), 37, 53, channels}, png);
    ReadScratch scratch;
    const Image image = decode_image(png, "written.png", scratch);
    ASSERT_EQ(image.height, 37);
    ASSERT_EQ(image.width, 53);
    for (std::size_t i = 0; i < std::size_t{37} * 53; ++i)
      for (std::size_t c = 0; c < 3; ++c) ASSERT_EQ(image.pixels[3 * i + c], pixels[i * channels + (channels == 1 ? 0 : c)]);
  }
}

TEST(ImageWriter, JpegIsCloserTheHigherItsQuality) {
  Bytes pixels(std::size_t{3} * 64 * 80);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(128 + 100 * std::sin(static_cast<double>(i) / 150));
  const auto error_at = [&](int quality) {
    Bytes jpeg;
    encode_jpeg({pixels.data(), 64, 80, 3}, quality, jpeg);
    ReadScratch scratch;
    const Image image = decode_image(jpeg, "written.jpg", scratch);
    EXPECT_EQ(image.height, 64);
    EXPECT_EQ(image.width, 80);
    double sum = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) sum += std::abs(image.pixels[i] - pixels[i]);
    return sum / static_cast<double>(pixels.size());
  };
  EXPECT_LT(error_at(95), error_at(30));
  EXPECT_LT(error_at(95), 8);
}

}  // namespace
}  // namespace lockstep::test
