// Decoding a part of an image: the same pixels as libjpeg's own decoding of it all, for every kind of JPEG and any window; what is
// bad depends on bytes and window alone.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <jpeglib.h>

#include "core/philox.h"
#include "data/decode.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::Bytes;

struct Kind {
  const char* name;
  int h = 1, v = 1;  // sampling of the first component; the others have 1x1
  int components = 3;
  int quality = 85;
  unsigned restart = 0;  // MCUs
  bool progressive = false, arithmetic = false, optimised = false, rgb = false, separate = false, noise = false;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {.name = "4:4:4"},
      {.name = "4:2:2", .h = 2},
      {.name = "4:2:0", .h = 2, .v = 2},
      {.name = "4:4:0", .v = 2},
      {.name = "4:1:1", .h = 4},
      {.name = "4:1:0", .h = 4, .v = 2},
      {.name = "3x1", .h = 3},
      {.name = "1x4", .v = 4},
      {.name = "grey", .components = 1},
      {.name = "grey 2x2", .h = 2, .v = 2, .components = 1},
      {.name = "cmyk", .components = 4},
      {.name = "cmyk 2x2", .h = 2, .v = 2, .components = 4},
      {.name = "rgb", .rgb = true},
      {.name = "quality 100", .quality = 100},
      {.name = "quality 100, 4:2:0, optimised", .h = 2, .v = 2, .quality = 100, .optimised = true},
      {.name = "noise", .quality = 100, .optimised = true, .noise = true},  // large values have short codes
      {.name = "quality 3", .quality = 3, .optimised = true},
      {.name = "restart 1", .restart = 1},
      {.name = "restart 3, 4:2:0", .h = 2, .v = 2, .restart = 3},
      {.name = "restart 5, grey", .components = 1, .restart = 5},
      {.name = "progressive", .progressive = true},
      {.name = "progressive 4:2:0, restart 2", .h = 2, .v = 2, .restart = 2, .progressive = true},
      {.name = "arithmetic 4:2:0", .h = 2, .v = 2, .arithmetic = true},
      {.name = "a scan for each component", .h = 2, .v = 2, .separate = true},
  };
  return all;
}

// Noise of all strengths, so that long codes and long runs of zeros occur.
Bytes picture(int height, int width, int components, std::uint32_t seed) {
  Bytes out = test::pattern(seed, static_cast<std::size_t>(height) * width * components);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int y = static_cast<int>(i) / (width * components), x = static_cast<int>(i) / components % width;
    const int noise = 1 + (x / 16 + y / 16) % 4 * 80;
    out[i] = static_cast<std::uint8_t>(std::clamp(x * 3 + y * 2 + out[i] % noise - noise / 2, 0, 255));
  }
  return out;
}

Bytes encode(const Kind& kind, int height, int width, std::uint32_t seed = 7) {
  const std::size_t count = static_cast<std::size_t>(height) * width * kind.components;
  const Bytes pixels = kind.noise ? test::pattern(seed, count) : picture(height, width, kind.components, seed);
  const jpeg_scan_info scans[3] = {{1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}};
  return test::jpeg_of(pixels, height, width, kind.components, [&](jpeg_compress_struct& info) {
    if (kind.rgb) jpeg_set_colorspace(&info, JCS_RGB);
    jpeg_set_quality(&info, kind.quality, TRUE);
    for (int c = 0; c < kind.components; ++c) {
      const bool full = c == 0 || c == 3;
      info.comp_info[c].h_samp_factor = full ? kind.h : 1, info.comp_info[c].v_samp_factor = full ? kind.v : 1;
    }
    info.restart_interval = kind.restart;
    info.arith_code = kind.arithmetic;
    info.optimize_coding = kind.optimised;
    if (kind.progressive) jpeg_simple_progression(&info);
    if (kind.separate) info.scan_info = scans, info.num_scans = 3;
  });
}

