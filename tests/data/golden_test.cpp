// Decoding and resizing against what Pillow made of the same images (tests/golden/record_images.py), bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "data/decode.h"
#include "data/resize.h"
#include "data/resize_kernels.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

std::vector<std::istringstream> records(const std::string& kind) {
  std::ifstream in(test::source_dir() + "/tests/golden/images.txt");
  std::vector<std::istringstream> out;
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(kind + " ")) out.emplace_back(line.substr(kind.size() + 1));
  return out;
}

TEST(Golden, DecodesAsPillowDoes) {
  auto lines = records("decode");
  ASSERT_EQ(lines.size(), 19u);
  ReadScratch scratch;
  for (auto& line : lines) {
    std::string name, digest;
    int height = 0, width = 0;
    line >> name >> height >> width >> digest;
    const std::string path = test::source_dir() + "/tests/golden/images/" + name;
    const std::size_t size = read_image_file(path, scratch);
    const Image image = decode_image({scratch.file.data(), size}, path, scratch);
    EXPECT_EQ(image.height, height) << name;
    EXPECT_EQ(image.width, width) << name;
    EXPECT_EQ(image.channels, 3) << name;
    EXPECT_EQ(test::fnv(image.pixels, static_cast<std::size_t>(height) * width * 3), digest) << name;
  }
}

struct ResizeCase {
  std::uint32_t seed = 0;
  int height = 0, width = 0, channels = 0, to_height = 0, to_width = 0;
  std::string digest;
};

std::vector<ResizeCase> resize_cases() {
  std::vector<ResizeCase> out;
  for (auto& line : records("resize")) {
    ResizeCase c;
    line >> c.seed >> c.height >> c.width >> c.channels >> c.to_height >> c.to_width >> c.digest;
    out.push_back(c);
  }
  return out;
}

TEST(Golden, ResizesAsPillowDoes) {
  const auto cases = resize_cases();
  ASSERT_EQ(cases.size(), 28u);
  ResizeScratch scratch;
  for (const ResizeCase& c : cases) {
    const test::Bytes pixels = test::pattern(c.seed, static_cast<std::size_t>(c.height) * c.width * c.channels);
    test::Bytes out(static_cast<std::size_t>(c.to_height) * c.to_width * c.channels);
    const ResizeJob job{.pixels = pixels.data(),
                        .row_bytes = std::ptrdiff_t{1} * c.width * c.channels,
                        .height = c.height,
                        .width = c.width,
                        .channels = c.channels,
                        .to_height = c.to_height,
                        .to_width = c.to_width,
                        .out_height = c.to_height,
                        .out_width = c.to_width};
    for (const detail::ResizeKernels* kernels : detail::resize_kernels()) {
      detail::resize_with(*kernels, job, scratch, out.data());
      EXPECT_EQ(test::fnv(out.data(), out.size()), c.digest) << kernels->name << " " << c.height << "x" << c.width << "x" << c.channels;
    }
  }
}

// A window of the result is that part of the whole result, mirrored or not.
TEST(Resize, WindowIsPartOfTheWhole) {
  const int height = 60, width = 81, to_height = 33, to_width = 47, top = 5, left = 9, out_height = 20, out_width = 30;
  for (const int channels : {1, 2, 3, 4}) {
    const test::Bytes pixels = test::pattern(5, static_cast<std::size_t>(height) * width * channels);
    ResizeJob job{.pixels = pixels.data(),
                  .row_bytes = std::ptrdiff_t{1} * width * channels,
                  .height = height,
                  .width = width,
                  .channels = channels,
                  .to_height = to_height,
                  .to_width = to_width,
                  .out_height = to_height,
                  .out_width = to_width};
    ResizeScratch scratch;
    test::Bytes whole(static_cast<std::size_t>(to_height) * to_width * channels),
        part(static_cast<std::size_t>(out_height) * out_width * channels);
    resize(job, scratch, whole.data());
    job.top = top, job.left = left, job.out_height = out_height, job.out_width = out_width;
    for (const bool flip : {false, true}) {
      job.flip = flip;
      resize(job, scratch, part.data());
      for (int y = 0; y < out_height; ++y)
        for (int x = 0; x < out_width; ++x)
          for (int c = 0; c < channels; ++c) {
            const int from = left + (flip ? out_width - 1 - x : x);
            ASSERT_EQ(part[static_cast<std::size_t>((y * out_width + x) * channels + c)],
                      whole[static_cast<std::size_t>(((top + y) * to_width + from) * channels + c)])
                << y << "," << x << " flip " << flip;
          }
    }
  }
}

}  // namespace
}  // namespace lockstep
