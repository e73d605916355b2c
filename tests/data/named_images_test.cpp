// Image files named one by one: pixels in colour and in grey, and what is not one.
// SPDX-License-Identifier: Apache-2.0
#include "data/named_images.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "core/error.h"
#include "tests/data/test_support.h"

namespace lockstep::test {
namespace {

std::string picture(const std::string& name) { return source_dir() + "/tests/golden/images/" + name; }

// A sum that another order or one other pixel would change.
std::int64_t fingerprint(const Image& image) {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < std::int64_t{1} * image.height * image.width * image.channels; ++i) sum += image.pixels[i] * (i % 251 + 1);
  return sum;
}

// As Pillow 12 says: sum(v * (i % 251 + 1) for i, v in enumerate(Image.open(f).convert("RGB").convert("L").tobytes())).
TEST(NamedImages, GreyIsPillowsLuminance) {
  const std::pair<std::string, std::int64_t> expected[] = {
      {"jpeg_420.jpg", 23508248}, {"png_palette.png", 23102425}, {"png_grey.png", 22510178}};
  ReadScratch scratch;
  for (const auto& [name, sum] : expected) {
    const NamedImages images({picture(name)}, 1);
    const Image image = images.read(0, scratch);
    EXPECT_EQ(image.channels, 1);
    EXPECT_EQ(fingerprint(image), sum) << name;
    EXPECT_FALSE(images.encoded()) << "nobody may decode it in colour";
  }
}

TEST(NamedImages, ColourIsWhatTheFileHolds) {
  const NamedImages images({picture("jpeg_grey.jpg"), picture("png_rgb.png")}, 3);
  ReadScratch scratch;
  EXPECT_EQ(images.size(), 2);
  EXPECT_EQ(images.read(1, scratch).channels, 3);
  EXPECT_EQ(images.fetch(0, scratch)[0], 0xFF);  // JPEG
}

TEST(NamedImages, WhatIsNoImageIsRefusedByName) {
  const NamedImages images({picture("none.png"), source_dir()}, 3);
  ReadScratch scratch;
  for (const std::int64_t index : {0, 1}) {
    try {
      images.read(index, scratch);
      ADD_FAILURE();
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(images.name(index)), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(NamedImages({picture("png_rgb.png")}, 2), UserError);
}

}  // namespace
}  // namespace lockstep::test