// As libjpeg decodes it by itself; CMYK is left to decode_image, whose inks tests/golden/images.txt checks.
Bytes reference(const Bytes& bytes, const Kind& kind) {
  if (kind.components == 4) {
    ReadScratch scratch;
    const Image image = decode_image(bytes, kind.name, scratch);
    return {image.pixels, image.pixels + std::size_t{3} * image.height * image.width};
  }
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes.data(), bytes.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  Bytes out(std::size_t{3} * info.output_height * info.output_width);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = out.data() + std::size_t{3} * info.output_width * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_destroy_decompress(&info);
  return out;
}

Window random_window(RandomStream& random, int height, int width) {
  Window window;
  const auto draw = [&](int bound) { return static_cast<int>(random.below(static_cast<std::uint64_t>(bound))); };
  window.height = 1 + draw(height), window.width = 1 + draw(width);
  window.top = draw(height - window.height + 1), window.left = draw(width - window.width + 1);
  return window;
}

DecodedRegion region_of(const Bytes& bytes, const Window& window, ReadScratch& scratch) {
  return decode_region(bytes, [] { return std::string("picture.jpg"); }, [&](int, int) { return window; }, scratch);
}

// Empty, or the first difference.
std::string difference(const DecodedRegion& region, const Window& wanted, const Bytes& whole) {
  const Window& got = region.window;
  if (got.top > wanted.top || got.left > wanted.left || got.top + got.height < wanted.top + wanted.height ||
      got.left + got.width < wanted.left + wanted.width)
    return "the window is not all there";
  if (region.pixels.height != got.height || region.pixels.width != got.width) return "the window's size is not the image's";
  for (int y = 0; y < got.height; ++y) {
    const std::size_t at = std::size_t{3} * (static_cast<std::size_t>(got.top + y) * region.full_width + got.left);
    if (std::memcmp(region.pixels.pixels + std::size_t{3} * y * got.width, whole.data() + at, std::size_t{3} * got.width) != 0)
      return "row " + std::to_string(y) + " of the window";
  }
  return {};
}

TEST(DecodeRegion, GivesThePixelsOfTheWholeForEveryKindOfJpeg) {
  RandomStream random({1, RandomPurpose::kTest, 0, 0});
  ReadScratch scratch;
  for (const Kind& kind : kinds())
    for (const auto& [height, width] : {std::pair{97, 131}, {64, 64}, {1, 70}, {70, 1}, {33, 17}, {150, 49}}) {
      const Bytes bytes = encode(kind, height, width);
      const Bytes whole = reference(bytes, kind);
      const Image image = decode_image(bytes, kind.name, scratch);
      ASSERT_EQ(std::memcmp(image.pixels, whole.data(), whole.size()), 0) << kind.name << " " << height << "x" << width;
      for (int i = 0; i < 40; ++i) {
        const Window window = i == 0 ? Window{0, 0, height, width} : random_window(random, height, width);
        const DecodedRegion region = region_of(bytes, window, scratch);
        ASSERT_EQ(region.full_height, height);
        ASSERT_EQ(region.full_width, width);
        ASSERT_EQ(difference(region, window, whole), "")
            << kind.name << " " << height << "x" << width << ", window " << window.height << "x" << window.width << " at " << window.top
            << "," << window.left;
      }
    }
}

TEST(DecodeRegion, TakesMemoryForTheWindowOnly) {
  ReadScratch scratch;
  region_of(encode({.name = "4:4:4"}, 400, 400), {100, 100, 32, 32}, scratch);
  EXPECT_LE(scratch.pixels.size(), 3u * 32 * (32 + 2 * 8));
}

TEST(DecodeRegion, DecodesPngsWhole) {
  const Bytes bytes = test::make_png(PNG_COLOR_TYPE_RGB, 8, 20, 30);
  ReadScratch scratch;
  const DecodedRegion region = region_of(bytes, {3, 4, 5, 6}, scratch);
  EXPECT_EQ(region.window, (Window{0, 0, 20, 30}));
  EXPECT_EQ(difference(region, {3, 4, 5, 6}, test::pattern(1, 20 * 30 * 3)), "");
}

