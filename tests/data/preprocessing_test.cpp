// From an image to a network's input, against what Pillow and torchvision made of it (tests/golden/record_preprocessing.py), bit for
// bit: crop, resize and mirror of 1,000 boxes, with all kernels; the real photos decoded, cropped, and prepared for evaluation.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <sstream>

#include "data/augment.h"
#include "data/resize_kernels.h"
#include "tests/data/test_support.h"

namespace lockstep {
namespace {

using test::Bytes;

std::vector<std::istringstream> records(const std::string& kind) {
  std::ifstream in(test::source_dir() + "/tests/golden/preprocessing.txt");
  std::vector<std::istringstream> out;
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(kind + " ")) out.emplace_back(line.substr(kind.size() + 1));
  return out;
}

std::string crc(const std::uint8_t* pixels, std::size_t size) { return fmt::format("{:08x}", crc32(0, pixels, static_cast<unsigned>(size))); }
std::string crc(const Bytes& bytes) { return crc(bytes.data(), bytes.size()); }

struct Box {
  int top = 0, left = 0, height = 0, width = 0, to_height = 0, to_width = 0;
  bool flip = false;
};

std::istream& operator>>(std::istream& in, Box& box) {
  return in >> box.top >> box.left >> box.height >> box.width >> box.to_height >> box.to_width >> box.flip;
}

ResizeJob job_of(const Box& box, const std::uint8_t* pixels, int width, int channels) {
  const std::ptrdiff_t row_bytes = std::ptrdiff_t{1} * width * channels;
  return {.pixels = pixels + box.top * row_bytes + std::ptrdiff_t{1} * box.left * channels,
          .row_bytes = row_bytes,
          .height = box.height,
          .width = box.width,
          .channels = channels,
          .to_height = box.to_height,
          .to_width = box.to_width,
          .out_height = box.to_height,
          .out_width = box.to_width,
          .flip = box.flip};
}

struct NoiseBox {
  std::uint32_t seed = 0;
  int height = 0, width = 0, channels = 0;
  Box box;
  std::string want;
};

std::vector<NoiseBox> noise_boxes(const std::string& kind) {
  std::vector<NoiseBox> out;
  for (auto& line : records(kind)) {
    NoiseBox c;
    line >> c.seed >> c.height >> c.width >> c.channels >> c.box >> c.want;
    out.push_back(c);
  }
  return out;
}

// The image ends where its memory ends, so that a sanitizer sees what is read beyond.
Bytes resized(const NoiseBox& c, const detail::ResizeKernels& kernels) {
  const Bytes pixels = test::pattern(c.seed, static_cast<std::size_t>(c.height) * c.width * c.channels);
  Bytes out(static_cast<std::size_t>(c.box.to_height) * c.box.to_width * c.channels);
  ResizeScratch scratch;
  detail::resize_with(kernels, job_of(c.box, pixels.data(), c.width, c.channels), scratch, out.data());
  return out;
}

TEST(Preprocessing, BoxesAreResizedAsByPillowWithAllKernels) {
  const auto cases = noise_boxes("box");
  ASSERT_EQ(cases.size(), 1000u);
  for (const detail::ResizeKernels* kernels : detail::resize_kernels())
    for (const NoiseBox& c : cases)
      ASSERT_EQ(crc(resized(c, *kernels)), c.want)
          << kernels->name << ": seed " << c.seed << ", " << c.height << "x" << c.width << "x" << c.channels << ", box " << c.box.height << "x"
          << c.box.width << " to " << c.box.to_height << "x" << c.box.to_width;
}

TEST(Preprocessing, SmallBoxesPixelByPixel) {
  const auto cases = noise_boxes("raw");
  ASSERT_EQ(cases.size(), 5u);
  for (const NoiseBox& c : cases) {
    std::string got;
    for (const std::uint8_t value : resized(c, *detail::resize_kernels().front())) got += fmt::format("{:02x}", value);
    EXPECT_EQ(got, c.want) << "seed " << c.seed;
  }
}

// Nothing may be written beside the output, whose rows end anywhere.
TEST(Preprocessing, KernelsWriteTheirOutputOnly) {
  for (const detail::ResizeKernels* kernels : detail::resize_kernels())
    for (int width = 1; width < 40; ++width)
      for (const bool flip : {false, true}) {
        const Bytes pixels = test::pattern(3, 11 * 13 * 3);
        Bytes out(static_cast<std::size_t>(width) * 3 * 3 + 2, 0xee);
        ResizeScratch scratch;
        detail::resize_with(*kernels, job_of({0, 0, 11, 13, 3, width, flip}, pixels.data(), 13, 3), scratch, out.data() + 1);
        EXPECT_EQ(out.front(), 0xee) << kernels->name << " " << width;
        EXPECT_EQ(out.back(), 0xee) << kernels->name << " " << width;
      }
}

class Photos : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test::sample_images();
    if (folder_.empty()) GTEST_SKIP() << "no photos on this machine (LOCKSTEP_SAMPLE_IMAGES)";
  }
  const Bytes& read(const std::string& name) {  // records come file by file
    if (name != name_) bytes_ = test::read_bytes(folder_ + "/" + name);
    name_ = name;
    return bytes_;
  }
  DecodedRegion region(const std::string& name, const ChooseWindow& choose) {
    return decode_region(read(name), [&] { return name; }, choose, scratch_);
  }
  // As the loader does it.
  std::string augmented(const std::string& name, const AugmentOptions& options, AugmentDraw draw) {
    const DecodedRegion part = region(name, [&](int height, int width) { return augment_window(options, draw, height, width); });
    Bytes out(std::size_t{3} * options.out_height * options.out_width);
    apply_augment(options, draw, part, resize_scratch_, out.data());
    return crc(out);
  }

  std::string folder_, name_;
  Bytes bytes_;
  ReadScratch scratch_;
  ResizeScratch resize_scratch_;
};

TEST_F(Photos, AreDecodedAsByPillow) {
  auto lines = records("photo");
  ASSERT_EQ(lines.size(), 160u);
  for (auto& line : lines) {
    std::string name, want;
    int height = 0, width = 0;
    line >> name >> height >> width >> want;
    const Image image = decode_image(read(name), name, scratch_);
    ASSERT_EQ(image.height, height) << name;
    ASSERT_EQ(image.width, width) << name;
    ASSERT_EQ(crc(image.pixels, std::size_t{3} * height * width), want) << name;
  }
}

TEST_F(Photos, RandomBoxesAreCroppedAndResizedAsByPillow) {
  auto lines = records("crop");
  ASSERT_EQ(lines.size(), 160u * 7);
  for (auto& line : lines) {
    std::string name, want;
    Box box;
    line >> name >> box >> want;
    const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .out_height = box.to_height, .out_width = box.to_width};
    ASSERT_EQ(augmented(name, options, {box.top, box.left, box.height, box.width, box.flip}), want) << name;
  }
}

TEST_F(Photos, ArePreparedForEvaluationAsByTorchvision) {
  auto lines = records("eval");
  ASSERT_EQ(lines.size(), 160u * 2);
  for (auto& line : lines) {
    std::string name, want;
    int resize = 0, crop = 0;
    line >> name >> resize >> crop >> want;
    const AugmentOptions options{.crop = Crop::kResizeCentreCrop, .out_height = crop, .out_width = crop, .resize_short = resize};
    ASSERT_EQ(augmented(name, options, {}), want) << name << " " << resize;
  }
}

}  // namespace
}  // namespace lockstep