// Pixels, or the message.
std::string outcome(const Bytes& bytes, const Window& window, ReadScratch& scratch) {
  try {
    const DecodedRegion region = region_of(bytes, window, scratch);
    return test::fnv(region.pixels.pixels, std::size_t{3} * region.pixels.height * region.pixels.width);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
}

TEST(DecodeRegion, RefusesFilesCutShortWhateverTheWindow) {
  ReadScratch scratch;
  for (const Kind& kind : kinds()) {
    const Bytes bytes = encode(kind, 40, 40);
    for (std::size_t length = 0; length < bytes.size(); length += 1 + length / 50) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
      ASSERT_NE(outcome(cut, {0, 0, 1, 1}, scratch).find("bad image"), std::string::npos) << kind.name << " cut to " << length;
    }
    Bytes longer = bytes;
    longer.insert(longer.end(), 100, 0xd9);  // what follows the end marker is of no interest
    EXPECT_EQ(outcome(longer, {0, 0, 9, 9}, scratch), outcome(bytes, {0, 0, 9, 9}, scratch)) << kind.name;
  }
}

// An end marker in the middle of the data: rows above are as ever, whoever needs more is told.
TEST(DecodeRegion, NoticesDamageWhereItMatters) {
  ReadScratch scratch;
  for (const Kind& kind : {Kind{.name = "4:4:4"}, Kind{.name = "4:2:0", .h = 2, .v = 2}, Kind{.name = "restart 3", .restart = 3}}) {
    Bytes bytes = encode(kind, 200, 80);
    const std::string good = outcome(bytes, {0, 0, 16, 80}, scratch);
    bytes.resize(bytes.size() * 3 / 4);
    bytes.insert(bytes.end(), {0xff, 0xd9});
    EXPECT_EQ(outcome(bytes, {0, 0, 16, 80}, scratch), good) << kind.name;
    for (const Window& window : {Window{0, 0, 200, 80}, Window{190, 0, 10, 10}, Window{199, 79, 1, 1}})
      EXPECT_NE(outcome(bytes, window, scratch).find("bad image"), std::string::npos) << kind.name << " at " << window.top;
  }
}

TEST(DecodeRegion, RestartMarkersOutOfOrderAreRefused) {
  Bytes bytes = encode({.name = "restart", .restart = 3}, 60, 60);
  ReadScratch scratch;
  const std::string good = outcome(bytes, {0, 0, 60, 60}, scratch);
  EXPECT_EQ(good.find("bad image"), std::string::npos);
  constexpr std::array<std::uint8_t, 2> kThird = {0xff, 0xd2};
  const auto marker = std::search(bytes.begin(), bytes.end(), kThird.begin(), kThird.end());
  ASSERT_NE(marker, bytes.end());
  marker[1] = 0xd4;
  EXPECT_NE(outcome(bytes, {0, 0, 60, 60}, scratch).find("bad image"), std::string::npos);
}

TEST(DecodeRegion, WhatIsBadIsAFunctionOfBytesAndWindow) {
  RandomStream random({2, RandomPurpose::kTest, 0, 0});
  ReadScratch used;
  int good = 0, bad = 0;
  for (const Kind& kind : kinds()) {
    const Bytes original = encode(kind, 60, 50);
    for (int round = 0; round < 60; ++round) {
      Bytes bytes = original;
      for (int i = 0; i < 2; ++i) bytes[random.below(bytes.size())] = static_cast<std::uint8_t>(random.bits());
      const Window window = random_window(random, 40, 40);
      ReadScratch fresh;
      const auto safe = [&](ReadScratch& scratch) {
        return decode_region(
            bytes, [] { return std::string("picture.jpg"); },
            [&](int height, int width) {  // the damage may have changed the size
              return Window{0, 0, std::min(window.top + window.height, height), std::min(window.left + window.width, width)};
            },
            scratch);
      };
      const auto say = [&](ReadScratch& scratch) -> std::string {
        try {
          const Image image = safe(scratch).pixels;
          return test::fnv(image.pixels, std::size_t{3} * image.height * image.width);
        } catch (const UserError& error) {
          return error.what();
        }
      };
      const std::string first = say(fresh);
      ASSERT_EQ(say(used), first) << kind.name;
      ++(first.find("bad image") == std::string::npos ? good : bad);
    }
  }
  EXPECT_GT(good, 100);
  EXPECT_GT(bad, 100);
}

// A file without tables takes none from the file before: libjpeg's defaults are used, or it is refused, each time alike.
TEST(DecodeRegion, TablesOfOneImageAreNotUsedForTheNext) {
  Bytes bytes = encode({.name = "4:4:4", .optimised = true}, 40, 40);
  const Window window{0, 0, 8, 8};
  Bytes bare(bytes.begin(), bytes.begin() + 2);
  for (std::size_t at = 2; at + 4 <= bytes.size();) {  // all segments but DHT; the rest from SOS on
    const std::size_t length = std::size_t{2} + bytes[at + 2] * 256u + bytes[at + 3];
    const bool scan = bytes[at + 1] == 0xda;
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at), end = scan ? bytes.end() : begin + static_cast<std::ptrdiff_t>(length);
    if (bytes[at + 1] != 0xc4) bare.insert(bare.end(), begin, end);
    if (scan) break;
    at += length;
  }
  ASSERT_LT(bare.size(), bytes.size());
  ReadScratch fresh, used;
  const std::string alone = outcome(bare, window, fresh);
  const std::string full = outcome(bytes, window, used);
  EXPECT_EQ(outcome(bare, window, used), alone);
  EXPECT_NE(full, alone);
}

// AC tables without a code, which libjpeg lets pass, and data of zeros: bad for a fresh thread as for one that has decoded before.
TEST(DecodeRegion, AnEmptyTableIsBadForEveryThread) {
  const Bytes bytes = encode({.name = "grey", .components = 1}, 8, 8);
  Bytes empty(bytes.begin(), bytes.begin() + 2);
  for (std::size_t at = 2; at + 4 <= bytes.size();) {
    const std::size_t length = std::size_t{2} + bytes[at + 2] * 256u + bytes[at + 3];
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    if (bytes[at + 1] == 0xc4 && bytes[at + 4] >> 4 == 1) {
      empty.insert(empty.end(), {0xff, 0xc4, 0, 19, bytes[at + 4]});
      empty.insert(empty.end(), 16, 0);
    } else {
      empty.insert(empty.end(), begin, begin + static_cast<std::ptrdiff_t>(length));
    }
    if (bytes[at + 1] == 0xda) break;
    at += length;
  }
  empty.insert(empty.end(), 8, 0);
  empty.insert(empty.end(), {0xff, 0xd9});
  const Window window{0, 0, 8, 8};
  ReadScratch fresh, used;
  ASSERT_EQ(outcome(bytes, window, used).find("bad image"), std::string::npos);
  EXPECT_NE(outcome(empty, window, fresh).find("bad image"), std::string::npos);
  EXPECT_EQ(outcome(empty, window, used), outcome(empty, window, fresh));
}

TEST(DecodeRegion, WhatChooseThrowsArrives) {
  ReadScratch scratch;
  const auto choose = [](int, int) -> Window { throw UserError("not this one"); };
  EXPECT_EQ(test::not_the_user_error([&] { decode_region(encode({.name = "4:4:4"}, 9, 9), [] { return std::string(); }, choose, scratch); },
                                     ExitCode::kUsage, {"not this one"}),
            "");
}

}  // namespace
}  // namespace lockstep
